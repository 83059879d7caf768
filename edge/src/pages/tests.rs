//! What holds for every page: nothing inline, labels that label, links that lead somewhere, text that stays text.

use super::layout::Notice;
use super::view::*;
use super::*;
use loopmaster_core::retention::{BROWSER, Place};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

#[path = "fixtures.rs"]
mod fixtures;

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a fixture is what the api says")
}

fn files<'a>(entry: &str) -> Files<'a> {
    let (script, styles): (_, &[&str]) = match entry {
        "site" => ("/assets/site.js", &["/assets/site.css"]),
        "home" => ("/assets/home.js", &["/assets/site.css"]),
        "job" => ("/assets/job.js", &["/assets/site.css"]),
        "library" => ("/assets/library.js", &["/assets/site.css"]),
        "account" => ("/assets/account.js", &["/assets/site.css"]),
        "sign-in" => ("/assets/sign-in.js", &["/assets/site.css"]),
        other => panic!("no entry {other}"),
    };
    Files { script, styles, modules: &["/assets/shared.js"] }
}

/// Every page, as guest and signed in, with everything and with nothing.
fn every_page() -> Vec<(String, String)> {
    let (nora, guest): (Me, Me) = (read(fixtures::me()), Me::default());
    let mut told = nora.clone();
    if let Some(user) = &mut told.user {
        user.policy_current = false;
        user.delete_after = Some("2026-12-09T10:00:00Z".to_owned());
    }
    let destinations: Vec<Destination> = read(fixtures::destinations());
    let masters: Masters = read(fixtures::masters());
    let (sessions, tokens, webhooks, export) = fixtures::account();
    let settings = Account {
        sessions: read(sessions),
        tokens: read(tokens),
        webhooks: read(webhooks),
        presets: vec![
            Preset { name: "Club nights".into(), outdated: false },
            Preset { name: "an <old> one".into(), outdated: true },
        ],
        export: Some(read(export)),
        secret: Some("lmt_abc".to_owned()),
        grace_days: 14,
    };
    let up: Status = read(fixtures::status());
    let mut pages = Vec::new();
    for (who, me) in [("guest", &guest), ("nora", &nora), ("told", &told)] {
        let frame = |path| Frame::new(&files, me, path);
        let mut add = |name: &str, page: maud::Markup| pages.push((format!("{name} for {who}"), page.into_string()));
        add("home", home(&frame("/"), &Home { destinations: destinations.clone(), guest_days: 7, ..Home::default() }));
        add("empty home", home(&frame("/").saying(Notice::Refused("No.")), &Home::default()));
        for state in ["waiting", "running", "done", "failed", "cancelled"] {
            let one = read(fixtures::master("mst_1", "night-drive", state));
            let shares =
                vec![Share { id: "shr_1".into(), url: Some("/s/lmh_1".into()), ..Share::default() }, Share::default()];
            add(
                state,
                master(
                    &frame("/m/mst_1"),
                    &Job {
                        master: one,
                        destinations: destinations.clone(),
                        shares,
                        reference: Some("a record.flac".to_owned()),
                        versions: masters.items.clone(),
                    },
                ),
            );
        }
        add("bare master", master(&frame("/m/mst_1"), &Job::default()));
        add("share", share(&frame("/s/lmh_1"), &Shared { master: read(fixtures::master("", "night-drive", "done")) }));
        add("bare share", share(&frame("/s/lmh_1"), &Shared::default()));
        let list =
            Library { masters: masters.clone(), q: "night & day".into(), sort: "title".into(), ..Library::default() };
        let mix = Mix { id: "upl_1".into(), name: "a <mix>.wav".into(), bytes: 42, expires_at: None };
        add("kept mixes", library(&frame("/library"), &Library { kept: vec![mix], ..Library::default() }));
        add("library", library(&frame("/library"), &list));
        add("empty library", library(&frame("/library"), &Library::default()));
        let album = Batch {
            id: "bat_1".into(),
            name: "Lanterns".into(),
            album: true,
            tracks: Some(12),
            items: masters.items.clone(),
        };
        add("batch", batch(&frame("/b/bat_1"), &album));
        add("empty batch", batch(&frame("/b/bat_1"), &Batch::default()));
        add("account", account(&frame("/account").saying(Notice::Done("Saved.")), &settings));
        add("bare account", account(&frame("/account"), &Account::default()));
        for step in [
            SignInStep::Address,
            SignInStep::Code { login: "login".into(), email: "nora@example.com".into() },
            SignInStep::Merge { masters: 3 },
        ] {
            add("sign-in", sign_in(&frame("/sign-in"), &SignIn { step, next: "/m/mst_1".into(), google: true }));
        }
        for state in ["waiting", "used", "expired"] {
            let one = Link { email: "nora@example.com".into(), state: state.into(), ..Link::default() };
            add("link", link(&frame("/l/x"), "lml_x", &one));
        }
        add("onward", onward(&frame("/sign-in"), "https://accounts.google.com/x", "Google"));
        for state in ["waiting", "confirmed", "expired"] {
            for (of, here) in [("account", true), ("account", false), ("guest", true), ("guest", false)] {
                let one = Confirmation { state: state.into(), here, ..Confirmation::read(&fixtures::confirmation(of)) };
                add("confirm", confirm(&frame("/confirm/x"), "lmv_x", &one));
            }
        }
        add("privacy", privacy(&frame("/privacy"), &Privacy::default()));
        add("privacy", privacy(&frame("/privacy"), &read(fixtures::status())));
        add("privacy, api away", privacy(&frame("/privacy"), &Privacy { defaults: true, ..Privacy::default() }));
        for version in &VERSIONS[1..] {
            add("earlier privacy", earlier_privacy(&frame("/privacy/x"), version));
        }
        add("unseen policy", terms(&Frame { policy_seen: false, ..frame("/terms") }));
        add("security", security(&frame("/security"), &["mailto:security@music.example".to_owned()]));
        add("terms", terms(&frame("/terms")));
        add("contact", contact(&frame("/contact"), &Contact { ticket: Some("tkt_1".into()), ..Contact::default() }));
        add("status", status(&frame("/status"), Some(&up)));
        add("status down", status(&frame("/status"), None));
        add("api", api(&frame("/api"), "http://127.0.0.1:3001"));
        add("404", not_found(&frame("/nothing")));
        add("away", away(&frame("/library")));
        add("failed", failed(&frame("/library"), "Too fast", "Wait a minute and try again.", Some("req_1")));
    }
    pages
}

