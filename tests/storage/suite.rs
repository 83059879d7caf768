//! What an S3 has to do for us, whoever it is.

use super::{BUCKET, Ours, config, credentials, http, noise, python_tool};
use futures_util::future::BoxFuture;
use loopmaster::store::{PartTag, PostBytes, PostForm, StorageConfig, Store, StoreError};
use reqwest::StatusCode;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use url::Url;

/// Smallest part but the last.
const PART: usize = 5 << 20;
const MINUTE: Duration = Duration::from_mins(1);

type Check = fn(Store) -> BoxFuture<'static, ()>;

macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), (|store| Box::pin($name(store))) as Check)),*]
    };
}

const CHECKS: &[(&str, Check)] = checks![
    an_object_comes_back,
    stretches_of_an_object,
    listings_are_in_order_and_in_pages,
    common_prefixes,
    old_listings,
    copies,
    prefixes_are_deleted,
    only_where_nothing_is,
    strange_keys,
    large_files_go_up_in_parts,
    parts_become_an_object,
    completing_again_gives_the_same_answer,
    a_part_comes_again,
    wrong_lists_are_refused,
    small_parts_are_refused,
    after_a_completion,
    after_an_abort,
    parts_are_listed,
    signed_lengths_hold,
    broken_off_bodies_leave_nothing,
    urls_carry_nothing_unsigned,
    urls_expire,
    altered_urls_are_refused,
    another_secret_is_refused,
    answers_under_our_names,
    unchanged_objects_are_not_sent,
    wrong_checksums_are_refused,
    forms_bring_objects,
    forms_bring_no_more_than_signed,
    forms_bring_what_was_signed,
];

/// What moto 5 does not do; a check that comes to pass there must leave this list.
const MOTO_FAILS: &[&str] = &[
    "after_a_completion",
    "after_an_abort",
    "altered_urls_are_refused",
    "another_secret_is_refused",
    "broken_off_bodies_leave_nothing",
    "completing_again_gives_the_same_answer",
    "forms_bring_no_more_than_signed",
    // 201 comes without its document.
    "forms_bring_objects",
    "forms_bring_what_was_signed",
    "old_listings",
    // Its answer has another root element than S3's, which the SDK refuses.
    "parts_are_listed",
    "signed_lengths_hold",
    // It checks no signature: an unsigned header makes a copy of what an upload was signed for. See `docs/security.md`.
    "urls_carry_nothing_unsigned",
    "urls_expire",
    "wrong_checksums_are_refused",
    "wrong_lists_are_refused",
];

/// Runs all checks; returns the names of those that failed with their words.
async fn suite(client: impl Fn() -> Store) -> Vec<(&'static str, String)> {
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        let store = client();
        store.ensure_bucket().await.unwrap();
        if let Err(error) = tokio::spawn(check(store)).await {
            let panic = error.into_panic();
            let words = panic.downcast_ref::<String>().cloned();
            failed.push((*name, words.unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap_or(&"?")).to_owned())));
        }
    }
    failed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ours_passes_all() {
    let ours = Ours::start().await;
    let failed = suite(|| Store::new(&config(&ours.handle.url())).unwrap()).await;
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ours_passes_all_without_a_socket() {
    let ours = Ours::start().await;
    let failed = suite(|| Store::beside(&config(&ours.handle.url()), &ours.handle).unwrap()).await;
    assert!(failed.is_empty(), "{failed:#?}");
}

/// The suite asks for what S3 does, not for what ours happens to do: a second server passes it, but for the list above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moto_passes_what_it_claims() {
    let moto = Moto::start().await;
    let failed = suite(|| Store::new(&config(&moto.url)).unwrap()).await;
    let names: BTreeSet<&str> = failed.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, MOTO_FAILS.iter().copied().collect(), "{failed:#?}");
}

struct Moto {
    process: Child,
    url: String,
}

