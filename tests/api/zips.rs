//! Archives: strangers read them, and a download that breaks off goes on.

use super::masters::{finish, masters, stored};
use crate::service::Service;
use reqwest::Method;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_album_comes_as_one_archive_that_strangers_read() {
    for service in Service::both(|_| {}).await {
        let user = service.user("a@example.org").await;
        let mut uploads = Vec::new();
        for name in ["Zwölf.wav", "a.wav", "a.wav"] {
            uploads.push(stored(&service, &user, name).await);
        }
        let wish = json!({ "uploads": uploads, "batch": { "name": "My: Album/1", "album": true } });
        let made = user.post("/v1/masters", wish).await.good();
        let batch = made["batch"].as_str().unwrap();
        let content: Vec<u8> = (0..300_000_u32).map(|n| (n % 253) as u8).collect();
        assert_eq!(user.post("/v1/zips", json!({ "batch": batch })).await.problem(), (409, "zip.empty".to_owned()));
        for master in made["items"].as_array().unwrap() {
            finish(&service, master["id"].as_str().unwrap(), &content).await;
        }
        let zip = user.post("/v1/zips", json!({ "batch": batch, "formats": ["wav24"] })).await.good();
        let url = zip["url"].as_str().unwrap().to_owned();
        assert!(url.starts_with(&service.url) && url.contains("/v1/zips/lmz_"), "{url}");
        let answer = service.http.get(&url).send().await.unwrap();
        assert_eq!(answer.headers()["content-length"].to_str().unwrap(), zip["bytes"].to_string());
        assert_eq!(answer.headers()["content-type"], "application/zip");
        let etag = answer.headers()["etag"].to_str().unwrap().to_owned();
        let whole = answer.bytes().await.unwrap();

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("album.zip");
        std::fs::write(&path, &whole).unwrap();
        let path = path.to_str().unwrap();
        let script = "import sys, json, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\nprint(json.dumps(z.namelist()))\n\
            m = json.loads(z.read(z.namelist()[-1]))\nassert [f['bytes'] for f in m['files']] == [300000] * 3 and m['album'] is True";
        let (good, names) = run("python3", &["-c", script, path]);
        assert!(good, "{names}");
        let names: Value = serde_json::from_str(&names).unwrap();
        let folder_name = "My_ Album_1";
        let expected = json!([
            format!("{folder_name}/01 Zwölf.wav"),
            format!("{folder_name}/02 a.wav"),
            format!("{folder_name}/03 a.wav"),
            format!("{folder_name}/manifest.json")
        ]);
        assert_eq!(names, expected, "{}", service.name);
        if Command::new("unzip").arg("-v").output().is_ok() {
            let (good, told) = run("unzip", &["-t", path]);
            assert!(good, "{told}");
        }

        // curl breaks off and goes on.
        let part = folder.path().join("part.zip");
        std::fs::write(&part, &whole[..123_457]).unwrap();
        let (good, told) = run("curl", &["-sS", "-C", "-", "-o", part.to_str().unwrap(), &url]);
        assert!(good, "{told}");
        assert_eq!(std::fs::read(&part).unwrap(), whole);

        let ranged = async |headers: &[(&str, &str)]| {
            let request =
                headers.iter().fold(service.http.get(&url), |request, (name, value)| request.header(*name, *value));
            let answer = request.send().await.unwrap();
            let content_range = answer.headers().get("content-range").map(|range| range.to_str().unwrap().to_owned());
            (answer.status().as_u16(), content_range.unwrap_or_default(), answer.bytes().await.unwrap())
        };
        let bytes = whole.len();
        let (status, range, body) = ranged(&[("range", "bytes=299990-300200"), ("if-range", &etag)]).await;
        assert_eq!(
            (status, range, &body[..]),
            (206, format!("bytes 299990-300200/{bytes}"), &whole[299_990..=300_200])
        );
        let (status, _, body) = ranged(&[("range", "bytes=0-9"), ("if-range", "\"another\"")]).await;
        assert_eq!((status, body.len()), (200, bytes), "another archive: from the beginning");
        let (status, range, _) = ranged(&[("range", &format!("bytes={bytes}-"))]).await;
        assert_eq!((status, range), (416, format!("bytes */{bytes}")));
        assert_eq!(ranged(&[("range", "bytes=-22")]).await.2, &whole[bytes - 22..]);
        assert_eq!(ranged(&[("if-none-match", &etag)]).await.0, 304);
        let head = service.http.head(&url).send().await.unwrap();
        assert_eq!(head.headers()["content-length"].to_str().unwrap(), bytes.to_string());

        // Whoever does not sign in gets none, nobody else's, and none that has expired.
        let guest = service.guest();
        let guests = masters(&service, &guest, &["a.wav"]).await;
        assert_eq!(
            guest.post("/v1/zips", json!({ "masters": guests })).await.problem(),
            (401, "auth.sign_in_required".to_owned())
        );
        let stranger = service.user("b@example.org").await;
        assert_eq!(stranger.post("/v1/zips", json!({ "batch": batch })).await.problem().0, 404);
        assert_eq!(user.post("/v1/zips", json!({})).await.problem(), (422, "zip.what".to_owned()));
        service.change("UPDATE zips SET expires_at = 0 WHERE owner = $1", user.user.as_ref().unwrap()).await;
        let gone = service.bearer(None, Method::GET, &url[service.url.len()..], None).await;
        assert_eq!(gone.problem(), (404, "zip.not_found".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tracks_and_slow_readers_have_two_places() {
    let service = Service::with(|config| {
        config.limits.user.creates_an_hour = 100_000;
        config.limits.user.requests_a_minute = 100_000;
    })
    .await;
    let user = service.user("a@example.org").await;
    let master = masters(&service, &user, &["a.wav"]).await.remove(0);
    let content = vec![5; 1 << 20];
    finish(&service, &master, &content).await;
    // 400 files of a MiB, all the same object.
    for n in 0..398 {
        let text = format!(
            "INSERT INTO artifacts (id, master_id, kind, role, name, media_type, bytes, sha256, crc32, key, created_at)
             SELECT 'art_{n}', master_id, kind, role, 'track {n}.wav', media_type, bytes, sha256, crc32, key, created_at
             FROM artifacts WHERE master_id = $1 AND role = 'wav24' AND name = 'a.wav'"
        );
        service.change(&text, &master).await;
    }
    let zip = user.post("/v1/zips", json!({ "masters": [master] })).await.good();
    assert!(zip["bytes"].as_u64().unwrap() > 400 << 20);
    let url = zip["url"].as_str().unwrap();

    // A reader that takes a few bytes and then nothing holds one of two places; the second is free, a third is not.
    let slow = async || {
        let mut stream = tokio::net::TcpStream::connect(service.authority()).await.unwrap();
        let request = format!("GET {} HTTP/1.1\r\nhost: x\r\n\r\n", &url[service.url.len()..]);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 1024];
        assert!(stream.read(&mut head).await.unwrap() > 0);
        assert!(head.starts_with(b"HTTP/1.1 200"));
        stream
    };
    let (first, second) = (slow().await, slow().await);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let third = service.bearer(None, Method::GET, &url[service.url.len()..], None).await;
    assert_eq!(third.problem(), (429, "zip.too_many".to_owned()));
    drop((first, second));
    // Places come back when readers go.
    for _ in 0..100 {
        if service.app.zips.taken() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(service.app.zips.taken(), 0);
    let mut stream = service.http.get(url).send().await.unwrap();
    let mut read = 0;
    while let Some(chunk) = stream.chunk().await.unwrap() {
        read += chunk.len() as u64;
    }
    assert_eq!(read, zip["bytes"].as_u64().unwrap());
}
