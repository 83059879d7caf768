//! Bytes on their way in and out: streamed to the disk in stretches, hashed on the way, never held whole.

use super::arrivals::Arrival;
use super::blob::NewBlob;
use super::disk::{Disk, Reading};
use super::record::{Piece, Sums, disk_error};
use crate::digest::hex;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, TryStreamExt};
use http_body_util::StreamBody;
use hyper::HeaderMap;
use hyper::body::Frame;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::dto::{Checksum, StreamingBlob};
use s3s::{Body, S3Result, s3_error};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// Bytes gathered before they are hashed and written.
const STRETCH: usize = 512 << 10;
/// Bytes read at once.
const READ: usize = 256 << 10;
/// A body that is silent for so long is given up.
const SILENCE: Duration = Duration::from_mins(1);

/// Runs work on the disk away from the threads that serve connections.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> S3Result<T> + Send + 'static) -> S3Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(s3_error!(InternalError, "A task ended early: {error}")),
    }
}

/// Checksums a request announces: in headers, or in trailers that follow the body.
#[derive(Debug, Default)]
pub(super) struct Announced {
    pub(super) md5: Option<String>,
    pub(super) sums: Sums,
    /// Names of headers that come behind the body.
    pub(super) trailers: String,
}

impl Announced {
    fn hasher(&self) -> ChecksumHasher {
        let behind = |name: &str| self.trailers.to_ascii_lowercase().contains(&format!("x-amz-checksum-{name}"));
        let wanted = |name: &str, sum: &Option<String>| sum.is_some() || behind(name);
        ChecksumHasher {
            crc32: wanted("crc32", &self.sums.crc32).then(Crc32::new),
            crc32c: wanted("crc32c", &self.sums.crc32c).then(Crc32c::new),
            crc64nvme: wanted("crc64nvme", &self.sums.crc64nvme).then(Crc64Nvme::new),
            sha1: wanted("sha1", &self.sums.sha1).then(Sha1::new),
            sha256: wanted("sha256", &self.sums.sha256).then(Sha256::new),
        }
    }

    /// The trailers have come.
    pub(super) fn trailed(&mut self, headers: &HeaderMap) {
        let sum = |name: &str, sum: &mut Option<String>| {
            if let Some(text) = headers.get(format!("x-amz-checksum-{name}")).and_then(|value| value.to_str().ok()) {
                *sum = Some(text.to_owned());
            }
        };
        sum("crc32", &mut self.sums.crc32);
        sum("crc32c", &mut self.sums.crc32c);
        sum("crc64nvme", &mut self.sums.crc64nvme);
        sum("sha1", &mut self.sums.sha1);
        sum("sha256", &mut self.sums.sha256);
    }

    /// Holds what came against what was announced.
    pub(super) fn check(&self, received: &Received) -> S3Result<()> {
        if let Some(md5) = &self.md5 {
            let announced = BASE64_STANDARD.decode(md5).ok().filter(|digest| digest.len() == 16);
            let announced =
                announced.ok_or_else(|| s3_error!(InvalidDigest, "Content-MD5 is not 16 bytes in base64"))?;
            if announced != received.md5 {
                return Err(s3_error!(BadDigest, "Content-MD5 is not that of the {} bytes received", received.bytes));
            }
        }
        let pairs = [
            (&self.sums.crc32, &received.sums.crc32),
            (&self.sums.crc32c, &received.sums.crc32c),
            (&self.sums.crc64nvme, &received.sums.crc64nvme),
            (&self.sums.sha1, &received.sums.sha1),
            (&self.sums.sha256, &received.sums.sha256),
        ];
        for (announced, found) in pairs {
            if let Some(announced) = announced
                && Some(announced) != found.as_ref()
            {
                return Err(s3_error!(
                    BadDigest,
                    "The checksum {announced} is not that of the {} bytes received",
                    received.bytes
                ));
            }
        }
        Ok(())
    }
}

impl From<Checksum> for Sums {
    fn from(sum: Checksum) -> Self {
        Self {
            crc32: sum.checksum_crc32,
            crc32c: sum.checksum_crc32c,
            crc64nvme: sum.checksum_crc64nvme,
            sha1: sum.checksum_sha1,
            sha256: sum.checksum_sha256,
        }
    }
}

/// Bytes that are durable in a blob no record names yet.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) blob: NewBlob,
    pub(super) bytes: u64,
    pub(super) md5: [u8; 16],
    pub(super) sums: Sums,
}

impl Received {
    pub(super) fn etag(&self) -> String {
        hex(&self.md5)
    }

    pub(super) fn piece(&self) -> Piece {
        Piece { blob: self.blob.name.clone(), bytes: self.bytes }
    }
}

struct Sink {
    blob: NewBlob,
    file: File,
    md5: Md5,
    sums: ChecksumHasher,
}

impl Sink {
    fn write(&mut self, stretch: &[u8]) -> io::Result<()> {
        self.md5.update(stretch);
        self.sums.update(stretch);
        self.file.write_all(stretch)
    }
}

