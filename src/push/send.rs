//! A file on its way up: what has arrived is never sent again, parts go side by side, addresses are signed again when they expire.

use super::api::{Api, Arrived, NewUpload, Upload, patiently};
use super::error::PushError;
use super::fits;
use super::journal::{Journal, Step};
use crate::digest::hex;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use loopmaster_core::settings::Limits;
use reqwest::header::{CONTENT_LENGTH, ETAG};
use reqwest::{Body, StatusCode};
use s3s::crypto::{Checksum, Md5};
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::Semaphore;
use url::Url;

/// Addresses asked for at once.
const SIGNED: usize = 16;
/// Bytes read at once.
const CHUNK: usize = 128 << 10;
/// Slowest way up that is waited for, bytes per second.
const SLOWEST: u64 = 16 << 10;
/// How often a part is tried again with another address, or because it arrived damaged.
const AGAIN: u32 = 3;

/// A file as it was when it was looked at.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// Changes when the file does.
    pub(super) stamp: String,
}

impl Source {
    pub(super) fn look(path: &Path) -> Result<Self, PushError> {
        let failed = |source| PushError::File { path: path.to_owned(), source };
        let about = std::fs::metadata(path).map_err(failed)?;
        let modified = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let stamp = format!("{}-{}", about.len(), modified.unwrap_or_default().as_nanos());
        Ok(Self { path: path.to_owned(), bytes: about.len(), stamp })
    }

    fn unchanged(&self) -> Result<(), PushError> {
        if Self::look(&self.path)?.stamp == self.stamp { Ok(()) } else { Err(PushError::Changed(self.path.clone())) }
    }

    /// The MD5 of a stretch, as storage gives it for a part.
    async fn md5(&self, from: u64, length: u64) -> Result<String, PushError> {
        let path = self.path.clone();
        let read = move || {
            let mut file = std::fs::File::open(&path)?;
            file.seek(SeekFrom::Start(from))?;
            let (mut md5, mut left, mut buffer) = (Md5::new(), length, vec![0; CHUNK]);
            while left > 0 {
                let most = left.min(CHUNK as u64) as usize;
                file.read_exact(&mut buffer[..most])?;
                md5.update(&buffer[..most]);
                left -= most as u64;
            }
            Ok(hex(&md5.finalize()))
        };
        let done = tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        done.map_err(|source| PushError::File { path: self.path.clone(), source })
    }
}

/// How a file is told to the service.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) media_type: &'a str,
    pub(super) settings: Option<&'a serde_json::Value>,
    pub(super) batch: Option<&'a str>,
    pub(super) position: Option<usize>,
    pub(super) reference: Option<&'a str>,
    /// A short name for what a manifest says of the file; empty where all files are ordered alike.
    pub(super) named: &'a str,
}

/// Sends files of one push.
#[derive(Debug)]
pub(super) struct Sender<'a> {
    pub(super) api: &'a Api,
    pub(super) journal: &'a Journal,
    /// What the service takes.
    pub(super) limits: &'a Limits,
    /// Parts on their way at once, of all files.
    pub(super) parts: Arc<Semaphore>,
}

/// Bytes that have arrived or are on their way, as they change.
pub(super) type Moved<'a> = &'a (dyn Fn(i64) + Sync);

