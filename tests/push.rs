//! `loopmaster push` against a small service of the same contract over our storage, with a proxy in front of the storage that counts
//! what comes and breaks what it is told to.

mod manifest;

use crate::storage::{Ours, config, hex, http, noise};
use axum::body::Body;
use axum::extract::{Path as At, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::BodyExt;
use loopmaster::store::{PartTag, Store};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const PART: u64 = 5 << 20;
const MINUTE: Duration = Duration::from_mins(1);

/// A PUT as the proxy saw it.
#[derive(Clone, Debug)]
struct Put {
    target: String,
    bytes: u64,
    arrived: bool,
}

#[derive(Default)]
struct Upload {
    bytes: u64,
    key: String,
    multipart: String,
    settings: Value,
    name: String,
    position: Option<u64>,
    batch: Option<String>,
    reference: Option<String>,
    master: Option<String>,
    /// Masters that were asked for once more.
    again: Vec<String>,
}

#[derive(Default)]
struct Seen {
    puts: Vec<Put>,
    /// Requests that are being answered.
    going: usize,
    uploads: BTreeMap<String, Upload>,
    /// Master, artifacts, how often it was asked for.
    masters: BTreeMap<String, (String, Vec<Value>, u32)>,
    batches: Vec<Value>,
    answers: HashMap<String, Value>,
    links: HashMap<String, (String, String)>,
    created: u32,
    signed: u32,
    /// Statuses the proxy gives to the next PUTs instead of passing them on.
    refuse: Vec<u16>,
    /// Statuses the API gives to the next requests.
    away: Vec<u16>,
    /// The results lie about their hash.
    damage: bool,
    /// Most bytes of decoded audio; `None`: a service that does not know the question.
    decoded: Option<u64>,
}

#[derive(Clone)]
struct Service {
    store: Store,
    storage: String,
    seen: Arc<Mutex<Seen>>,
}

impl Service {
    fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap())
    }
}

struct World {
    runtime: Runtime,
    service: Service,
    url: String,
    _ours: Ours,
    home: TempDir,
}

impl World {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let (service, url, ours) = runtime.block_on(async {
            let ours = Ours::start().await;
            let proxied = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut settings = config(&ours.handle.url());
            settings.public_endpoint = format!("http://{}", proxied.local_addr().unwrap()).parse().unwrap();
            let store = Store::new(&settings).unwrap();
            let service = Service { store, storage: ours.handle.url(), seen: Arc::default() };
            let proxy = Router::new().fallback(pass).with_state(service.clone());
            tokio::spawn(async move { axum::serve(proxied, proxy).await });
            let api = Router::new()
                .route("/v1/limits", get(limits))
                .route("/v1/batches", post(batch))
                .route("/v1/batches/{id}", get(batch_masters))
                .route("/v1/uploads", post(create))
                .route("/v1/uploads/{id}", get(upload))
                .route("/v1/uploads/{id}/parts", get(arrived).post(sign))
                .route("/v1/uploads/{id}/complete", post(complete))
                .route("/v1/masters", post(remaster))
                .route("/v1/masters/{id}", get(master))
                .route("/v1/artifacts/{id}/link", post(link))
                .layer(axum::middleware::from_fn_with_state(service.clone(), door))
                .with_state(service.clone());
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(async move { axum::serve(listener, api).await });
            (service, url, ours)
        });
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("mixes")).unwrap();
        std::fs::write(home.path().join("token"), "lmt_right\n").unwrap();
        Self { runtime, service, url, _ours: ours, home }
    }

    fn mix(&self, name: &str, bytes: usize) {
        std::fs::write(self.home.path().join("mixes").join(name), noise(bytes as u64, bytes)).unwrap();
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loopmaster"));
        command.arg("push").args(more).args(["--json", "--url", &self.url]).current_dir(self.home.path());
        command.env_remove("LOOPMASTER_TOKEN").env("XDG_STATE_HOME", self.home.path().join("state"));
        command.env("XDG_CONFIG_HOME", self.home.path().join("config")).env("NO_PROXY", "127.0.0.1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn push(&self, more: &[&str]) -> (bool, Vec<Value>) {
        told(self.command(more).output().unwrap())
    }

    fn journals(&self) -> usize {
        std::fs::read_dir(self.home.path().join("state/loopmaster/push")).map_or(0, Iterator::count)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }
}