/// The values of an attribute.
fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    let mark = format!(" {attribute}=\"");
    page.split(mark.as_str()).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn nothing_is_inline_and_nothing_comes_from_elsewhere() {
    for (name, page) in every_page() {
        for attribute in ["style", "onclick", "onload", "onsubmit", "onchange", "oninput", "onerror"] {
            assert!(values(&page, attribute).is_empty(), "{name}: {attribute}");
        }
        assert_eq!(
            page.matches("<script").count(),
            page.matches("<script type=\"module\" src=\"/assets/").count(),
            "{name}"
        );
        assert!(!page.contains("<style") && !page.contains("javascript:"), "{name}");
        for address in values(&page, "src") {
            assert!(address.starts_with('/') && !address.starts_with("//"), "{name}: {address}");
        }
    }
}

#[test]
fn ids_are_single_and_labels_label() {
    for (name, page) in every_page() {
        let ids = values(&page, "id");
        let known: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(ids.len(), known.len(), "{name}: {ids:?}");
        for attribute in ["for", "aria-labelledby", "aria-describedby"] {
            for wanted in values(&page, attribute) {
                assert!(known.contains(wanted), "{name}: {attribute} {wanted}");
            }
        }
        assert_eq!(page.matches("<h1").count(), 1, "{name}");
        for icon in values(&page, "href").into_iter().filter_map(|href| href.strip_prefix("#i-")) {
            assert!(known.contains(format!("i-{icon}").as_str()), "{name}: {icon}");
        }
    }
}

#[test]
fn links_and_forms_lead_somewhere() {
    let pages = [
        "",
        "library",
        "account",
        "sign-in",
        "privacy",
        "security",
        "confirm",
        "terms",
        "contact",
        "status",
        "api",
        "m",
        "b",
        "s",
        "l",
        "v1",
        "files",
        "assets",
        "favicon.svg",
        "app.webmanifest",
        "icon-192.png",
    ];
    for (name, page) in every_page() {
        for address in values(&page, "href").into_iter().chain(values(&page, "action")) {
            let known = match address.strip_prefix('/') {
                Some(path) => {
                    pages.contains(&path.split(['/', '?', '#']).next().unwrap_or_default()) || name.starts_with("404")
                }
                None => {
                    address.starts_with('#')
                        || address.starts_with("https://creativecommons.org/")
                        || address.starts_with("https://accounts.google.com/")
                        || address == "mailto:security@music.example"
                }
            };
            assert!(known, "{name}: {address}");
        }
    }
}

