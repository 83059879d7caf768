//! Of our endpoint alone: pages of other origins, full disks, slow clients, readers beside writers, restarts.

use super::{BUCKET, Ours, any_port, config, credentials, http, noise};
use loopmaster::store::embedded::{Options, Swept, serve, serve_with};
use loopmaster::store::{PostBytes, Store};
use reqwest::Method;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MINUTE: Duration = Duration::from_mins(1);

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect();
    files.sort();
    files
}

pub(super) fn blobs(folder: &Path) -> usize {
    files(&folder.join("buckets").join(BUCKET).join("blobs")).len()
}

#[tokio::test]
async fn pages_of_our_origin_may_read_etags() {
    let ours = Ours::start().await;
    let url = ours.store.presign_part("k", "id", 1, 10, MINUTE).await.unwrap();
    let preflight = |origin: &'static str| {
        let request = http().request(Method::OPTIONS, url.clone()).header("origin", origin);
        request
            .header("access-control-request-method", "PUT")
            .header("access-control-request-headers", "content-type")
            .send()
    };
    let answer = preflight("http://page.test").await.unwrap();
    assert!(answer.status().is_success());
    assert_eq!(answer.headers()["access-control-allow-origin"], "http://page.test");
    assert!(answer.headers()["access-control-allow-methods"].to_str().unwrap().contains("PUT"));
    assert_eq!(answer.headers()["access-control-allow-headers"], "content-type");
    let stranger = preflight("http://elsewhere.test").await.unwrap();
    assert!(!stranger.headers().contains_key("access-control-allow-origin"));
    // Errors, too, are readable, and so is the ETag.
    let answer = http().put(url.clone()).header("origin", "http://page.test").body(noise(1, 10)).send().await.unwrap();
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.headers()["access-control-allow-origin"], "http://page.test");
    assert!(answer.headers()["access-control-expose-headers"].to_str().unwrap().contains("etag"));
}

#[tokio::test]
async fn a_full_disk_keeps_nothing_and_loses_nothing() {
    let ours = Ours::start().await;
    ours.store.put_bytes("old", "old", "text/plain").await.unwrap();
    let id = ours.store.create_multipart("upload", "audio/wav").await.unwrap();
    let Ours { folder, handle, .. } = ours;
    handle.stop().await;
    let before = files(folder.path());
    let mut options = Options::new(folder.path(), any_port(), credentials(), &[]);
    options.reserve = u64::MAX;
    let handle = serve_with(options).await.unwrap();
    let store = Store::new(&config(&handle.url())).unwrap();
    for key in ["new", "old"] {
        let error = store.put_bytes(key, noise(1, 100_000), "audio/wav").await.unwrap_err();
        assert_eq!(error.code(), "storage.full", "{error}");
        assert!(error.is_temporary());
    }
    let url = store.presign_part("upload", &id, 1, 10, MINUTE).await.unwrap();
    assert_eq!(http().put(url).body(noise(1, 10)).send().await.unwrap().status(), 507);
    assert_eq!(files(folder.path()), before);
    assert_eq!(&store.get("old").await.unwrap().bytes(10).await.unwrap()[..], b"old");
}