fn told(output: Output) -> (bool, Vec<Value>) {
    let text = String::from_utf8(output.stdout).unwrap();
    let events = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{:?}\n{text}", String::from_utf8_lossy(&output.stderr));
    (output.status.success(), events)
}

fn failures(events: &[Value]) -> Vec<&str> {
    events.iter().filter(|event| event["event"] == "failed").map(|event| event["code"].as_str().unwrap()).collect()
}

/// A request is going on until this is dropped, however that comes about.
struct Going(Service);

impl Going {
    fn new(service: &Service) -> Self {
        service.seen(|seen| seen.going += 1);
        Self(service.clone())
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.0.seen(|seen| seen.going -= 1);
    }
}

/// Passes a request on as it came, once its body is whole. From there on it goes through and is written down even if nobody waits for
/// the answer any more: storage has it.
async fn pass(State(service): State<Service>, method: Method, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    let (mut body, mut bytes) = (body, Vec::new());
    let going = Going::new(&service);
    let put = (method == Method::PUT).then(|| {
        let target = uri.to_string().split("&X-Amz").next().unwrap().to_owned();
        service.seen(|seen| {
            seen.puts.push(Put { target, bytes: 0, arrived: false });
            seen.puts.len() - 1
        })
    });
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return StatusCode::BAD_REQUEST.into_response() };
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data);
            if let Some(put) = put {
                service.seen(|seen| seen.puts[put].bytes += data.len() as u64);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    if let Some(status) = put.and_then(|_| service.seen(|seen| seen.refuse.pop())) {
        return StatusCode::from_u16(status).unwrap().into_response();
    }
    let through = async move {
        let _going = going;
        let url = format!("{}{uri}", service.storage);
        let answer = http().request(method, url).headers(headers).body(bytes).send().await.unwrap();
        if let Some(put) = put.filter(|_| answer.status() == 200) {
            service.seen(|seen| seen.puts[put].arrived = true);
        }
        let mut response = Response::builder().status(answer.status());
        *response.headers_mut().unwrap() = answer.headers().clone();
        response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
    };
    tokio::spawn(through).await.unwrap()
}

fn problem(status: u16, code: &str) -> Response {
    let body = json!({ "status": status, "code": code, "detail": format!("said the service: {code}"), "title": code });
    (StatusCode::from_u16(status).unwrap(), [("retry-after", "0")], Json(body)).into_response()
}

/// Nobody enters without a token. What has begun goes through even if nobody waits for the answer any more; the real service would take
/// it up again.
async fn door(
    State(service): State<Service>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    if request.headers().get("authorization").is_none_or(|token| token != "Bearer lmt_right") {
        return problem(401, "auth.token_unknown");
    }
    if let Some(status) = service.seen(|seen| seen.away.pop()) {
        return problem(status, "service.away");
    }
    let going = Going::new(&service);
    let through = async move {
        let _going = going;
        next.run(request).await
    };
    tokio::spawn(through).await.unwrap()
}

async fn limits(State(service): State<Service>) -> Response {
    match service.seen(|seen| seen.decoded) {
        Some(decoded) => {
            Json(json!({ "file_bytes": 4_u64 << 30, "seconds": 7200.0, "decoded_bytes": decoded, "more": 1 }))
                .into_response()
        }
        None => problem(404, "request.nothing_here"),
    }
}

async fn batch(State(service): State<Service>, headers: HeaderMap, Json(body): Json<Value>) -> Json<Value> {
    service.seen(|seen| {
        let key = headers["idempotency-key"].to_str().unwrap().to_owned();
        let number = seen.batches.len() + 1;
        if !seen.answers.contains_key(&key) {
            seen.batches.push(body);
        }
        Json(seen.answers.entry(key).or_insert_with(|| json!({ "id": format!("bat_{number}") })).clone())
    })
}