#[test]
fn the_wishes_form_has_the_fields_that_are_read() {
    let page = home(&Frame::new(&files, &Me::default(), "/"), &Home::default()).into_string();
    let form = page.split("id=\"wishes\"").nth(1).and_then(|rest| rest.split("</form>").next()).expect("the form");
    let own = ["reference", "lufs"]; // a file, and the number beside `loudness`: for the script
    for field in values(form, "name").into_iter().filter(|field| !own.contains(field)) {
        let value = match field {
            "style" => "warm",
            "loudness" => "spotify",
            "ceiling" => "-1",
            "insist" => "on",
            "rate" => "48000",
            "phase" => "linear",
            "material" => "speech",
            "fix" => "polarity",
            "format" => "wav24",
            _ => "50",
        };
        crate::wishes::settings(format!("{field}={value}").as_bytes()).unwrap_or_else(|e| panic!("{field}: {e}"));
    }
}

#[test]
fn what_people_write_stays_text() {
    let hostile = "\"><script>alert(1)</script><img src=x onerror=alert(1)>";
    let mut one: Master = read(fixtures::master("mst_1", hostile, "done"));
    if let Some(result) = &mut one.result {
        result.reasons[0].text = hostile.to_owned();
        result.findings[0].advice = hostile.to_owned();
    }
    let mut me: Me = read(fixtures::me());
    if let Some(user) = &mut me.user {
        user.name = hostile.to_owned();
    }
    let frame = Frame::new(&files, &me, "/x");
    let list =
        Library { masters: Masters { items: vec![one.clone()], next: None }, q: hostile.into(), ..Library::default() };
    let pages = [
        master(&frame, &Job { master: one, ..Job::default() }),
        library(&frame, &list),
        account(&frame, &Account::default()),
        contact(&frame, &Contact { about: hostile.into(), topic: hostile.into(), ticket: Some(hostile.into()) }),
        failed(&frame, hostile, hostile, Some(hostile)),
    ];
    for page in pages {
        let page = page.into_string();
        assert!(!page.contains("<script>") && !page.contains("<img src=x"), "{page}");
        assert!(page.contains("&lt;script&gt;"));
    }
}

#[test]
fn odd_answers_are_read() {
    for odd in
        ["{}", r#"{"settings":{"style":"from the future"},"artifacts":null,"result":{"figures":null,"reasons":null}}"#]
    {
        let one: Master = serde_json::from_str(odd).expect("read leniently");
        assert_eq!(one.settings, loopmaster_core::Settings::default());
    }
    assert!(
        serde_json::from_str::<Me>(r#"{"user":{"id":"usr_1","name":null}}"#)
            .expect("read")
            .user
            .expect("a user")
            .policy_current
    );
}

#[test]
fn a_song_that_waits_for_its_album_says_so() {
    let mut one: Master = read(fixtures::master("mst_1", "night-drive", "waiting"));
    let page = |one: &Master| {
        let job = Job { master: one.clone(), ..Job::default() };
        master(&Frame::new(&files, &Me::default(), "/m/mst_1"), &job).into_string()
    };
    assert!(page(&one).contains("3 tracks before yours"));
    one.waits_for = Some("album".to_owned());
    let page = page(&one);
    assert!(
        page.contains("Waits until the other songs of the album have been heard") && !page.contains("before yours")
    );
}

/// Text of all files below a folder with this ending.
fn sources(folder: &Path, ending: &str, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("sources").flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "node_modules" && name != "dist" && name != "pages" {
                sources(&path, ending, found);
            }
        } else if name.ends_with(ending) {
            found.push((name, std::fs::read_to_string(&path).expect("a source")));
        }
    }
}

/// Words of letters, digits, `.`, `_` and `-` that begin with `mark`.
fn names<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(mark).map(|(at, _)| {
        let rest = &text[at..];
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))).unwrap_or(rest.len());
        &rest[..end]
    })
}