#[tokio::test]
async fn one_server_at_a_time() {
    let ours = Ours::start().await;
    let second = serve(ours.folder.path(), any_port(), credentials(), &[]).await.unwrap_err();
    assert!(second.to_string().contains("another server"), "{second}");
    let Ours { folder, handle, store } = ours;
    store.put_bytes("kept", "kept", "text/plain").await.unwrap();
    handle.stop().await;
    assert_eq!(store.head("kept").await.unwrap_err().code(), "storage.unavailable");
    let handle = serve(folder.path(), any_port(), credentials(), &[]).await.unwrap();
    let store = Store::new(&config(&handle.url())).unwrap();
    assert_eq!(&store.get("kept").await.unwrap().bytes(10).await.unwrap()[..], b"kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_keeps_what_it_reads() {
    let ours = Ours::start().await;
    let (old, new) = (noise(1, 3 << 20), noise(2, 3 << 20));
    ours.store.put_bytes("k", old.clone(), "audio/wav").await.unwrap();
    let reading = ours.store.get("k").await.unwrap();
    ours.store.put_bytes("k", new.clone(), "audio/wav").await.unwrap();
    ours.store.delete("k").await.unwrap();
    assert!(reading.bytes(1 << 30).await.unwrap() == old, "the object changed under its reader");
    // With the last reader the bytes go.
    for _ in 0..100 {
        if blobs(ours.folder.path()) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} blobs stay", blobs(ours.folder.path()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_one_key_leave_one_of_them() {
    let ours = Ours::start().await;
    let all: Vec<Vec<u8>> = (0..12).map(|seed| noise(seed, 40_000)).collect();
    let writers = all.iter().map(|bytes| ours.store.put_bytes("k/k", bytes.clone(), "audio/wav"));
    futures_util::future::try_join_all(writers).await.unwrap();
    let left = ours.store.get("k/k").await.unwrap().bytes(1 << 20).await.unwrap();
    assert!(all.contains(&left.to_vec()), "the object is none of those written");
    assert_eq!(blobs(ours.folder.path()), 1);
    let absent = (0..12).map(|at| ours.store.put_bytes_if_absent("first", vec![at; 10], "text/plain"));
    let done = futures_util::future::join_all(absent).await;
    assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1);
    // Folders come and go with their last object.
    let churn = (0..8).map(|at| {
        let store = ours.store.clone();
        async move {
            for _ in 0..5 {
                store.put_bytes(&format!("deep/er/{at}"), "x", "text/plain").await.unwrap();
                store.delete(&format!("deep/er/{at}")).await.unwrap();
            }
        }
    });
    futures_util::future::join_all(churn).await;
    assert!(ours.store.list("deep/").await.unwrap().is_empty());
}

#[tokio::test]
async fn the_sweep_takes_what_nobody_wants() {
    let ours = Ours::with(|mut options| {
        options.unfinished_after = Duration::from_millis(1);
        options
    })
    .await;
    let store = &ours.store;
    let id = store.create_multipart("k", "audio/wav").await.unwrap();
    let url = store.presign_part("k", &id, 1, 10, MINUTE).await.unwrap();
    assert_eq!(http().put(url).body(noise(1, 10)).send().await.unwrap().status(), 200);
    store.put_bytes("kept", "kept", "text/plain").await.unwrap();
    store.copy("kept", "copied").await.unwrap();
    store.delete("kept").await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(ours.handle.sweep().await.unwrap(), Swept { uploads: 1, blobs: 0 });
    assert!(store.unfinished("").await.unwrap().is_empty());
    assert_eq!(blobs(ours.folder.path()), 1);
    assert_eq!(&store.get("copied").await.unwrap().bytes(10).await.unwrap()[..], b"kept");
}

#[tokio::test]
async fn damage_is_an_error_and_not_another_object() {
    let ours = Ours::start().await;
    ours.store.put_bytes("cut", noise(1, 1_000), "audio/wav").await.unwrap();
    let blob = files(&ours.folder.path().join("buckets").join(BUCKET).join("blobs")).remove(0);
    std::fs::write(&blob, noise(1, 999)).unwrap();
    assert_eq!(ours.store.get("cut").await.unwrap_err().code(), "storage.unavailable");
    ours.store.delete("cut").await.unwrap();
    assert_eq!(blobs(ours.folder.path()), 0);
}

/// Our endpoint with an upload of one part, and the upload's file.
async fn with_an_upload() -> (Ours, String, PathBuf) {
    let ours = Ours::start().await;
    let id = ours.store.create_multipart("k", "audio/wav").await.unwrap();
    assert_eq!(put_part(&ours.store, &id, 1, 10).await, 200);
    let file = ours.folder.path().join("buckets").join(BUCKET).join("uploads").join(&id);
    (ours, id, file)
}

async fn put_part(store: &Store, id: &str, number: u16, length: u64) -> u16 {
    let url = store.presign_part("k", id, number, length, MINUTE).await.unwrap();
    http().put(url).body(noise(length, length as usize)).send().await.unwrap().status().as_u16()
}