async fn create(State(service): State<Service>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    if let Some(answer) = service.seen(|seen| seen.answers.get(&key).cloned()) {
        return Json(answer).into_response();
    }
    let number = service.seen(|seen| {
        seen.created += 1;
        seen.created
    });
    let (id, stored) = (format!("upl_{number}"), format!("uploads/{number}/x"));
    let multipart = service.store.create_multipart(&stored, "audio/wav").await.unwrap();
    let upload = Upload {
        bytes: body["bytes"].as_u64().unwrap(),
        key: stored,
        multipart,
        settings: body["settings"].clone(),
        name: body["name"].as_str().unwrap().to_owned(),
        position: body["position"].as_u64(),
        batch: body["batch"].as_str().map(str::to_owned),
        reference: body["reference_upload"].as_str().map(str::to_owned),
        master: None,
        again: Vec::new(),
    };
    service.seen(|seen| seen.uploads.insert(id.clone(), upload));
    let answer = shown(&service, &id).unwrap();
    service.seen(|seen| seen.answers.insert(key, answer.clone()));
    (StatusCode::CREATED, Json(answer)).into_response()
}

fn shown(service: &Service, id: &str) -> Option<Value> {
    service.seen(|seen| {
        let upload = seen.uploads.get(id)?;
        let state = if upload.multipart.is_empty() { "stored" } else { "uploading" };
        Some(json!({
            "id": id, "name": upload.name, "bytes": upload.bytes, "state": state, "part_bytes": PART,
            "parts": upload.bytes.div_ceil(PART), "master": upload.master,
        }))
    })
}

async fn upload(State(service): State<Service>, At(id): At<String>) -> Response {
    shown(&service, &id).map_or_else(|| problem(404, "upload.not_found"), |upload| Json(upload).into_response())
}

fn place(service: &Service, id: &str) -> (String, String, u64) {
    service.seen(|seen| {
        let upload = &seen.uploads[id];
        (upload.key.clone(), upload.multipart.clone(), upload.bytes)
    })
}

async fn arrived(State(service): State<Service>, At(id): At<String>) -> Json<Value> {
    let (key, multipart, _) = place(&service, &id);
    Json(json!({ "parts": service.store.list_parts(&key, &multipart).await.unwrap() }))
}

async fn sign(State(service): State<Service>, At(id): At<String>, Json(body): Json<Value>) -> Json<Value> {
    let (key, multipart, bytes) = place(&service, &id);
    service.seen(|seen| seen.signed += 1);
    let mut urls = serde_json::Map::new();
    for number in body["numbers"].as_array().unwrap().iter().filter_map(Value::as_u64) {
        let length = PART.min(bytes - (number - 1) * PART);
        let url = service.store.presign_part(&key, &multipart, number as u16, length, MINUTE).await.unwrap();
        urls.insert(number.to_string(), url.as_str().into());
    }
    Json(json!({ "urls": urls, "expires_at": "2100-01-01T00:00:00Z" }))
}

async fn complete(State(service): State<Service>, At(id): At<String>, Json(body): Json<Value>) -> Response {
    let (key, multipart, _) = place(&service, &id);
    if !multipart.is_empty() {
        let parts: Vec<PartTag> = serde_json::from_value(body["parts"].clone()).unwrap();
        if let Err(error) = service.store.complete(&key, &multipart, &parts).await {
            return problem(409, error.code());
        }
        let queue = service.seen(|seen| {
            let upload = seen.uploads.get_mut(&id).unwrap();
            upload.multipart.clear();
            (!upload.settings.is_null()).then(|| upload.name.clone())
        });
        if let Some(name) = queue {
            let master = id.replace("upl", "mst");
            let artifacts = results(&service, &master, &name).await;
            service.seen(|seen| {
                seen.masters.insert(master.clone(), (name, artifacts, 0));
                seen.uploads.get_mut(&id).unwrap().master = Some(master);
            });
        }
    }
    Json(shown(&service, &id).unwrap()).into_response()
}

/// Another master of an upload that is there. What was broken is mended meanwhile.
async fn remaster(State(service): State<Service>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    if let Some(answer) = service.seen(|seen| seen.answers.get(&key).cloned()) {
        return Json(answer).into_response();
    }
    let id = body["uploads"][0].as_str().unwrap().to_owned();
    let found = service.seen(|seen| {
        let upload = seen.uploads.get(&id).filter(|upload| upload.multipart.is_empty())?;
        assert_eq!(
            (&body["settings"], upload.reference.as_deref()),
            (&upload.settings, body["reference_upload"].as_str())
        );
        Some((upload.name.clone(), format!("{}_again{}", id.replace("upl", "mst"), upload.again.len() + 1)))
    });
    let Some((name, master)) = found else { return problem(404, "upload.not_found") };
    let artifacts = results(&service, &master, &name).await;
    let answer = json!({ "items": [{ "id": master, "state": "waiting" }] });
    service.seen(|seen| {
        seen.masters.insert(master.clone(), (name.replace("broken", "mended"), artifacts, 0));
        seen.uploads.get_mut(&id).unwrap().again.push(master);
        seen.answers.insert(key, answer.clone());
    });
    (StatusCode::CREATED, Json(answer)).into_response()
}