/// Streams a body into a fresh blob. `exact` is what the client declared, `most` what the operation allows; `first` may refuse
/// before anything is kept.
pub(super) async fn receive<E: Display>(
    disk: &Arc<Disk>,
    bucket: &str,
    body: impl Stream<Item = Result<Bytes, E>>,
    (exact, most): (Option<u64>, u64),
    announced: &Announced,
    arrival: Option<&Arrival>,
    first: impl FnOnce(&Disk) -> S3Result<()> + Send + 'static,
) -> S3Result<Received> {
    let too_large = || s3_error!(EntityTooLarge, "At most {most} bytes are allowed here");
    if exact.is_some_and(|exact| exact > most) {
        return Err(too_large());
    }
    let (opener, bucket, expected) = (Arc::clone(disk), bucket.to_owned(), exact.unwrap_or(0));
    let opened = blocking(move || {
        opener.has_bucket(&bucket)?;
        first(&opener)?;
        opener.room(expected)?;
        opener.new_blob(&bucket).map_err(disk_error)
    });
    let mut body = std::pin::pin!(body);
    // Asked for at once: clients that wait for `100 Continue` do not wait long.
    let (opened, mut chunk) = tokio::join!(opened, next_chunk(body.as_mut(), arrival));
    let (blob, file) = opened?;
    let mut sink = Sink { blob, file, md5: Md5::new(), sums: announced.hasher() };
    let mut bytes = 0_u64;
    let mut stretch = BytesMut::with_capacity(STRETCH);
    loop {
        let ended = match chunk? {
            Some(Ok(chunk)) => {
                bytes += chunk.len() as u64;
                if bytes > most {
                    return Err(too_large());
                }
                stretch.extend_from_slice(&chunk);
                false
            }
            Some(Err(error)) => {
                return Err(s3_error!(IncompleteBody, "The body broke off after {bytes} bytes: {error}"));
            }
            None => true,
        };
        if stretch.len() >= STRETCH || ended {
            (sink, stretch) = blocking(move || {
                sink.write(&stretch).map_err(disk_error)?;
                stretch.clear();
                if ended {
                    sink.file.sync_all().map_err(disk_error)?;
                }
                Ok((sink, stretch))
            })
            .await?;
        }
        if ended {
            break;
        }
        chunk = next_chunk(body.as_mut(), arrival).await;
    }
    if let Some(exact) = exact
        && exact != bytes
    {
        return Err(s3_error!(IncompleteBody, "{exact} bytes were declared and {bytes} came"));
    }
    Ok(Received { blob: sink.blob, bytes, md5: sink.md5.finalize(), sums: sink.sums.finalize().into() })
}

async fn next_chunk<B: Stream>(mut body: Pin<&mut B>, arrival: Option<&Arrival>) -> S3Result<Option<B::Item>> {
    let replaced = async {
        match arrival {
            Some(arrival) => arrival.replaced().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = replaced => Err(s3_error!(OperationAborted, "The same is being sent once more, and that one counts")),
        chunk = tokio::time::timeout(SILENCE, body.next()) => {
            chunk.map_err(|_| s3_error!(RequestTimeout, "Nothing came for {} s", SILENCE.as_secs()))
        }
    }
}

/// A stretch of an object as a stream. The first file is opened before the answer begins, so that damage is an error and not a
/// broken connection.
pub(super) async fn stream(
    reading: Arc<Reading>,
    range: Range<u64>,
) -> S3Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static> {
    let mut plan = Vec::new();
    let mut start = 0;
    for piece in &reading.record.pieces {
        let end = start + piece.bytes;
        let (from, to) = (range.start.max(start), range.end.min(end));
        if from < to {
            plan.push((piece.clone(), from - start, to - from));
        }
        start = end;
    }
    plan.reverse();
    let mut open = None;
    if let Some((piece, from, length)) = plan.pop() {
        open = Some((open_piece(&reading, &piece, from).await.map_err(disk_error)?, length));
    }
    Ok(futures_util::stream::try_unfold((reading, plan, open), |(reading, mut plan, mut open)| async move {
        loop {
            if let Some((mut file, left)) = open.take()
                && left > 0
            {
                let mut bytes = BytesMut::with_capacity(left.min(READ as u64) as usize);
                let read = (&mut file).take(left.min(READ as u64)).read_buf(&mut bytes).await?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                return Ok(Some((bytes.freeze(), (reading, plan, Some((file, left - read as u64))))));
            }
            let Some((piece, from, length)) = plan.pop() else { return Ok(None) };
            open = Some((open_piece(&reading, &piece, from).await?, length));
        }
    }))
}

async fn open_piece(reading: &Reading, piece: &Piece, from: u64) -> io::Result<tokio::fs::File> {
    let path = reading.path(piece);
    let mut file = tokio::fs::File::open(&path).await?;
    let found = file.metadata().await?.len();
    if found != piece.bytes {
        let text = format!("{} has {found} bytes instead of {}", path.display(), piece.bytes);
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    file.seek(io::SeekFrom::Start(from)).await?;
    Ok(file)
}

/// A stream as the body of an answer.
pub(super) fn body(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> StreamingBlob {
    Body::http_body_unsync(StreamBody::new(stream.map_ok(Frame::data))).into()
}