/// Killed between a blob and the record that was to name it: it goes with the next start, and not hours later.
#[tokio::test]
async fn what_a_killed_process_left_goes_at_the_next_start() {
    let ours = Ours::start().await;
    ours.store.put_bytes("kept", noise(1, 1_000), "audio/wav").await.unwrap();
    let folder = ours.folder.path().join("buckets").join(BUCKET).join("blobs");
    for name in ["00112233445566778899aabbccddeeff", "ff000000000000000000000000000001"] {
        std::fs::write(folder.join(&name[..2]).join(name), noise(2, 1_000)).unwrap();
    }
    let ours = restarted(ours).await;
    ours.handle.sweep().await.unwrap();
    assert_eq!(blobs(ours.folder.path()), 1);
    assert!(ours.store.get("kept").await.unwrap().bytes(1 << 20).await.unwrap() == noise(1, 1_000));
}

/// However often it sweeps, what is just being written is not taken for left over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sweeps_beside_writers_take_nothing_of_theirs() {
    let ours = Ours::start().await;
    let until = std::time::Instant::now() + Duration::from_secs(2);
    let writers = (0..6_u64).map(|writer| {
        let store = ours.store.clone();
        tokio::spawn(async move {
            let mut number = 0;
            while std::time::Instant::now() < until {
                number += 1;
                let (key, bytes) = (format!("{writer}/{}", number % 7), noise(writer * 1_000 + number, 30_000));
                let copy = format!("copy/{writer}");
                match number % 3 {
                    0 => drop(store.put_bytes(&key, bytes.clone(), "audio/wav").await.unwrap()),
                    1 => {
                        let id = store.create_multipart(&key, "audio/wav").await.unwrap();
                        let url = store.presign_part(&key, &id, 1, 30_000, MINUTE).await.unwrap();
                        assert_eq!(http().put(url).body(bytes.clone()).send().await.unwrap().status(), 200);
                        let parts = store.list_parts(&key, &id).await.unwrap();
                        store.complete(&key, &id, &parts).await.unwrap();
                    }
                    _ => {
                        store.put_bytes(&key, bytes.clone(), "audio/wav").await.unwrap();
                        store.copy(&key, &copy).await.unwrap();
                        assert!(store.get(&copy).await.unwrap().bytes(1 << 20).await.unwrap() == bytes);
                    }
                }
                assert!(store.get(&key).await.unwrap().bytes(1 << 20).await.unwrap() == bytes, "{key}");
            }
        })
    });
    let writing = futures_util::future::join_all(writers);
    let sweeping = async {
        while std::time::Instant::now() < until {
            ours.handle.sweep().await.unwrap();
        }
    };
    let (written, ()) = tokio::join!(writing, sweeping);
    for writer in written {
        writer.unwrap();
    }
    let objects = ours.store.list("").await.unwrap();
    assert!(objects.len() > 20, "{}", objects.len());
    for object in &objects {
        let bytes = ours.store.get(&object.key).await.unwrap().bytes(1 << 20).await.unwrap();
        assert_eq!(bytes.len(), 30_000, "{}", object.key);
    }
    assert_eq!(blobs(ours.folder.path()), objects.len());
}

async fn restarted(ours: Ours) -> Ours {
    let Ours { folder, handle, .. } = ours;
    handle.stop().await;
    let handle = serve(folder.path(), any_port(), credentials(), &[]).await.unwrap();
    let store = Store::new(&config(&handle.url())).unwrap();
    Ours { folder, handle, store }
}