async fn results(service: &Service, master: &str, name: &str) -> Vec<Value> {
    let stem = Path::new(name).file_stem().unwrap().to_string_lossy().into_owned();
    let mut results = Vec::new();
    for (kind, role, name, length) in [
        ("master", "wav24", format!("{stem} (master) 24-bit.wav"), 400_000),
        ("report", "html", format!("{stem} (report).html"), 2_000),
        ("preview", "mix", format!("{stem} (preview of the mix).opus"), 3_000),
    ] {
        let bytes = noise(name.len() as u64, length);
        let (id, key) = (format!("art_{master}_{role}"), format!("jobs/{master}/{role}"));
        let lie = service.seen(|seen| seen.damage && kind == "master");
        let sha256 = hex(&Sha256::digest(if lie { b"lie" } else { &bytes[..] }));
        service.store.put_bytes(&key, bytes, "audio/wav").await.unwrap();
        service.seen(|seen| seen.links.insert(id.clone(), (key, name.clone())));
        results.push(json!({ "id": id, "kind": kind, "role": role, "name": name, "type": "audio/wav", "bytes": length, "sha256": sha256 }));
    }
    results
}

/// Waits twice, runs twice, and is done; what is called `broken` fails.
fn master_of(seen: &mut Seen, id: &str, whole: bool) -> Value {
    let (name, artifacts, asked) = seen.masters.get_mut(id).unwrap();
    *asked += 1;
    let base = json!({ "id": id, "title": name, "artifacts": [] });
    let with = |more: Value| {
        let mut master = base.clone();
        master.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        master
    };
    match *asked {
        0..2 => with(json!({ "state": "waiting", "queue_position": 3 })),
        2..3 => with(json!({ "state": "running", "stage": "render" })),
        _ if name.contains("broken") => with(
            json!({ "state": "failed", "error": { "code": "decode.truncated", "detail": "the file is cut; export it again" } }),
        ),
        _ => with(json!({
            "state": "done", "seconds": 10.0, "lufs": -14.0, "dbtp": -1.0, "artifacts": if whole { artifacts.clone() } else { Vec::new() },
        })),
    }
}

async fn batch_masters(State(service): State<Service>, At(id): At<String>) -> Json<Value> {
    service.seen(|seen| {
        let of = |upload: &&Upload| upload.batch.as_ref() == Some(&id);
        let uploads = seen.uploads.values().filter(of);
        let masters: Vec<String> =
            uploads.flat_map(|upload| upload.master.iter().chain(&upload.again).cloned()).collect();
        let items: Vec<Value> = masters.iter().map(|master| master_of(seen, master, false)).collect();
        Json(json!({ "id": id, "items": items }))
    })
}

async fn master(State(service): State<Service>, At(id): At<String>) -> Json<Value> {
    service.seen(|seen| Json(master_of(seen, &id, true)))
}

async fn link(State(service): State<Service>, At(id): At<String>) -> Json<Value> {
    let (key, name) = service.seen(|seen| seen.links[&id].clone());
    let url = service.store.presign_get(&key, &name, "audio/wav", false, MINUTE).await.unwrap();
    Json(json!({ "url": url, "expires_at": "2100-01-01T00:00:00Z" }))
}

/// Looks every 5 ms, at most 15 s.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    assert!(
        (0..3_000).any(|_| {
            let held = holds();
            if !held {
                std::thread::sleep(Duration::from_millis(5));
            }
            held
        }),
        "{what} within 15 s"
    );
}

/// Kills `push` once so many parts are there, and waits until nothing it asked for is going on any more.
fn kill_when(world: &World, mut push: Child, arrived: usize) {
    until(&format!("{arrived} parts should have arrived"), || {
        assert!(push.try_wait().unwrap().is_none(), "it ended before it could be killed");
        world.service.seen(|seen| seen.puts.iter().filter(|put| put.arrived).count()) >= arrived
    });
    push.kill().unwrap();
    push.wait().unwrap();
    until("what it asked for should be over", || world.service.seen(|seen| seen.going == 0));
}