#[test]
fn the_privacy_page_lists_what_the_code_stores() {
    let edge = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut scripts = Vec::new();
    sources(&edge.join("web/src"), ".ts", &mut scripts);
    assert!(!scripts.is_empty());
    let mut stored = BTreeSet::new();
    for (name, text) in &scripts {
        let code: String = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//") && !line.trim_start().starts_with('*'))
            .collect::<Vec<_>>()
            .join("\n");
        for door in [
            "localStorage",
            "sessionStorage",
            "indexedDB",
            "document.cookie",
            "cookieStore",
            "caches.",
            "navigator.storage",
            "serviceWorker",
        ] {
            assert!(
                name == "storage.ts" || !code.contains(door),
                "{name} uses {door}: only storage.ts may, so that the privacy page can list it"
            );
        }
        if name == "storage.ts" {
            let constants =
                code.lines().filter(|line| line.starts_with("export const ") && line.contains("_NAME = \""));
            stored.extend(constants.filter_map(|line| line.split('"').nth(1)).map(str::to_owned));
            assert!(
                !code.contains("document.cookie") && !code.contains("caches."),
                "neither cookies nor caches are written by scripts"
            );
            for call in ["getItem(", "setItem(", "removeItem(", "indexedDB.open("] {
                for (at, _) in code.match_indices(call) {
                    let argument = code[at + call.len()..].split([',', ')']).next().unwrap_or_default();
                    assert!(
                        argument.ends_with("_NAME") || argument == "name",
                        "{call}{argument}: by a constant the table can be held against"
                    );
                }
            }
        }
    }
    let listed = |places: &[Place]| {
        let kept = BROWSER.iter().filter(|kept| places.contains(&kept.place));
        kept.flat_map(|kept| kept.names).map(|name| (*name).to_owned()).collect::<BTreeSet<_>>()
    };
    assert_eq!(
        stored,
        listed(&[Place::LocalStorage, Place::SessionStorage, Place::IndexedDb]),
        "edge/web/src/storage.ts against the page"
    );

    // Cookies are set by the edge alone; its sources name them.
    let mut rust = Vec::new();
    sources(&edge.join("src"), ".rs", &mut rust);
    let cookies: BTreeSet<String> = rust
        .iter()
        .flat_map(|(_, text)| names(text, "__Host-"))
        .filter(|name| name.len() > 10)
        .map(str::to_owned)
        .collect();
    if !cookies.is_empty() {
        assert_eq!(cookies, listed(&[Place::Cookie]), "cookies in edge/src against the page");
    }

    let page = privacy(&Frame::new(&files, &Me::default(), "/privacy"), &Privacy::default()).into_string();
    for name in BROWSER.iter().flat_map(|kept| kept.names) {
        assert!(page.contains(&format!("<code>{name}</code>")), "{name}");
    }
    assert!(page.contains(&super::text::day(loopmaster_core::retention::POLICY)));
}

#[test]
fn the_scripts_keep_to_the_periods_of_the_page() {
    use loopmaster_core::retention::{BROWSER_MEMORY, BROWSER_PENDING, SIGN_IN, UNDO};
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/src");
    let text = std::fs::read_to_string(scripts.join("periods.ts")).expect("periods.ts");
    let number = |name: &str| {
        let mark = format!("export const {name} = ");
        let value = text.lines().find_map(|line| line.strip_prefix(&mark)).unwrap_or_else(|| panic!("{name}"));
        value.trim_end_matches(';').replace('_', "").parse::<i64>().expect("a number")
    };
    for (name, period) in [
        ("UNDO_MS", UNDO),
        ("SIGN_IN_MS", SIGN_IN),
        ("BROWSER_MEMORY_MS", BROWSER_MEMORY),
        ("BROWSER_PENDING_MS", BROWSER_PENDING),
    ] {
        assert_eq!(number(name), period, "{name}");
    }
    assert_eq!(text.matches("export const").count(), 4, "each of them is held against the table");
}

#[test]
fn a_guest_is_told_of_a_new_policy_and_nobody_twice() {
    let (guest, nora): (Me, Me) = (Me::default(), read(fixtures::me()));
    let shown = |me: &Me, policy_seen: bool| {
        let page = terms(&Frame { policy_seen, ..Frame::new(&files, me, "/terms") }).into_string();
        (page.contains("action=\"/privacy/seen\""), page.contains("Our privacy policy has changed"))
    };
    assert_eq!(shown(&guest, true), (false, false));
    assert_eq!(shown(&guest, false), (true, true));
    // Whoever is signed in has the account's own notice.
    assert_eq!(shown(&nora, false), (false, false));
    let mut old = nora.clone();
    if let Some(user) = &mut old.user {
        user.policy_current = false;
    }
    assert_eq!(shown(&old, false), (false, true));
}

#[test]
fn the_security_policy_is_the_same_everywhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(root.join("SECURITY.md")).expect("SECURITY.md");
    let words: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let page = security(&Frame::new(&files, &Me::default(), "/security"), &["mailto:a@music.example".to_owned()]);
    let page = page.into_string();
    for promise in [
        "within 3 working days",
        "assessment within 10",
        "90 days before you publish",
        "Stop at the first proof",
        "reading, changing or deleting what belongs to somebody else",
        "signing in as somebody else, or going round a confirmation",
    ] {
        let on = |text: &str| text.to_lowercase().contains(&promise.to_lowercase());
        assert!(on(&words) && on(&page), "{promise}");
    }
    assert!(page.contains("href=\"mailto:a@music.example\"") && page.contains(">a@music.example<"));
    // The table of supported versions has the version that is built here, and the contact is where it says.
    let version: Vec<&str> = env!("CARGO_PKG_VERSION").split('.').take(2).collect();
    assert!(text.contains(&format!("| {} | yes |", version.join("."))), "SECURITY.md: supported versions");
    assert!(text.contains("/.well-known/security.txt") && text.contains("SPIN_VARIABLE_SECURITY_CONTACT"));
    assert!(root.join("docs/security.md").is_file());
}