impl Moto {
    async fn start() -> Self {
        // Free a moment ago; moto does not say which port it got.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(python_tool("s3", "moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let moto = Self { process, url: format!("http://127.0.0.1:{port}") };
        for _ in 0..600 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return moto;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("moto did not start within 30 s");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn whole(store: &Store, key: &str) -> Vec<u8> {
    store.get(key).await.unwrap().bytes(1 << 30).await.unwrap().to_vec()
}

async fn put_part(store: &Store, key: &str, id: &str, number: u16, bytes: Vec<u8>) -> PartTag {
    let url = store.presign_part(key, id, number, bytes.len() as u64, MINUTE).await.unwrap();
    let length = bytes.len() as u64;
    let answer = http().put(url).body(bytes).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    let etag = answer.headers()["etag"].to_str().unwrap().trim_matches('"').to_owned();
    PartTag { number, etag, bytes: Some(length) }
}

fn s3_code<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    answer.unwrap_err().s3_code().unwrap_or_default().to_owned()
}

async fn an_object_comes_back(store: Store) {
    let bytes = noise(1, 100_000);
    let etag = store.put_bytes("one/a", bytes.clone(), "audio/flac").await.unwrap();
    let head = store.head("one/a").await.unwrap().unwrap();
    assert_eq!((head.bytes, head.media_type.as_deref()), (100_000, Some("audio/flac")));
    assert_eq!(head.etag, etag);
    assert!(head.modified.unwrap().elapsed().unwrap_or_default() < MINUTE);
    assert_eq!(whole(&store, "one/a").await, bytes);
    store.put_bytes("one/a", Vec::new(), "text/plain").await.unwrap();
    assert_eq!(whole(&store, "one/a").await, b"");
    store.delete("one/a").await.unwrap();
    assert_eq!(store.head("one/a").await.unwrap(), None);
    assert!(store.get("one/a").await.unwrap_err().is_not_found());
    store.delete("one/a").await.unwrap();
}

async fn stretches_of_an_object(store: Store) {
    let bytes = noise(2, 3_000);
    store.put_bytes("stretch", bytes.clone(), "text/plain").await.unwrap();
    let stretch = store.get_range("stretch", 1_000..2_500).await.unwrap();
    assert_eq!(stretch.head.bytes, 1_500);
    assert_eq!(&stretch.bytes(5_000).await.unwrap()[..], &bytes[1_000..2_500]);
    let past = store.get_range("stretch", 2_900..9_000).await.unwrap().bytes(5_000).await.unwrap();
    assert_eq!(&past[..], &bytes[2_900..]);
    assert_eq!(s3_code(store.get_range("stretch", 3_000..3_001).await), "InvalidRange");
    let url = store.presign_get("stretch", "s", "text/plain", false, MINUTE).await.unwrap();
    let tail = http().get(url).header("range", "bytes=-10").send().await.unwrap();
    assert_eq!(tail.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(tail.headers()["content-range"], "bytes 2990-2999/3000");
    assert_eq!(&tail.bytes().await.unwrap()[..], &bytes[2_990..]);
}

async fn listings_are_in_order_and_in_pages(store: Store) {
    let mut keys = ["l/a", "l/a-b", "l/a/b", "l/a/c/d", "l/a0", "l/b", "l/B", "l/ä"].map(str::to_owned).to_vec();
    for key in &keys {
        store.put_bytes(key, key.clone(), "text/plain").await.unwrap();
    }
    store.put_bytes("m", "no", "text/plain").await.unwrap();
    keys.sort();
    let listed: Vec<String> = store.list("l/").await.unwrap().into_iter().map(|item| item.key).collect();
    assert_eq!(listed, keys);
    let (mut paged, mut next) = (Vec::new(), None);
    loop {
        let page = store.list_page("l/", next.as_deref(), 3).await.unwrap();
        assert!(page.items.len() <= 3);
        paged.extend(page.items.into_iter().map(|item| item.key));
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(paged, keys);
    assert!(store.list("nothing/").await.unwrap().is_empty());
}

async fn common_prefixes(store: Store) {
    for key in ["c/x", "c/y/1", "c/y/2", "c/z/1/2", "c/zz"] {
        store.put_bytes(key, key, "text/plain").await.unwrap();
    }
    let client = raw_client(&store).await;
    let (mut keys, mut prefixes, mut token) = (Vec::new(), Vec::new(), None);
    for _ in 0..10 {
        let answer = client.list_objects_v2().bucket(BUCKET).prefix("c/").delimiter("/").max_keys(2);
        let answer = answer.set_continuation_token(token).send().await.unwrap();
        keys.extend(answer.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        prefixes.extend(answer.common_prefixes().iter().filter_map(|prefix| prefix.prefix().map(str::to_owned)));
        token = answer.next_continuation_token().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    assert_eq!(keys, ["c/x", "c/zz"]);
    assert_eq!(prefixes, ["c/y/", "c/z/"]);
}

/// The first version of the listing, as old clients ask.
async fn old_listings(store: Store) {
    for key in ["o/x", "o/y/1", "o/y/2", "o/z/1/2", "o/zz"] {
        store.put_bytes(key, key, "text/plain").await.unwrap();
    }
    let client = raw_client(&store).await;
    let ask = || client.list_objects().bucket(BUCKET).prefix("o/").delimiter("/").max_keys(2);
    let first = ask().send().await.unwrap();
    assert_eq!(first.is_truncated(), Some(true));
    let second = ask().marker(first.next_marker().unwrap()).send().await.unwrap();
    assert_eq!(second.is_truncated(), Some(false));
    assert_eq!(first.common_prefixes().len() + first.contents().len(), 2);
    assert_eq!(second.common_prefixes().len() + second.contents().len(), 2);
}

async fn raw_client(store: &Store) -> aws_sdk_s3::Client {
    // The endpoint as any signed URL shows it.
    let url = store.presign_get("x", "x", "x", false, MINUTE).await.unwrap();
    let keys = credentials();
    let keys = aws_sdk_s3::config::Credentials::new(keys.access_key, keys.secret_key, None, None, "tests");
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_sdk_s3::Config::builder()
        .http_client(http)
        .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
        .region(aws_sdk_s3::config::Region::new("us-east-1"))
        .endpoint_url(url.origin().ascii_serialization())
        .credentials_provider(keys)
        .force_path_style(true)
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

async fn copies(store: Store) {
    let bytes = noise(3, 50_000);
    store.put_bytes("copy/ä from", bytes.clone(), "audio/wav").await.unwrap();
    store.copy("copy/ä from", "copy/to").await.unwrap();
    store.delete("copy/ä from").await.unwrap();
    assert_eq!(whole(&store, "copy/to").await, bytes);
    assert_eq!(store.head("copy/to").await.unwrap().unwrap().media_type.as_deref(), Some("audio/wav"));
    assert!(store.copy("copy/ä from", "copy/again").await.unwrap_err().is_not_found());
}

async fn prefixes_are_deleted(store: Store) {
    for at in 0..7 {
        store.put_bytes(&format!("gone/{at}/x"), "x", "text/plain").await.unwrap();
    }
    store.put_bytes("gone2", "x", "text/plain").await.unwrap();
    let id = store.create_multipart("gone/upload", "audio/wav").await.unwrap();
    let unfinished = store.unfinished("gone/").await.unwrap();
    assert_eq!(unfinished.iter().map(|upload| upload.id.as_str()).collect::<Vec<_>>(), [id.as_str()]);
    assert_eq!(store.delete_prefix("gone/").await.unwrap(), 7);
    assert!(store.list("gone/").await.unwrap().is_empty());
    assert!(store.unfinished("gone/").await.unwrap().is_empty());
    assert!(store.head("gone2").await.unwrap().is_some());
    assert_eq!(store.delete_prefix("").await.unwrap_err().code(), "storage.config");
}

async fn only_where_nothing_is(store: Store) {
    store.put_bytes_if_absent("absent", "first", "text/plain").await.unwrap();
    let again = store.put_bytes_if_absent("absent", "second", "text/plain").await.unwrap_err();
    assert_eq!(again.code(), "storage.precondition_failed");
    assert_eq!(whole(&store, "absent").await, b"first");
}

async fn strange_keys(store: Store) {
    let long = format!("strange/{}", "x".repeat(1_000));
    let keys =
        ["strange/a b+c&d=e?f#g%2F", "strange/日本 ü", "strange/..x/y", "strange/q\"'<>", "strange/folder/", &long];
    for key in keys {
        store.put_bytes(key, key.to_owned(), "text/plain").await.unwrap();
    }
    for key in keys {
        assert_eq!(whole(&store, key).await, key.as_bytes());
        let url = store.presign_get(key, "n", "text/plain", false, MINUTE).await.unwrap();
        assert_eq!(http().get(url).send().await.unwrap().text().await.unwrap(), key);
    }
    let listed: BTreeSet<String> = store.list("strange/").await.unwrap().into_iter().map(|item| item.key).collect();
    assert_eq!(listed, keys.into_iter().map(str::to_owned).collect());
}

async fn large_files_go_up_in_parts(store: Store) {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let bytes = noise(4, (33 << 20) + 7);
    std::fs::write(&from, &bytes).unwrap();
    let etag = store.put_file("large", &from, "audio/wav").await.unwrap();
    assert!(etag.ends_with("-3"), "{etag}");
    assert_eq!(store.get_to_file("large", &to).await.unwrap(), bytes.len() as u64);
    assert!(std::fs::read(&to).unwrap() == bytes, "the file came back changed");
    assert!(store.unfinished("large").await.unwrap().is_empty());
    let missing = store.put_file("large", &folder.path().join("missing"), "audio/wav").await.unwrap_err();
    assert_eq!(missing.code(), "storage.file");
}

async fn parts_become_an_object(store: Store) {
    let id = store.create_multipart("parts/a", "audio/wav").await.unwrap();
    let (first, second) = (noise(5, PART), noise(6, 1_000));
    let two = put_part(&store, "parts/a", &id, 2, second.clone()).await;
    let one = put_part(&store, "parts/a", &id, 1, first.clone()).await;
    let parts = [one, two];
    assert_eq!(store.head("parts/a").await.unwrap(), None);
    let etag = store.complete("parts/a", &id, &parts).await.unwrap();
    assert!(etag.ends_with("-2"), "{etag}");
    let head = store.head("parts/a").await.unwrap().unwrap();
    assert_eq!((head.etag, head.media_type.as_deref()), (etag, Some("audio/wav")));
    assert!(whole(&store, "parts/a").await == [first.clone(), second.clone()].concat(), "the object is not its parts");
    let across =
        store.get_range("parts/a", PART as u64 - 10..PART as u64 + 10).await.unwrap().bytes(100).await.unwrap();
    assert_eq!(&across[..], [&first[PART - 10..], &second[..10]].concat());
}

async fn completing_again_gives_the_same_answer(store: Store) {
    let id = store.create_multipart("again", "audio/wav").await.unwrap();
    let part = put_part(&store, "again", &id, 1, noise(7, 999)).await;
    let etag = store.complete("again", &id, std::slice::from_ref(&part)).await.unwrap();
    assert_eq!(store.complete("again", &id, std::slice::from_ref(&part)).await.unwrap(), etag);
    let other = PartTag { etag: "0".repeat(32), ..part.clone() };
    assert!(store.complete("again", &id, &[other]).await.is_err());
    store.put_bytes("again", "another object", "text/plain").await.unwrap();
    assert!(store.complete("again", &id, &[part]).await.is_err());
    assert_eq!(whole(&store, "again").await, b"another object");
}

async fn a_part_comes_again(store: Store) {
    let id = store.create_multipart("twice", "audio/wav").await.unwrap();
    let old = put_part(&store, "twice", &id, 1, noise(8, 100)).await;
    let new = put_part(&store, "twice", &id, 1, noise(9, 200)).await;
    assert_eq!(s3_code(store.complete("twice", &id, &[old]).await), "InvalidPart");
    store.complete("twice", &id, &[new]).await.unwrap();
    assert_eq!(whole(&store, "twice").await, noise(9, 200));
}

async fn wrong_lists_are_refused(store: Store) {
    let id = store.create_multipart("wrong", "audio/wav").await.unwrap();
    let one = put_part(&store, "wrong", &id, 1, noise(10, PART)).await;
    let two = put_part(&store, "wrong", &id, 2, noise(11, PART)).await;
    let other = PartTag { etag: "0".repeat(32), ..one.clone() };
    assert_eq!(s3_code(store.complete("wrong", &id, &[other, two.clone()]).await), "InvalidPart");
    let missing = PartTag { number: 3, ..two.clone() };
    assert_eq!(s3_code(store.complete("wrong", &id, &[one.clone(), missing]).await), "InvalidPart");
    assert_eq!(s3_code(store.complete("wrong", &id, &[two, one]).await), "InvalidPartOrder");
    assert_eq!(store.head("wrong").await.unwrap(), None);
}

async fn small_parts_are_refused(store: Store) {
    let id = store.create_multipart("small", "audio/wav").await.unwrap();
    let one = put_part(&store, "small", &id, 1, noise(12, 1_000)).await;
    let two = put_part(&store, "small", &id, 2, noise(13, 1_000)).await;
    assert_eq!(s3_code(store.complete("small", &id, &[one, two]).await), "EntityTooSmall");
}

/// What the service relies on where it copies nothing (docs/adr/0007).
async fn after_a_completion(store: Store) {
    let id = store.create_multipart("whole", "audio/wav").await.unwrap();
    let part = put_part(&store, "whole", &id, 1, noise(15, 100)).await;
    let url = store.presign_part("whole", &id, 1, 100, MINUTE).await.unwrap();
    store.complete("whole", &id, &[part]).await.unwrap();
    assert_eq!(http().put(url).body(noise(16, 100)).send().await.unwrap().status(), 404);
    assert_eq!(whole(&store, "whole").await, noise(15, 100));
}

async fn after_an_abort(store: Store) {
    let id = store.create_multipart("aborted", "audio/wav").await.unwrap();
    let part = put_part(&store, "aborted", &id, 1, noise(14, 100)).await;
    let url = store.presign_part("aborted", &id, 2, 3, MINUTE).await.unwrap();
    store.abort("aborted", &id).await.unwrap();
    assert_eq!(s3_code(store.complete("aborted", &id, &[part]).await), "NoSuchUpload");
    assert_eq!(s3_code(store.list_parts("aborted", &id).await), "NoSuchUpload");
    assert_eq!(http().put(url).body("abc").send().await.unwrap().status(), 404);
    assert!(store.list_parts("aborted", "../../etc").await.unwrap_err().is_not_found());
}

async fn parts_are_listed(store: Store) {
    let id = store.create_multipart("pages", "audio/wav").await.unwrap();
    let mut sent = Vec::new();
    for number in [1, 2, 5, 9, 10] {
        sent.push(put_part(&store, "pages", &id, number, noise(number.into(), 10)).await);
    }
    sent[1] = put_part(&store, "pages", &id, 2, noise(77, 20)).await;
    assert_eq!(store.list_parts("pages", &id).await.unwrap(), sent);
    let client = raw_client(&store).await;
    let page = client.list_parts().bucket(BUCKET).key("pages").upload_id(&id).max_parts(2).part_number_marker("2");
    let page = page.send().await.unwrap();
    let numbers: Vec<i32> = page.parts().iter().filter_map(aws_sdk_s3::types::Part::part_number).collect();
    assert_eq!((numbers, page.is_truncated()), (vec![5, 9], Some(true)));
    assert_eq!(page.next_part_number_marker(), Some("9"));
}

async fn signed_lengths_hold(store: Store) {
    let id = store.create_multipart("length", "audio/wav").await.unwrap();
    let url = store.presign_part("length", &id, 1, 100, MINUTE).await.unwrap();
    for length in [99, 101, 0, 100_000] {
        // The server may hang up before it has read everything.
        if let Ok(answer) = http().put(url.clone()).body(noise(1, length)).send().await {
            assert_eq!(answer.status(), 403, "{length}");
        }
    }
    // No length at all.
    let chunks = futures_util::stream::iter([Ok::<_, std::io::Error>(noise(1, 100))]);
    let answer = http().put(url.clone()).body(reqwest::Body::wrap_stream(chunks)).send().await.unwrap();
    assert!(answer.status().is_client_error(), "{}", answer.status());
    assert!(store.list_parts("length", &id).await.unwrap().is_empty());
    assert_eq!(http().put(url).body(noise(1, 100)).send().await.unwrap().status(), 200);
}

async fn broken_off_bodies_leave_nothing(store: Store) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let id = store.create_multipart("broken", "audio/wav").await.unwrap();
    let url = store.presign_part("broken", &id, 1, 100_000, MINUTE).await.unwrap();
    let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let mut stream = tokio::net::TcpStream::connect(&host).await.unwrap();
    let target = format!("{}?{}", url.path(), url.query().unwrap());
    let head = format!("PUT {target} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 100000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&noise(1, 70_000)).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    assert!(store.list_parts("broken", &id).await.unwrap().is_empty());
}

/// Whoever holds the address of a part, and knows or guesses the key of somebody else's file, asks for a copy of it.
async fn urls_carry_nothing_unsigned(store: Store) {
    let (victim, bytes) = ("jobs/mst_victim/1/master-wav24.wav", noise(9, 6 << 20));
    store.put_bytes(victim, bytes.clone(), "audio/wav").await.unwrap();
    let id = store.create_multipart("mine", "audio/wav").await.unwrap();
    let part = store.presign_part("mine", &id, 1, 10, MINUTE).await.unwrap();
    let read = store.presign_get("mine", "m", "audio/wav", false, MINUTE).await.unwrap();
    let source = format!("/{BUCKET}/{victim}");
    for (name, value) in [
        ("x-amz-copy-source", source.as_str()),
        ("X-Amz-Copy-Source", source.trim_start_matches('/')),
        ("x-amz-copy-source-range", "bytes=0-9"),
        ("x-amz-copy-source-if-match", "*"),
        ("x-amz-acl", "public-read"),
        ("x-amz-meta-name", "v"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-website-redirect-location", "https://other.example/"),
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("x-amz-security-token", "t"),
        ("x-amz-never-heard-of", "v"),
        ("x-amz-expected-bucket-owner", ""),
    ] {
        let answer = http().put(part.clone()).header(name, value).body(noise(1, 10)).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{name}: {}", answer.text().await.unwrap());
        let answer = http().get(read.clone()).header(name, value).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{name} of a GET");
    }
    let twice = http().put(part.clone()).header("x-amz-meta-a", "1").header("x-amz-meta-a", "2");
    assert_eq!(twice.body(noise(1, 10)).send().await.unwrap().status(), 403);
    for more in [
        "x-amz-copy-source=b%2Fk",
        "X-Amz-Copy-Source=b%2Fk",
        "acl",
        "tagging",
        "partNumber=2",
        "x-amz-acl=public-read",
    ] {
        let url = Url::parse(&format!("{part}&{more}")).unwrap();
        let answer = http().put(url).body(noise(1, 10)).send().await.unwrap();
        assert!(answer.status().is_client_error(), "{more}: {}", answer.status());
    }
    for more in ["response-content-type=text%2Fhtml", "versionId=1", "partNumber=1", "X-Amz-Expires=600", "uploadId=x"]
    {
        let url = Url::parse(&format!("{read}&{more}")).unwrap();
        let answer = http().get(url).send().await.unwrap();
        assert!(answer.status().is_client_error(), "{more}: {}", answer.status());
    }
    // Nothing of all that has arrived, and the address still does what it was signed for.
    assert!(store.list_parts("mine", &id).await.unwrap().is_empty());
    assert_eq!(http().put(part).body(noise(1, 10)).send().await.unwrap().status(), 200);
    // A copy that the operator's own key signs is one.
    store.copy(victim, "copied").await.unwrap();
    assert!(whole(&store, "copied").await == bytes);
    // A form takes no more than its policy names.
    let form = store.post_policy("form", "audio/wav", PostBytes::AtMost(10), MINUTE);
    let url = form.url.clone();
    let body = "--edge\r\ncontent-disposition: form-data; name=\"key\"\r\n\r\nform\r\n--edge--\r\n";
    let request = http().post(url).header("content-type", "multipart/form-data; boundary=edge");
    let answer = request.header("x-amz-copy-source", source).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 403);
}

async fn urls_expire(store: Store) {
    store.put_bytes("expires", "x", "text/plain").await.unwrap();
    let url = store.presign_get("expires", "x", "text/plain", false, Duration::from_secs(1)).await.unwrap();
    assert_eq!(http().get(url.clone()).send().await.unwrap().status(), 200);
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(http().get(url).send().await.unwrap().status(), 403);
}

async fn altered_urls_are_refused(store: Store) {
    store.put_bytes("mine", "x", "text/plain").await.unwrap();
    store.put_bytes("yours", "x", "text/plain").await.unwrap();
    let url = store.presign_get("mine", "x", "text/plain", false, MINUTE).await.unwrap();
    let altered = [
        url.as_str().replace("/mine?", "/yours?"),
        url.as_str().replace("X-Amz-Expires=60", "X-Amz-Expires=600000"),
        url.as_str().replace("x-id=GetObject", "x-id=HeadObject"),
        url.as_str().replace("text%2Fplain", "text%2Fhtml"),
        format!("{url}0"),
        url.as_str().split('?').next().unwrap().to_owned(),
    ];
    for altered in altered {
        assert_ne!(altered, url.as_str());
        let status = http().get(&altered).send().await.unwrap().status();
        assert!(status == 403 || status == 400, "{status} for {altered}");
    }
    assert_eq!(http().delete(url.clone()).send().await.unwrap().status(), 403);
    assert_eq!(http().get(url).send().await.unwrap().status(), 200);
}

async fn another_secret_is_refused(store: Store) {
    let url = store.presign_get("x", "x", "x", false, MINUTE).await.unwrap();
    let origin = url.origin().ascii_serialization();
    let right = config(&origin);
    for wrong in [
        StorageConfig { secret_key: "another".to_owned(), ..right.clone() },
        StorageConfig { access_key: "somebody".to_owned(), ..right },
    ] {
        let error = Store::new(&wrong).unwrap().put_bytes("denied", "x", "text/plain").await.unwrap_err();
        assert_eq!(error.code(), "storage.access_denied", "{error}");
    }
    let anonymous = http().get(format!("{origin}/{BUCKET}?list-type=2")).send().await.unwrap();
    assert_eq!(anonymous.status(), 403);
}

async fn answers_under_our_names(store: Store) {
    store.put_bytes("named", "bytes", "application/octet-stream").await.unwrap();
    let url = store.presign_get("named", "Größe.wav", "audio/wav", false, MINUTE).await.unwrap();
    let answer = http().get(url).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "audio/wav");
    let disposition = answer.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert_eq!(disposition, "attachment; filename=\"Gr__e.wav\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe.wav");
    assert_eq!(answer.headers()["content-length"], "5");
}

async fn unchanged_objects_are_not_sent(store: Store) {
    store.put_bytes("unchanged", "bytes", "text/plain").await.unwrap();
    let url = store.presign_get("unchanged", "x", "text/plain", false, MINUTE).await.unwrap();
    let etag = http().get(url.clone()).send().await.unwrap().headers()["etag"].clone();
    let answer = http().get(url.clone()).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
    let answer = http().get(url).header("if-match", "\"00000000000000000000000000000000\"").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::PRECONDITION_FAILED);
}

async fn wrong_checksums_are_refused(store: Store) {
    let client = raw_client(&store).await;
    let body = || aws_sdk_s3::primitives::ByteStream::from_static(b"checked");
    // As newer SDKs send unasked: a CRC-32 in a trailer.
    client.put_object().bucket(BUCKET).key("checked").body(body()).send().await.unwrap();
    let wrong = client.put_object().bucket(BUCKET).key("checked2").content_md5("AAAAAAAAAAAAAAAAAAAAAA==").body(body());
    assert!(wrong.send().await.is_err());
    assert_eq!(store.head("checked2").await.unwrap(), None);
    assert_eq!(whole(&store, "checked").await, b"checked");
}

async fn send_form(form: &PostForm, file: Vec<u8>, change: impl Fn(&str, &str) -> String) -> reqwest::Response {
    let mut parts = String::new();
    for (name, value) in &form.fields {
        let value = change(name, value);
        write!(parts, "--edge\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").unwrap();
    }
    parts.push_str("--edge\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n");
    parts.push_str("content-type: audio/wav\r\n\r\n");
    let body = [parts.into_bytes(), file, b"\r\n--edge--\r\n".to_vec()].concat();
    let request = http().post(form.url.clone()).header("content-type", "multipart/form-data; boundary=edge");
    request.body(body).send().await.unwrap()
}

fn same(_: &str, value: &str) -> String {
    value.to_owned()
}

async fn forms_bring_objects(store: Store) {
    let file = noise(20, 200_000);
    let form = store.post_policy("forms/ü 1", "audio/wav", PostBytes::Exactly(200_000), MINUTE);
    let answer = send_form(&form, file.clone(), same).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let text = answer.text().await.unwrap();
    assert!(text.contains("<Key>forms/ü 1</Key>") && text.contains("<ETag>"), "{text}");
    let head = store.head("forms/ü 1").await.unwrap().unwrap();
    assert_eq!((head.bytes, head.media_type.as_deref()), (200_000, Some("audio/wav")));
    assert!(whole(&store, "forms/ü 1").await == file, "the form's file came changed");
}

async fn forms_bring_no_more_than_signed(store: Store) {
    let exact = store.post_policy("forms/2", "audio/wav", PostBytes::Exactly(1_000), MINUTE);
    let most = store.post_policy("forms/2", "audio/wav", PostBytes::AtMost(1_000), MINUTE);
    for (form, length, code) in [
        (&exact, 999, "EntityTooSmall"),
        (&exact, 1_001, "EntityTooLarge"),
        (&most, 1_001, "EntityTooLarge"),
        (&most, 0, "EntityTooSmall"),
    ] {
        let answer = send_form(form, noise(1, length), same).await;
        assert_eq!(answer.status(), 400, "{length}");
        let text = answer.text().await.unwrap();
        assert!(text.contains(code), "{length}: {text}");
        assert_eq!(store.head("forms/2").await.unwrap(), None);
    }
    assert_eq!(send_form(&most, noise(1, 1_000), same).await.status(), StatusCode::CREATED);
}

async fn forms_bring_what_was_signed(store: Store) {
    let form = store.post_policy("forms/3", "audio/wav", PostBytes::AtMost(1_000), MINUTE);
    for field in ["key", "content-type", "x-amz-date", "x-amz-credential", "x-amz-signature", "policy"] {
        let altered = |name: &str, value: &str| {
            if name == field { value.replace(['3', 'v', '0'], "1") } else { value.to_owned() }
        };
        let status = send_form(&form, noise(1, 10), altered).await.status();
        assert!(status == 403 || status == 400, "{field}: {status}");
    }
    let mut extra = form.clone();
    extra.fields.insert("x-amz-meta-more".to_owned(), "1".to_owned());
    assert_eq!(send_form(&extra, noise(1, 10), same).await.status(), 403);
    let mut elsewhere = form.clone();
    elsewhere.url = Url::parse(&form.url.as_str().replace(BUCKET, "other-bucket")).unwrap();
    assert!(send_form(&elsewhere, noise(1, 10), same).await.status().is_client_error());
    let expired = store.post_policy("forms/3", "audio/wav", PostBytes::AtMost(1_000), Duration::ZERO);
    assert_eq!(send_form(&expired, noise(1, 10), same).await.status(), 403);
    assert_eq!(store.head("forms/3").await.unwrap(), None);
}