#[test]
fn killed_and_taken_up_again_no_part_comes_twice() {
    let world = World::new();
    world.mix("a.wav", 22 << 20);
    world.mix("b.wav", (11 << 20) + 5);
    let args = ["mixes", "-o", "out", "--album", "--name", "Ä", "--report", "--token-file", "token", "--parallel", "2"];
    for arrived in [1, 3, 6] {
        kill_when(&world, world.command(&args).spawn().unwrap(), arrived);
        assert_eq!(world.journals(), 1);
    }
    let (good, events) = world.push(&args);
    assert!(good, "{events:#?}");

    let puts = world.service.seen(|seen| seen.puts.clone());
    let mut times: HashMap<&str, u32> = HashMap::new();
    puts.iter().filter(|put| put.arrived).for_each(|put| *times.entry(&put.target).or_default() += 1);
    assert_eq!(times.len(), 5 + 3, "{times:?}");
    assert!(times.values().all(|times| *times == 1), "a part came twice: {times:?}");
    let arrived: u64 = puts.iter().filter(|put| put.arrived).map(|put| put.bytes).sum();
    assert_eq!(arrived, (22 << 20) + (11 << 20) + 5);
    // Beside that, what was on its way when it was killed, and no more.
    let lost: u64 = puts.iter().filter(|put| !put.arrived).map(|put| put.bytes).sum();
    assert!(lost <= 3 * 2 * PART, "{lost} bytes were sent in vain");

    world.service.seen(|seen| {
        assert_eq!(seen.batches, [json!({ "name": "Ä", "album": true, "tracks": 2 })]);
        let uploads: Vec<_> = seen.uploads.values().map(|upload| (upload.name.as_str(), upload.position)).collect();
        assert_eq!(uploads.len(), 2);
        assert!(uploads.contains(&("a.wav", Some(1))) && uploads.contains(&("b.wav", Some(2))), "{uploads:?}");
        assert!(seen.uploads.values().all(|upload| upload.batch.as_deref() == Some("bat_1")));
    });
    for name in ["a.wav", "b.wav"] {
        let upload = world.service.seen(|seen| {
            seen.uploads.values().find(|upload| upload.name == name).map(|upload| upload.key.clone()).unwrap()
        });
        let whole = world
            .runtime
            .block_on(async { world.service.store.get(&upload).await.unwrap().bytes(1 << 30).await.unwrap() });
        assert!(whole == std::fs::read(world.file("mixes").join(name)).unwrap(), "{name} arrived changed");
    }
    let manifest: Value = serde_json::from_slice(&std::fs::read(world.file("out/manifest.json")).unwrap()).unwrap();
    let files = manifest["files"].as_array().unwrap();
    assert_eq!(files.len(), 4);
    for file in files {
        let bytes = std::fs::read(world.file("out").join(file["name"].as_str().unwrap())).unwrap();
        let sha256 = hex(&Sha256::digest(&bytes));
        assert_eq!(file["sha256"], sha256.as_str());
    }
    assert!(!world.file("out/a (preview of the mix).opus").exists());

    // Once more: everything is here, and nothing is sent or made. The journal stays to know it by.
    assert_eq!(world.journals(), 1);
    let before = world.service.seen(|seen| (seen.puts.len(), seen.created, seen.batches.len()));
    let (good, events) = world.push(&args);
    assert!(good, "{events:#?}");
    assert_eq!(world.service.seen(|seen| (seen.puts.len(), seen.created, seen.batches.len())), before);
    let again: Value = serde_json::from_slice(&std::fs::read(world.file("out/manifest.json")).unwrap()).unwrap();
    assert_eq!(again, manifest);
    // `--fresh` is the way to have it all again.
    let (good, events) = world.push(&[&args[..], &["--fresh", "--force"]].concat());
    assert!(good, "{events:#?}");
    assert_eq!(world.service.seen(|seen| (seen.created, seen.batches.len())), (before.1 + 2, before.2 + 1));
}

