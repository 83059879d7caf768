//! The endpoint in a process of its own, killed at any moment: what was acknowledged is there, and nothing wrong can be read.

use super::limits::blobs;
use super::{Ours, any_port, config, credentials, hex, http, noise};
use loopmaster::store::embedded::serve;
use loopmaster::store::{PartTag, PostBytes, Store};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const FOLDER: &str = "LOOPMASTER_TEST_STORAGE_FOLDER";
const PART: usize = 5 << 20;
const MINUTE: Duration = Duration::from_mins(1);

#[test]
#[ignore = "a server that the other tests start"]
fn a_server_for_the_other_tests() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("started by another test"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let handle = serve(&folder, any_port(), credentials(), &[]).await.unwrap();
        writeln!(std::io::stdout(), "\nlistening {}", handle.url()).unwrap();
        // As long as the one who started it lives.
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
            .await
            .unwrap()
            .unwrap();
    });
}

struct Server {
    process: Child,
    store: Store,
}

impl Server {
    fn start(folder: &Path) -> Self {
        Self::start_after("true", folder)
    }

    /// On a disk that is full at so many KiB: the limit on file sizes stands for it.
    fn start_small(folder: &Path, kib: u32) -> Self {
        Self::start_after(&format!("trap '' XFSZ; ulimit -f {kib}"), folder)
    }