fn append(file: &Path, text: &str) {
    std::fs::File::options().append(true).open(file).unwrap().write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn half_a_line_does_not_count() {
    let (ours, id, file) = with_an_upload().await;
    let sizes = async |store: &Store| -> Vec<(u16, Option<u64>)> {
        let parts = store.list_parts("k", &id).await.unwrap();
        parts.iter().map(|part| (part.number, part.bytes)).collect()
    };
    // Left by a write that failed and could not be cut off.
    append(&file, "{\"number\":7,\"part\":{\"blob\":");
    assert_eq!(sizes(&ours.store).await, [(1, Some(10))]);
    assert_eq!(put_part(&ours.store, &id, 2, 20).await, 200);
    assert_eq!(sizes(&ours.store).await, [(1, Some(10)), (2, Some(20))]);
    // Left by a process that was killed; and an upload whose id was never told.
    let before = std::fs::read(&file).unwrap();
    append(&file, "{\"number\":7,\"part\":{\"blob\":");
    std::fs::write(file.with_file_name("0".repeat(32)), "{\"key\":\"k\",\"crea").unwrap();
    let ours = restarted(ours).await;
    assert!(std::fs::read(&file).unwrap() == before, "the half line was not cut off");
    assert_eq!(files(file.parent().unwrap()), [file]);
    // Of two lines with one number the later counts, and the bytes of the earlier go.
    assert_eq!(put_part(&ours.store, &id, 1, 30).await, 200);
    assert_eq!(blobs(ours.folder.path()), 2);
    let ours = restarted(ours).await;
    assert_eq!(sizes(&ours.store).await, [(1, Some(30)), (2, Some(20))]);
    let parts = ours.store.list_parts("k", &id).await.unwrap();
    ours.store.complete("k", &id, &parts[..1]).await.unwrap();
    assert!(ours.store.get("k").await.unwrap().bytes(100).await.unwrap() == noise(30, 30));
    assert_eq!(blobs(ours.folder.path()), 1);
    assert!(ours.store.unfinished("").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_damaged_upload_is_given_up_at_the_next_start() {
    let (ours, id, file) = with_an_upload().await;
    let other = ours.store.create_multipart("other", "audio/wav").await.unwrap();
    append(&file, "{\"number\":2,\0\0\0}\n");
    assert_eq!(ours.store.list_parts("k", &id).await.unwrap_err().code(), "storage.unavailable");
    assert_eq!(put_part(&ours.store, &id, 3, 10).await, 500);
    assert!(ours.handle.sweep().await.unwrap_err().to_string().contains("is damaged"));
    assert_eq!(blobs(ours.folder.path()), 1);
    let ours = restarted(ours).await;
    assert!(ours.store.list_parts("k", &id).await.unwrap_err().is_not_found());
    let left = ours.store.unfinished("").await.unwrap();
    assert_eq!(left.iter().map(|upload| &upload.id).collect::<Vec<_>>(), [&other]);
    ours.handle.sweep().await.unwrap();
}

/// Killed between the line of the record and the rename that makes it an object.
#[tokio::test]
async fn a_record_that_never_came_into_place_counts_for_nothing() {
    let (ours, id, file) = with_an_upload().await;
    let parts = ours.store.list_parts("k", &id).await.unwrap();
    ours.store.complete("k", &id, &parts).await.unwrap();
    assert!(!file.exists());
    let record = files(&ours.folder.path().join("buckets").join(BUCKET).join("objects")).remove(0);
    let line = std::fs::read_to_string(record).unwrap().lines().last().unwrap().to_owned();
    let other = ours.store.create_multipart("k", "audio/wav").await.unwrap();
    assert_eq!(put_part(&ours.store, &other, 1, 20).await, 200);
    append(&file.with_file_name(&other), &format!("{line}\n"));
    let ours = restarted(ours).await;
    assert_eq!(put_part(&ours.store, &other, 2, 30).await, 200);
    let parts = ours.store.list_parts("k", &other).await.unwrap();
    assert_eq!(parts.iter().map(|part| part.number).collect::<Vec<_>>(), [1, 2]);
    assert!(ours.store.get("k").await.unwrap().bytes(100).await.unwrap() == noise(10, 10));
    ours.store.complete("k", &other, &parts[..1]).await.unwrap();
    assert!(ours.store.get("k").await.unwrap().bytes(100).await.unwrap() == noise(20, 20));
    assert_eq!(blobs(ours.folder.path()), 1);
    assert!(ours.store.unfinished("").await.unwrap().is_empty());
}

/// Only as often as its file stays readable at once; what has come can be completed.
#[tokio::test]
async fn a_part_is_not_sent_again_without_end() {
    let (ours, id, file) = with_an_upload().await;
    let text = std::fs::read_to_string(&file).unwrap();
    let line = text.lines().nth(1).unwrap();
    append(&file, &format!("{line}\n").repeat((16 << 20) / line.len()));
    assert_eq!(put_part(&ours.store, &id, 1, 20).await, 400);
    let parts = ours.store.list_parts("k", &id).await.unwrap();
    ours.store.complete("k", &id, &parts).await.unwrap();
    assert_eq!(blobs(ours.folder.path()), 1);
}

#[tokio::test]
async fn uploads_of_an_earlier_version_are_removed() {
    let (ours, id, file) = with_an_upload().await;
    let old = file.with_file_name("0".repeat(32));
    std::fs::create_dir(&old).unwrap();
    let upload = "{\"key\":\"k\",\"created\":1,\"about\":{}}";
    std::fs::write(old.join("upload"), upload).unwrap();
    std::fs::write(old.join("00001"), upload).unwrap();
    let ours = restarted(ours).await;
    assert!(!old.exists());
    assert_eq!(ours.store.list_parts("k", &id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn slow_and_garbled_requests_end() {
    let ours = Ours::start().await;
    let addr = ours.handle.addr();
    for garbled in ["GET\r\n\r\n", "\0\0\0\0\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\nhost\r\n\r\n"] {
        let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
        stream.write_all(garbled.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(MINUTE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    }
    let url = ours.handle.url();
    for (method, path, body) in [
        (Method::POST, "/songs?delete", "<Delete>"),
        (Method::POST, "/songs/k?uploads", ""),
        (Method::PUT, "/songs/%ff", "x"),
        (Method::GET, "/..%2f..%2fetc/passwd", ""),
        (Method::GET, "/songs/k?X-Amz-Signature=1", ""),
        (Method::GET, "/songs/k?Signature=1&AWSAccessKeyId=2&Expires=3", ""),
    ] {
        let answer = http().request(method, format!("{url}{path}")).body(body).send().await.unwrap();
        assert!(answer.status().is_client_error(), "{path}: {}", answer.status());
    }
    // A form without an end, one without a file, one that is no form.
    let form = ours.store.post_policy("k", "audio/wav", PostBytes::AtMost(10), MINUTE);
    for body in ["", "--edge", "--edge\r\ncontent-disposition: form-data; name=\"key\"\r\n\r\nk\r\n--edge--\r\n"] {
        let request = http().post(form.url.clone()).header("content-type", "multipart/form-data; boundary=edge");
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{body}");
    }
    let field = "x".repeat(1 << 20);
    let body = format!("--edge\r\ncontent-disposition: form-data; name=\"key\"\r\n\r\n{field}\r\n--edge--\r\n");
    let request = http().post(form.url).header("content-type", "multipart/form-data; boundary=edge").body(body);
    assert!(request.send().await.is_ok_and(|answer| answer.status() == 400));
}

#[tokio::test]
async fn an_address_that_is_not_served() {
    let store = Store::new(&config("http://127.0.0.1:9")).unwrap();
    let error = store.probe().await.unwrap_err();
    assert_eq!(error.code(), "storage.unavailable", "{error}");
    let ours = Ours::start().await;
    ours.store.probe().await.unwrap();
    let mut missing = config(&ours.handle.url());
    missing.bucket = "another".to_owned();
    assert!(Store::new(&missing).unwrap().probe().await.unwrap_err().is_not_found());
}

/// Sends bytes as they are, and returns the answer's first line.
async fn raw(ours: &Ours, head: &str, body: &[u8]) -> String {
    let mut stream = tokio::net::TcpStream::connect(ours.handle.addr()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(MINUTE, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn paths_name_what_was_signed_and_nothing_else() {
    let ours = Ours::start().await;
    ours.store.put_bytes("jobs/a", "a", "text/plain").await.unwrap();
    ours.store.put_bytes("jobs/b", "b", "text/plain").await.unwrap();
    let url = ours.store.presign_get("jobs/a", "a", "text/plain", false, MINUTE).await.unwrap();
    let (host, query) = (ours.handle.addr(), url.query().unwrap());
    let ask = async |path: &str, more: &str| {
        raw(&ours, &format!("GET {path}?{query} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{more}\r\n"), b"")
            .await
    };
    assert!(ask("/songs/jobs/a", "").await.contains(" 200 "));
    for path in [
        "/songs/jobs/b",
        "//songs/jobs/b",
        "/songs//jobs/b",
        "/songs/jobs/a/../b",
        "/songs/jobs/a/%2e%2e/b",
        "/songs/jobs%2fb",
        "/songs/jobs/%62",
        "/other/jobs/a",
        "/songs/jobs/a/",
        "/songs",
        "/",
    ] {
        let answer = ask(path, "").await;
        assert!(answer.contains(" 4"), "{path}: {answer}");
    }
    // The method is the one of the request line.
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        assert!(ask("/songs/jobs/a", &format!("{name}: DELETE\r\n")).await.contains(" 200 "), "{name}");
    }
    assert!(ours.store.head("jobs/a").await.unwrap().is_some());
}

/// An address for a part of unknown size takes what was signed, and not a byte more however often it is used.
#[tokio::test]
async fn parts_of_unknown_size_keep_to_the_most_that_was_signed() {
    let ours = Ours::start().await;
    let id = ours.store.create_multipart("k", "audio/wav").await.unwrap();
    let url = ours.store.presign_part_at_most("k", &id, 1, 100, MINUTE).await.unwrap();
    let put = async |url: url::Url, length: usize| {
        http().put(url).body(noise(1, length)).send().await.map_or(0, |answer| answer.status().as_u16())
    };
    assert_eq!(put(url.clone(), 101).await, 400);
    assert_eq!(put(url.clone(), 60).await, 200);
    assert_eq!(put(url.clone(), 61).await, 400, "it has been counted with 60");
    assert_eq!(put(url.clone(), 60).await, 200);
    for altered in ["x-most-bytes=1000", ""] {
        let altered = url.as_str().replace("x-most-bytes=100", altered);
        assert_eq!(put(altered.parse().unwrap(), 80).await, 403, "{altered}");
    }
    let sizes: Vec<Option<u64>> =
        ours.store.list_parts("k", &id).await.unwrap().iter().map(|part| part.bytes).collect();
    assert_eq!((sizes, blobs(ours.folder.path())), (vec![Some(60)], 1));
}

/// One address used many times at once takes the room of one.
#[tokio::test]
async fn of_the_same_bytes_the_newest_arrival_counts() {
    let ours = Ours::start().await;
    let id = ours.store.create_multipart("k", "audio/wav").await.unwrap();
    let url = ours.store.presign_part("k", &id, 1, 1_000_000, MINUTE).await.unwrap();
    let head = format!(
        "PUT {}?{} HTTP/1.1\r\nhost: {}\r\ncontent-length: 1000000\r\n\r\n",
        url.path(),
        url.query().unwrap(),
        ours.handle.addr()
    );
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = tokio::net::TcpStream::connect(ours.handle.addr()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&noise(1, 700_000)).await.unwrap();
        streams.push(stream);
    }
    for _ in 0..200 {
        if blobs(ours.folder.path()) == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(blobs(ours.folder.path()), 1, "the older ones still take their room");
    assert_eq!(http().put(url).body(noise(1, 1_000_000)).send().await.unwrap().status(), 200);
    assert_eq!(ours.store.list_parts("k", &id).await.unwrap().len(), 1);
}

/// What strangers open and leave: nothing said, half a head, a hello of TLS, half a body.
pub(crate) async fn crowd(address: std::net::SocketAddr, count: usize) -> Vec<tokio::net::TcpStream> {
    let _ = loopmaster_net::raise_descriptor_limit();
    let said: [&[u8]; 4] = [
        b"",
        b"GET / HTTP/1.1\r\nhost: a",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/uploads HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{",
    ];
    let mut streams = Vec::with_capacity(count);
    for number in 0..count {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(said[number % said.len()]).await;
        streams.push(stream);
    }
    streams
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_says_nothing_keeps_nobody_waiting() {
    let ours = Ours::start().await;
    ours.store.put_bytes("k", "k", "text/plain").await.unwrap();
    let url = ours.store.presign_get("k", "k", "text/plain", false, MINUTE).await.unwrap();
    let crowd = crowd(ours.handle.addr(), 1_200).await;
    let began = std::time::Instant::now();
    let answer = http().get(url).send().await.unwrap();
    println!("answered beside {} connections after {:?}", crowd.len(), began.elapsed());
    assert_eq!(answer.status(), 200);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}