#[test]
fn refusals_that_pass_are_waited_for() {
    let world = World::new();
    world.mix("one.flac", (5 << 20) + 7);
    world.service.seen(|seen| {
        seen.refuse = vec![403, 503, 403];
        seen.away = vec![503, 429, 500];
    });
    let (good, events) = world.push(&["mixes/one.flac", "--token-file", "token", "--preview", "--style", "warm"]);
    assert!(good, "{events:#?}");
    world.service.seen(|seen| {
        assert!(seen.signed >= 3, "{} times signed", seen.signed);
        assert!(seen.batches.is_empty(), "one track is no batch");
        assert_eq!(seen.uploads["upl_1"].settings["style"], "warm");
    });
    // Beside the mix, where it was found.
    assert!(world.file("mixes/one (master) 24-bit.wav").exists());
    assert!(world.file("mixes/one (preview of the mix).opus").exists());
    // Again: it is a new push, and what is there is not replaced by other bytes.
    std::fs::write(world.file("mixes/one (master) 24-bit.wav"), "mine").unwrap();
    let (good, events) = world.push(&["mixes/one.flac", "--token-file", "token"]);
    assert!(!good);
    assert_eq!(failures(&events), ["deliver.exists"]);
    let (good, _) = world.push(&["mixes/one.flac", "--token-file", "token", "--force"]);
    assert!(good);
    assert_eq!(std::fs::metadata(world.file("mixes/one (master) 24-bit.wav")).unwrap().len(), 400_000);
}

#[test]
fn detached_then_fetched_with_one_that_fails() {
    let world = World::new();
    world.mix("good.wav", 100_000);
    world.mix("broken.wav", 50_000);
    std::fs::write(world.file("record.flac"), noise(7, 30_000)).unwrap();
    let args = ["mixes", "-o", "out", "--reference", "record.flac", "--token", "lmt_right"];
    let (good, events) = world.push(&[&args[..], &["--detach"]].concat());
    assert!(good, "{events:#?}");
    assert_eq!(events.iter().filter(|event| event["event"] == "queued").count(), 2);
    assert!(!world.file("out").exists());
    world.service.seen(|seen| {
        assert_eq!(seen.uploads.len(), 3);
        let references: Vec<_> = seen
            .uploads
            .values()
            .filter(|upload| !upload.settings.is_null())
            .map(|upload| upload.reference.clone())
            .collect();
        assert_eq!(references, [Some("upl_1".to_owned()), Some("upl_1".to_owned())]);
    });
    let sent = world.service.seen(|seen| seen.puts.len());
    let (good, events) = world.push(&args);
    assert!(!good);
    assert_eq!(failures(&events), ["decode.truncated"]);
    assert!(world.file("out/good (master) 24-bit.wav").exists());
    assert_eq!(world.service.seen(|seen| seen.puts.len()), sent, "something was sent again");
    let summary = events.last().unwrap();
    assert_eq!((&summary["mastered"], &summary["failed"]), (&json!(1), &json!(1)));
    // One has failed: what is done is still known.
    assert_eq!(world.journals(), 1);
}