impl Sender<'_> {
    /// Brings a file up. Returns the upload, whole.
    pub(super) async fn send(&self, source: &Source, order: &Order<'_>, moved: Moved<'_>) -> Result<Upload, PushError> {
        match self.once(source, order, moved, None).await {
            // Expired or deleted since: from the start, once.
            Err(error) if error.is_gone() => self.afresh(source, order, moved).await,
            done => done,
        }
    }

    /// Brings a file up whatever is known of it.
    pub(super) async fn afresh(
        &self,
        source: &Source,
        order: &Order<'_>,
        moved: Moved<'_>,
    ) -> Result<Upload, PushError> {
        let key = uuid::Uuid::new_v4().simple().to_string();
        self.once(source, order, moved, Some(&key)).await
    }

    async fn once(
        &self,
        source: &Source,
        order: &Order<'_>,
        moved: Moved<'_>,
        again: Option<&str>,
    ) -> Result<Upload, PushError> {
        let file = source.path.to_string_lossy().into_owned();
        let known = self.journal.upload(&file, &source.stamp).filter(|_| again.is_none());
        let upload = if let Some(id) = known {
            let upload = self.api.upload(&id).await?;
            if !matches!(upload.state.as_str(), "uploading" | "completing" | "stored") {
                let detail = format!("the upload {id} is {}", upload.state);
                let code = "push.upload_ended".to_owned();
                return Err(PushError::Problem { code, detail, status: 410, retry_after: None });
            }
            upload
        } else {
            let (path, limits) = (source.path.clone(), *self.limits);
            let judged = tokio::task::spawn_blocking(move || fits::judge(&path, &limits)).await;
            judged.unwrap_or(Ok(()))?;
            let name = source.path.file_name().unwrap_or_default().to_string_lossy();
            let new = NewUpload {
                name: &name,
                bytes: source.bytes,
                media_type: order.media_type,
                fingerprint: &source.stamp,
                settings: order.settings,
                batch: order.batch,
                position: order.position,
                reference: order.reference,
            };
            let key =
                again.map_or_else(|| self.journal.key(&name_of(&file, &source.stamp, order.named)), str::to_owned);
            let upload = self.api.create(&new, &key).await?;
            self.journal.write(Step::Upload {
                file,
                stamp: source.stamp.clone(),
                id: upload.id.clone(),
                order: order.named.to_owned(),
            })?;
            upload
        };
        let whole = if upload.state == "uploading" || upload.state == "completing" {
            let parts = self.parts(source, &upload, moved).await?;
            source.unchanged()?;
            self.api.complete(&upload.id, &parts).await?
        } else {
            moved(source.bytes as i64);
            upload
        };
        if !matches!(whole.state.as_str(), "stored" | "completing") {
            let detail = format!("the upload {} is {}", whole.id, whole.state);
            return Err(PushError::Failed { code: "push.upload_ended".to_owned(), detail });
        }
        Ok(whole)
    }

    /// Sends the parts that are missing. Returns the ETags of all.
    async fn parts(
        &self,
        source: &Source,
        upload: &Upload,
        moved: Moved<'_>,
    ) -> Result<BTreeMap<u64, String>, PushError> {
        let size = upload.part_bytes.max(1);
        let count = source.bytes.div_ceil(size).max(1);
        let span = |number: u64| ((number - 1) * size, size.min(source.bytes - (number - 1) * size));
        let mut etags = BTreeMap::new();
        for Arrived { number, etag, bytes } in self.api.arrived(&upload.id).await? {
            let etag = etag.trim_matches('"').to_owned();
            // The same bytes as in the file? Reading costs less than sending.
            let fits = (1..=count).contains(&number) && bytes == span(number).1;
            if fits && (!is_md5(&etag) || source.md5(span(number).0, bytes).await? == etag) {
                moved(bytes as i64);
                etags.insert(number, etag);
            }
        }
        let missing: Vec<u64> = (1..=count).filter(|number| !etags.contains_key(number)).collect();
        for numbers in missing.chunks(SIGNED) {
            let urls = Mutex::new(self.api.sign(&upload.id, numbers).await?);
            let urls = &urls;
            let sent = futures_util::stream::iter(numbers.iter().copied())
                .map(|number| async move {
                    let _turn = self.parts.acquire().await;
                    let etag = self.part(source, upload, number, span(number), urls, moved).await?;
                    Ok::<_, PushError>((number, etag))
                })
                .buffer_unordered(SIGNED)
                .try_collect::<Vec<_>>()
                .await?;
            etags.extend(sent);
        }
        Ok(etags)
    }

    /// Sends one part until it has arrived as it is.
    async fn part(
        &self,
        source: &Source,
        upload: &Upload,
        number: u64,
        (from, length): (u64, u64),
        urls: &Mutex<BTreeMap<u64, Url>>,
        moved: Moved<'_>,
    ) -> Result<String, PushError> {
        let mut again = 0;
        loop {
            let url = urls.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned();
            let url = url.ok_or_else(|| PushError::Storage {
                part: number,
                status: 0,
                detail: "the service gave no address for it".to_owned(),
            })?;
            let put = patiently(|| self.put(source, number, (from, length), &url, moved)).await;
            match put {
                Err(PushError::Storage { status: 403, .. }) if again < AGAIN => {
                    again += 1;
                    let signed = self.api.sign(&upload.id, &[number]).await?;
                    urls.lock().unwrap_or_else(PoisonError::into_inner).extend(signed);
                }
                Err(PushError::Damaged { .. }) if again < AGAIN => again += 1,
                put => return put,
            }
        }
    }

    async fn put(
        &self,
        source: &Source,
        number: u64,
        (from, length): (u64, u64),
        url: &Url,
        moved: Moved<'_>,
    ) -> Result<String, PushError> {
        source.unchanged()?;
        let failed = |error| PushError::File { path: source.path.clone(), source: error };
        let mut file = tokio::fs::File::open(&source.path).await.map_err(failed)?;
        file.seek(SeekFrom::Start(from)).await.map_err(failed)?;
        // Told as it is read, and taken back where the part does not arrive.
        let told = Arc::new(Mutex::new((Md5::new(), 0_u64)));
        let telling = Arc::clone(&told);
        let chunks = futures_util::stream::try_unfold((file.take(length), telling), |(mut file, telling)| async move {
            let mut chunk = Vec::with_capacity(CHUNK);
            let read = (&mut file).take(CHUNK as u64).read_to_end(&mut chunk).await?;
            if read == 0 {
                return Ok::<_, std::io::Error>(None);
            }
            {
                let mut telling = telling.lock().unwrap_or_else(PoisonError::into_inner);
                telling.0.update(&chunk);
                telling.1 += read as u64;
            }
            Ok(Some((Bytes::from(chunk), (file, telling))))
        });
        let request = self.api.http.put(url.clone()).header(CONTENT_LENGTH, length).body(Body::wrap_stream(chunks));
        let request = request.timeout(Duration::from_secs(60 + length / SLOWEST));
        let mut shown = 0;
        let sending = request.send();
        tokio::pin!(sending);
        let show = |shown: &mut u64| {
            let read = told.lock().unwrap_or_else(PoisonError::into_inner).1;
            moved((read - *shown) as i64);
            *shown = read;
        };
        let answer = loop {
            tokio::select! {
                answer = &mut sending => break answer,
                () = tokio::time::sleep(Duration::from_millis(100)) => show(&mut shown),
            }
        };
        show(&mut shown);
        let checked = self.checked(answer, number, &told).await;
        if checked.is_err() {
            moved(-(shown as i64));
        }
        checked
    }

    /// Whether the part arrived, and as it was read.
    async fn checked(
        &self,
        answer: reqwest::Result<reqwest::Response>,
        number: u64,
        told: &Mutex<(Md5, u64)>,
    ) -> Result<String, PushError> {
        let answer = answer.map_err(|error| PushError::transport("the storage", &error))?;
        let status = answer.status();
        if status != StatusCode::OK {
            let detail = answer.text().await.unwrap_or_default();
            let detail = detail.chars().filter(|c| !c.is_control()).take(300).collect();
            return Err(PushError::Storage { part: number, status: status.as_u16(), detail });
        }
        let etag = answer.headers().get(ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or_default();
        let etag = etag.trim_matches('"').to_owned();
        let md5 = std::mem::take(&mut told.lock().unwrap_or_else(PoisonError::into_inner).0);
        let sent = hex(&md5.finalize());
        if is_md5(&etag) && sent != etag {
            return Err(PushError::Damaged { what: format!("part {number}"), expected: sent, found: etag });
        }
        Ok(etag)
    }
}

fn is_md5(etag: &str) -> bool {
    etag.len() == 32 && etag.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A short name for a file as it was: part of an idempotency key, which is ASCII and not long.
fn name_of(file: &str, stamp: &str, order: &str) -> String {
    let order = if order.is_empty() { String::new() } else { format!("\n{order}") };
    hex(&Md5::checksum(format!("{file}\n{stamp}{order}").as_bytes()))
}