    fn start_after(script: &str, folder: &Path) -> Self {
        let server = "storage::crash::a_server_for_the_other_tests --exact --ignored --nocapture";
        let mut process = Command::new("bash")
            .args(["-c", &format!("{script}; exec {} {server}", std::env::current_exe().unwrap().display())])
            .env(FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let url = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("listening ").map(str::to_owned));
        Self { store: Store::new(&config(&url.expect("the server listens"))).unwrap(), process }
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Bytes that say which version they are and whether they are whole.
fn version(number: u64) -> Vec<u8> {
    let length = 1_000 + (number * 79_193 % 200_000) as usize;
    [&number.to_le_bytes()[..], &noise(number, length)].concat()
}

fn part(number: u64) -> [Vec<u8>; 2] {
    [[&number.to_le_bytes()[..], &noise(number, PART)].concat(), noise(number + 1, 3_000)]
}

fn number_of(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

/// Versions of one key: acknowledged, and begun.
#[derive(Default)]
struct Seen {
    acknowledged: AtomicU64,
    begun: AtomicU64,
}

async fn overwrite(store: Store, key: String, seen: Arc<Seen>) {
    loop {
        let number = seen.begun.fetch_add(1, Ordering::SeqCst) + 1;
        if store.put_bytes(&key, version(number), "audio/wav").await.is_err() {
            return;
        }
        seen.acknowledged.store(number, Ordering::SeqCst);
    }
}

/// One upload in parts after the other; what is on its way when the server dies is told. `None`: it died before it had told the id.
async fn upload(store: Store, seen: Arc<Seen>) -> Option<(u64, String, Vec<PartTag>)> {
    loop {
        let number = seen.begun.load(Ordering::SeqCst) + 1;
        let id = store.create_multipart("parts", "audio/wav").await.ok()?;
        let mut tags = Vec::new();
        for (at, bytes) in (1_u16..).zip(part(number)) {
            let (length, etag) = (bytes.len() as u64, md5(&bytes));
            let url = store.presign_part("parts", &id, at, length, MINUTE).await.unwrap();
            tags.push(PartTag { number: at, etag: etag.clone(), bytes: Some(length) });
            match http().put(url).body(bytes).send().await {
                Ok(answer) if answer.status() == 200 => {
                    assert_eq!(answer.headers()["etag"].to_str().unwrap(), format!("\"{etag}\""));
                }
                _ => return Some((number, id, tags)),
            }
        }
        seen.begun.store(number, Ordering::SeqCst);
        if store.complete("parts", &id, &tags).await.is_err() {
            return Some((number, id, tags));
        }
        seen.acknowledged.store(number, Ordering::SeqCst);
    }
}

fn md5(bytes: &[u8]) -> String {
    use s3s::crypto::{Checksum, Md5};
    hex(&Md5::checksum(bytes))
}

async fn read(store: &Store, key: &str) -> Option<Vec<u8>> {
    match store.get(key).await {
        Ok(reading) => Some(reading.bytes(1 << 30).await.unwrap().to_vec()),
        Err(error) if error.is_not_found() => None,
        Err(error) => panic!("{key}: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let keys: Vec<(String, Arc<Seen>)> = (0..3).map(|at| (format!("folder/{at}"), Arc::default())).collect();
    let parts: Arc<Seen> = Arc::default();
    for round in 0..10_u64 {
        let server = Server::start(folder.path());
        server.store.ensure_bucket().await.unwrap();
        let writers: Vec<_> = keys
            .iter()
            .map(|(key, seen)| tokio::spawn(overwrite(server.store.clone(), key.clone(), Arc::clone(seen))))
            .collect();
        let uploader = tokio::spawn(upload(server.store.clone(), Arc::clone(&parts)));
        tokio::time::sleep(Duration::from_millis(60 + round * 97 % 400)).await;
        server.kill();
        for writer in writers {
            writer.await.unwrap();
        }
        let open = uploader.await.unwrap();

        let server = Server::start(folder.path());
        for (key, seen) in &keys {
            let (acknowledged, begun) = (seen.acknowledged.load(Ordering::SeqCst), seen.begun.load(Ordering::SeqCst));
            match read(&server.store, key).await {
                None => assert_eq!(acknowledged, 0, "round {round}: {key} is gone"),
                Some(bytes) => {
                    let found = number_of(&bytes);
                    assert!(
                        (acknowledged..=begun).contains(&found),
                        "round {round}: {found} of {acknowledged}..={begun}"
                    );
                    assert!(bytes == version(found), "round {round}: {key} is version {found} in parts only");
                }
            }
        }
        let acknowledged = parts.acknowledged.load(Ordering::SeqCst);
        match read(&server.store, "parts").await {
            None => assert_eq!(acknowledged, 0, "round {round}: the object of parts is gone"),
            Some(bytes) => {
                let found = number_of(&bytes);
                assert!((acknowledged..=parts.begun.load(Ordering::SeqCst)).contains(&found), "round {round}");
                assert!(bytes == part(found).concat(), "round {round}: upload {found} in parts only");
            }
        }
        let untold = usize::from(open.is_none());
        // The client comes back: parts it sees are those it sent, and completing finishes or repeats.
        if let Some((number, id, tags)) = open {
            let mut tags: Vec<PartTag> = tags;
            match server.store.list_parts("parts", &id).await {
                Ok(there) => {
                    assert!(there.iter().all(|part| tags.contains(part)), "round {round}: {there:?} of {tags:?}");
                    tags = there;
                }
                Err(error) => assert!(error.is_not_found(), "round {round}: {error}"),
            }
            if tags.len() == 2 {
                server.store.complete("parts", &id, &tags).await.unwrap();
                let bytes = read(&server.store, "parts").await.unwrap();
                assert!(bytes == part(number).concat(), "round {round}: completed to something else");
                parts.begun.store(number, Ordering::SeqCst);
                parts.acknowledged.store(number, Ordering::SeqCst);
            } else {
                server.store.abort("parts", &id).await.unwrap();
            }
        }
        let unfinished = server.store.unfinished("").await.unwrap();
        assert!(unfinished.len() <= untold, "round {round}: {unfinished:?} stay, {untold} ids were never told");
        for upload in unfinished {
            server.store.abort(&upload.key, &upload.id).await.unwrap();
        }
        server.kill();
    }
    let written: u64 = keys.iter().map(|(_, seen)| seen.acknowledged.load(Ordering::SeqCst)).sum();
    assert!(written > 10, "only {written} objects were written: the kills came too early to mean anything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_does_not_grow_with_what_comes() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    server.store.ensure_bucket().await.unwrap();
    server.store.put_bytes("first", noise(1, 100_000), "audio/wav").await.unwrap();
    let before = server.peak_memory();
    let bytes = noise(2, 96 << 20);
    let length = bytes.len() as u64;
    let form = server.store.post_policy("form", "audio/wav", PostBytes::Exactly(length), MINUTE);
    let mut body = Vec::new();
    for (name, value) in &form.fields {
        write!(body, "--edge\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").unwrap();
    }
    write!(body, "--edge\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n").unwrap();
    body.extend_from_slice(&bytes);
    write!(body, "\r\n--edge--\r\n").unwrap();
    let request = http().post(form.url).header("content-type", "multipart/form-data; boundary=edge").body(body);
    assert_eq!(request.send().await.unwrap().status(), 201);
    server.store.put_bytes("put", bytes.clone(), "audio/wav").await.unwrap();
    assert!(read(&server.store, "form").await.unwrap() == bytes);
    let grown = server.peak_memory() - before;
    assert!(grown < 24 << 20, "{grown} bytes more for objects of {length}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_in_the_middle_of_a_body() {
    let Ours { folder, handle, .. } = Ours::start().await;
    handle.stop().await;
    let server = Server::start_small(folder.path(), 1024);
    server.store.put_bytes("small", noise(1, 900_000), "audio/wav").await.unwrap();
    let error = server.store.put_bytes("large", noise(2, 3 << 20), "audio/wav").await.unwrap_err();
    assert_eq!(error.code(), "storage.full", "{error}");
    assert_eq!(server.store.head("large").await.unwrap(), None);
    assert!(read(&server.store, "small").await.unwrap() == noise(1, 900_000));
    assert_eq!(blobs(folder.path()), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_in_the_middle_of_a_line() {
    let Ours { folder, handle, store } = Ours::start().await;
    let id = store.create_multipart("k", "audio/wav").await.unwrap();
    handle.stop().await;
    let server = Server::start_small(folder.path(), 1);
    let put = async |store: &Store, number: u16, length: u64| {
        let url = store.presign_part("k", &id, number, length, MINUTE).await.unwrap();
        http().put(url).body(noise(number.into(), length as usize)).send().await.unwrap().status().as_u16()
    };
    let mut kept = 0;
    while put(&server.store, kept + 1, 10).await == 200 {
        kept += 1;
    }
    let file = folder.path().join("buckets/songs/uploads").join(&id);
    let before = std::fs::read(&file).unwrap();
    assert!(before.len() < 1024 && before.ends_with(b"\n") && kept > 0, "{kept} parts in {} bytes", before.len());
    // Neither a new part nor one that is there already, and the old one stays.
    for number in [kept + 1, 1] {
        assert_eq!(put(&server.store, number, 20).await, 507);
    }
    assert!(std::fs::read(&file).unwrap() == before, "half a line stays");
    assert_eq!(blobs(folder.path()), usize::from(kept));
    server.kill();
    let server = Server::start(folder.path());
    assert_eq!(put(&server.store, 1, 20).await, 200);
    let parts = server.store.list_parts("k", &id).await.unwrap();
    let bytes: Vec<u64> = parts.iter().filter_map(|part| part.bytes).collect();
    assert_eq!((bytes.len(), bytes[0], bytes[1]), (kept.into(), 20, 10));
    assert_eq!(blobs(folder.path()), usize::from(kept));
}