#[test]
fn after_a_failure_only_what_is_missing_is_sent_or_made_again() {
    let world = World::new();
    for name in ["a.wav", "b.wav", "broken.wav", "z.wav"] {
        world.mix(name, 60_000 + name.len());
    }
    let args = ["mixes", "-o", "out", "--token", "lmt_right"];
    let (good, events) = world.push(&args);
    assert!(!good);
    assert_eq!(failures(&events), ["decode.truncated"]);
    let (sent, created) = world.service.seen(|seen| (seen.puts.len(), seen.created));
    assert_eq!(created, 4);

    // A mix is new, one has changed, and one result was lost meanwhile.
    world.mix("new.wav", 70_000);
    world.mix("b.wav", 80_000);
    std::fs::remove_file(world.file("out/b (master) 24-bit.wav")).unwrap();
    std::fs::remove_file(world.file("out/z (master) 24-bit.wav")).unwrap();
    let (good, events) = world.push(&args);
    assert!(good, "{events:#?}");
    world.service.seen(|seen| {
        assert_eq!(seen.created, created + 2, "b and new");
        let again: Vec<_> = seen.puts[sent..].iter().filter(|put| put.arrived).map(|put| put.bytes).collect();
        assert_eq!(again.iter().sum::<u64>(), 150_000, "{again:?}");
        let remastered: Vec<_> =
            seen.uploads.values().map(|upload| (upload.name.as_str(), upload.again.len())).collect();
        assert_eq!(remastered.iter().filter(|(_, again)| *again > 0).collect::<Vec<_>>(), [&("broken.wav", 1)]);
        assert_eq!(seen.batches.len(), 1, "it is the same push");
    });
    for name in ["a", "b", "broken", "new", "z"] {
        assert!(world.file(&format!("out/{name} (master) 24-bit.wav")).exists(), "{name}");
    }
    let manifest: Value = serde_json::from_slice(&std::fs::read(world.file("out/manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["files"].as_array().unwrap().len(), 5);
    assert_eq!(world.journals(), 1);
}

#[test]
fn what_the_service_has_no_room_for_is_not_sent() {
    let world = World::new();
    // 3 s, 1.06 MB decoded, as WAV and as FLAC of the real kind; and a short one.
    let song = crate::cli::wav(&crate::cli::music(44_100, 3.0, 0.5), 44_100, false);
    std::fs::write(world.file("mixes/long.wav"), song).unwrap();
    std::fs::write(world.file("mixes/short.wav"), crate::cli::wav(&crate::cli::music(44_100, 2.0, 0.5), 44_100, false))
        .unwrap();
    let flac = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/skiessi-onion.flac");
    std::fs::copy(flac, world.file("mixes/onion.flac")).unwrap();
    world.service.seen(|seen| seen.decoded = Some(800_000));
    let (good, events) = world.push(&["mixes", "-o", "out", "--token-file", "token"]);
    assert!(!good);
    assert_eq!(failures(&events), ["decode.needs_memory", "decode.needs_memory"], "{events:#?}");
    let told: Vec<&str> = events.iter().filter_map(|event| event["message"].as_str()).collect();
    assert!(
        told.iter().any(|text| text.contains("at least 1058400 bytes and 800000 may be used; lower the sample rate")),
        "{told:?}"
    );
    world.service.seen(|seen| {
        let sent: Vec<&str> = seen.uploads.values().map(|upload| upload.name.as_str()).collect();
        assert_eq!(sent, ["short.wav"]);
    });
}

#[test]
fn what_the_service_has_lost_meanwhile_is_sent_again() {
    let world = World::new();
    world.mix("a.wav", 60_000);
    world.mix("broken.wav", 50_000);
    let args = ["mixes", "-o", "out", "--token", "lmt_right"];
    assert!(!world.push(&args).0);
    // The upload of the failed one has expired; its master is still told of.
    world.service.seen(|seen| {
        let id = seen.uploads.iter().find(|(_, upload)| upload.name == "broken.wav").map(|(id, _)| id.clone()).unwrap();
        seen.uploads.remove(&id);
    });
    let (good, events) = world.push(&args);
    assert!(!good, "the same file is as broken as before");
    assert_eq!(failures(&events), ["decode.truncated"]);
    assert_eq!(world.service.seen(|seen| seen.created), 3, "only that one was sent again");
    let (good, events) = world.push(&args);
    assert!(good, "{events:#?}");
    assert_eq!(world.service.seen(|seen| seen.created), 3);
}

#[test]
fn a_result_with_another_hash_gets_no_name() {
    let world = World::new();
    world.mix("one.wav", 1_000);
    world.service.seen(|seen| seen.damage = true);
    let (good, events) = world.push(&["mixes", "-o", "out", "--token-file", "token"]);
    assert!(!good);
    assert_eq!(failures(&events), ["push.damaged"]);
    let left: Vec<_> = std::fs::read_dir(world.file("out")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn wrong_calls_are_said() {
    let world = World::new();
    world.mix("one.wav", 1_000);
    let code = |more: &[&str]| {
        let (good, events) = world.push(more);
        assert!(!good);
        failures(&events).join(" ")
    };
    let nothing_sent = || world.service.seen(|seen| assert!(seen.puts.is_empty()));
    assert_eq!(code(&["mixes"]), "push.no_token");
    assert_eq!(code(&["mixes", "--token", "lmt_wrong"]), "auth.token_unknown");
    assert_eq!(code(&["mixes", "--token", "two\nlines"]), "push.no_token");
    assert_eq!(code(&["nothing", "--token", "lmt_right"]), "decode.missing");
    assert_eq!(code(&["mixes", "--token-file", "missing"]), "push.file");
    nothing_sent();
    let mut elsewhere = world.command(&["mixes", "--token", "lmt_right"]);
    // The URL that was given in the environment only counts where none is given.
    elsewhere.env("LOOPMASTER_URL", "ftp://x");
    assert!(told(elsewhere.output().unwrap()).0);
}
