//! Writes every page with example data into a folder, to be looked at: `cargo run -p loopmaster-edge --example pages -- FOLDER`.
//! Scripts and styles are those of `edge/web/dist` where it was built.

use loopmaster_edge::pages::view::{Batch, Confirmation, Link, Me, Status};
use loopmaster_edge::pages::{
    Account, Contact, Files, Frame, Home, Job, Library, Privacy, Shared, SignIn, SignInStep, VERSIONS, account, api,
    away, batch, confirm, contact, earlier_privacy, failed, home, library, link, master, not_found, privacy, security,
    share, sign_in, status, terms,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

#[path = "../src/pages/fixtures.rs"]
mod fixtures;

/// What the entries of the web build load, kept for the length of the program.
fn entries() -> Result<BTreeMap<String, Files<'static>>, Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/dist/.vite/manifest.json");
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(BTreeMap::new()) };
    let manifest: BTreeMap<String, Value> = serde_json::from_str(&text)?;
    let keep = |path: &str| -> &'static str { Box::leak(format!("/{path}").into_boxed_str()) };
    let mut entries = BTreeMap::new();
    for chunk in manifest.values().filter(|chunk| chunk["isEntry"] == true) {
        let (mut styles, mut modules, mut open) = (Vec::new(), Vec::new(), vec![chunk]);
        while let Some(chunk) = open.pop() {
            styles.extend(chunk["css"].as_array().into_iter().flatten().filter_map(Value::as_str).map(keep));
            for import in chunk["imports"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if let Some(imported) = manifest.get(import) {
                    modules.extend(imported["file"].as_str().map(keep));
                    open.push(imported);
                }
            }
        }
        let file = chunk["file"].as_str().map(keep).unwrap_or_default();
        let name = chunk["name"].as_str().unwrap_or_default().to_owned();
        entries.insert(name, Files { script: file, styles: styles.leak(), modules: modules.leak() });
    }
    Ok(entries)
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, serde_json::Error> {
    serde_json::from_value(value)
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("name a folder")?);
    std::fs::create_dir_all(&folder)?;
    let entries = entries()?;
    let files = move |entry: &str| entries.get(entry).copied().unwrap_or_default();
    let (guest, nora): (Me, Me) = (Me::default(), read(fixtures::me())?);
    let as_guest = |path| Frame::new(&files, &guest, path);
    let as_nora = |path| Frame::new(&files, &nora, path);
    let write =
        |name: &str, page: maud::Markup| std::fs::write(folder.join(format!("{name}.html")), page.into_string());
    let destinations = || read(fixtures::destinations());
    write("home", home(&as_guest("/"), &Home { destinations: destinations()?, guest_days: 7, account_days: 0 }))?;
    for state in ["waiting", "running", "done", "failed", "cancelled"] {
        let job = Job {
            master: read(fixtures::master("mst_1", "night-drive", state))?,
            destinations: destinations()?,
            shares: Vec::new(),
            reference: None,
            versions: Vec::new(),
        };
        write(&format!("master-{state}"), master(&as_guest("/m/mst_1"), &job))?;
    }
    let job = Job {
        master: read(fixtures::master("mst_1", "night-drive", "done"))?,
        destinations: destinations()?,
        shares: Vec::new(),
        reference: None,
        versions: Vec::new(),
    };
    write("master-signed-in", master(&as_nora("/m/mst_1"), &job))?;
    write("share", share(&as_guest("/s/lmh_1"), &Shared { master: job.master.clone() }))?;
    let list = Library { masters: read(fixtures::masters())?, ..Library::default() };
    write("library", library(&as_nora("/library"), &list))?;
    write("library-empty", library(&as_guest("/library"), &Library::default()))?;
    let album =
        Batch { id: "bat_1".into(), name: "Lanterns".into(), album: true, tracks: Some(12), items: list.masters.items };
    write("batch", batch(&as_nora("/b/bat_1"), &album))?;
    let (sessions, tokens, webhooks, export) = fixtures::account();
    let own = Account {
        sessions: read(sessions)?,
        tokens: read(tokens)?,
        webhooks: read(webhooks)?,
        presets: Vec::new(),
        export: Some(read(export)?),
        secret: None,
        grace_days: 14,
    };
    write("account", account(&as_nora("/account"), &own))?;
    for (name, step) in [
        ("sign-in", SignInStep::Address),
        ("sign-in-code", SignInStep::Code { login: "login".into(), email: "nora@example.com".into() }),
        ("sign-in-merge", SignInStep::Merge { masters: 3 }),
    ] {
        write(name, sign_in(&as_guest("/sign-in"), &SignIn { step, next: "/m/mst_1".into(), google: true }))?;
    }
    let mail = Link { email: "nora@example.com".into(), state: "waiting".into(), ..Link::default() };
    write("link", link(&as_guest("/l/x"), "lml_x", &mail))?;
    let running: Status = read(fixtures::status())?;
    let facts: Privacy = read(fixtures::status())?;
    write("privacy", privacy(&as_guest("/privacy"), &facts))?;
    write("privacy-earlier", earlier_privacy(&as_guest("/privacy/x"), &VERSIONS[1]))?;
    write("policy-changed", terms(&Frame { policy_seen: false, ..as_guest("/terms") }))?;
    write("security", security(&as_guest("/security"), &["mailto:security@music.example".to_owned()]))?;
    for (name, of, here, state) in [
        ("confirm", "account", true, "waiting"),
        ("confirm-guest", "guest", true, "waiting"),
        ("confirm-elsewhere", "guest", false, "waiting"),
        ("confirm-done", "account", true, "confirmed"),
        ("confirm-expired", "account", true, "expired"),
    ] {
        let shown = Confirmation { state: state.to_owned(), here, ..Confirmation::read(&fixtures::confirmation(of)) };
        write(name, confirm(&as_guest("/confirm/x"), "lmv_x", &shown))?;
    }
    write("terms", terms(&as_guest("/terms")))?;
    write("contact", contact(&as_guest("/contact"), &Contact::default()))?;
    write("status", status(&as_guest("/status"), Some(&running)))?;
    write("status-down", status(&as_guest("/status"), None))?;
    write("api", api(&as_guest("/api"), "http://127.0.0.1:3001"))?;
    write("not-found", not_found(&as_guest("/nothing")))?;
    write("away", away(&as_guest("/library")))?;
    write(
        "failed",
        failed(&as_guest("/library"), "Too many at once", "Wait a minute, then go on where you were.", Some("req_1")),
    )?;
    Ok(())
}
