//! The privacy policy: the text in force, the versions before it, and what holds the text to its date.

use super::icons::icon;
use super::layout::Frame;
use super::text::day;
use super::view::Provider;
use flate2::read::GzDecoder;
use loopmaster_core::retention::{BROWSER, CONFIRMATION, PERIODS, POLICY, Period, Place, Retention, duration};
use maud::{Markup, PreEscaped, html};
use serde::Deserialize;
use std::io::Read as _;

/// What the privacy page prints of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Privacy {
    /// Who else sees data.
    pub providers: Vec<Provider>,
    /// How long what is kept.
    pub retention: Retention,
    /// Whether the operator's settings are not known right now, and these are the defaults.
    #[serde(skip)]
    pub defaults: bool,
}

/// A version of the policy that has been published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Since when it holds.
    pub effective: &'static str,
    /// SHA-256 of its text, in hex.
    pub sha256: &'static str,
}

/// Every version that has been published, newest first, with the periods of a default installation. What was published is never
/// changed: a new text gets a new date and a new row. `published` in this file's tests says how.
pub const VERSIONS: [Policy; 3] = [
    Policy { effective: POLICY, sha256: "dae8e35959362c40163dc3f2b5bae77d8f7a0ac17bd3032010799561178842d4" },
    Policy { effective: "2026-11-30", sha256: "a35939f2e91f0c29a2c896d64cb5b6ca44754d4902ad64936cf1c497be23ff9a" },
    Policy { effective: "2026-11-25", sha256: "efa85a8caca8c4a84df383560c4643ecace216cdb2445c1e47ee9b05f8a17ced" },
];

/// The version with this date, if it is not the one in force.
#[must_use]
pub fn earlier_policy(date: &str) -> Option<&'static Policy> {
    VERSIONS.iter().find(|version| version.effective == date && date != POLICY)
}

/// The text of an earlier version; `build.rs` has packed the files of `policy`.
fn text_of(version: &Policy) -> String {
    let packed: &[u8] = match version.effective {
        "2026-11-30" => include_bytes!(concat!(env!("OUT_DIR"), "/policy-2026-11-30.html.gz")),
        "2026-11-25" => include_bytes!(concat!(env!("OUT_DIR"), "/policy-2026-11-25.html.gz")),
        _ => &[],
    };
    let mut text = Vec::new();
    // What the build packed can be unpacked; a test does it for every version.
    let unpacked = GzDecoder::new(packed).read_to_end(&mut text).is_ok();
    String::from_utf8(text).ok().filter(|_| unpacked).unwrap_or_default()
}

fn table(retention: &Retention) -> Markup {
    let row = |period: &Period| {
        let name = period.names.first().copied().filter(|_| period.place != Place::Service);
        html! {
            tr data-stored=[name] {
                th scope="row" { (period.what) }
                td { (period.place.name()) @if let Some(name) = name { " " code { (name) } } }
                td { (period.text(retention)) }
            }
        }
    };
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby="periods" {
            table.stored {
                thead { tr { th scope="col" { "What" } th scope="col" { "Where" } th scope="col" { "How long" } } }
                tbody { @for period in BROWSER.iter().chain(PERIODS) { (row(period)) } }
            }
        }
    }
}

/// The text of the policy in force. Its hash is held against its date.
fn text(privacy: &Privacy) -> Markup {
    html! {
        p.lead { "What we store, why, for how long, and what you can do about it. Effective " time datetime=(POLICY) { (day(POLICY)) } "." }
        ul.summary {
            li { "No trackers, no advertising, no third-party requests from these pages." }
            li { "Your music is used to master your music, and for nothing else." }
            li { "We sell nothing about you to anybody." }
            li { "You can download everything we have on you, and delete everything, by yourself." }
        }
        h2 { "What we store" }
        dl.facts-list {
            dt { "Your account" }
            dd { "Name, email address, a picture if you add one, and records of your sign-ins and sessions. You can change name, address and picture at any time." }
            dt { "Signing in with Google" }
            dd { "Only if you choose it. Google then tells us your name, address and picture, and an identifier of your Google account." }
            dt { "Your music" }
            dd { "File names, types and sizes, the state of each job, the uploads themselves, previews, masters and the files we deliver, with the settings and tags they were ordered with." }
            dt { "Presets" }
            dd { "Settings and tags that you keep under a name, until you delete them or your account." }
            dt { "Mixes we fetch for you" }
            dd { "If you give us the address of a mix instead of the file: that address, encrypted, until the file has come or cannot be had. The server we fetch it from sees our address, not yours." }
            dt { "Messages" }
            dd { "What you write through the contact form, with the address you give. If you are signed in, which account it was; if not, which guest. If we asked you to confirm that it was you, whether and when you did." }
            dt { "Security" }
            dd { "Your IP address reaches our servers, as with every site. We keep only a keyed hash of its prefix, to limit abuse, under a key that changes every day. Sessions store the name of your browser, so that you can tell them apart. Requests are logged with time, path and result." }
        }
        h2 { "What we use it for" }
        p { "To run accounts and uploads, to master, to play previews and deliver files, to prevent abuse and limit rates, and to answer you. There is no profile of you, and no music of yours trains anything." }
        h2 { "Who else sees it" }
        p { "Companies that run the machines, the storage, the processing and the security of the service, as far as they must; and authorities where the law leaves no choice. Nobody else." }
        @if privacy.providers.is_empty() {
            p { "This installation names no such company: it runs on its operator’s own machines." }
        } @else {
            ul.providers {
                @for provider in &privacy.providers {
                    li { strong { (provider.name) } @if !provider.purpose.is_empty() { ", " (provider.purpose) } @if !provider.country.is_empty() { " (" (provider.country) ")" } }
                }
            }
        }
        h2 #periods { "What is kept, where, and how long" }
        p { "The first rows are in your browser. All of them are needed for what you asked for, and none follows you anywhere. What has expired there is removed on your next visit. The other rows are with us; what has expired is removed within minutes." }
        (table(&privacy.retention))
        p.muted { "A backup may hold something you deleted until the backup itself is replaced. It is only used to repair the service, and what was deleted is then deleted again." }
        h2 { "What you can do" }
        ul {
            li { "Listen to, download and delete your songs in the " a href="/library" { "library" } "." }
            li { "Download one archive with everything we have on you, or delete your account, under " a href="/account" { "Account" } ". Each is one button." }
            li { "Ask us anything else through " a href="/contact" { "Contact us" } ": a correction, an objection, a question." }
        }
        p { "We make sure it is you before we act. If it is about an account, we mail a link to the account’s address. If it is about tracks you made as a guest, the link we mail you works only in the browser that made them. Such a link works once, for " (duration(CONFIRMATION)) "." }
        h2 { "Children" }
        p { "LoopMastering is not for children under 13, and signing up asks you to say that you are 13 or older. If you know of a child who uses it, " a href="/contact?topic=child" { "tell us" } ". We look into every such report and delete the account, or what the child made as a guest." }
        h2 { "When this changes" }
        p { "A new version gets a new date. Whoever has an account or guest tracks sees a notice on every page until they close it. Earlier versions stay here." }
    }
}

/// `/privacy`
#[must_use]
pub fn privacy(frame: &Frame<'_>, privacy: &Privacy) -> Markup {
    let main = html! {
        article.prose {
            h1 { "Privacy" }
            @if privacy.defaults {
                p.notice role="status" { (icon("info")) span { "The service does not answer right now. The periods and companies below are those of a default installation; reload the page later for the ones in force here." } }
            }
            (text(privacy))
            p {
                "Earlier versions: "
                @for (n, version) in VERSIONS[1..].iter().enumerate() {
                    @if n > 0 { ", " }
                    a href={ "/privacy/" (version.effective) } { (day(version.effective)) }
                }
                "."
            }
        }
    };
    frame.page("site", "Privacy", "What LoopMastering stores, why, for how long, and what you can do about it.", &main)
}

/// `/privacy/<date>`
#[must_use]
pub fn earlier_privacy(frame: &Frame<'_>, version: &Policy) -> Markup {
    let after = VERSIONS.iter().take_while(|other| other.effective != version.effective).last();
    let until = after.map_or(POLICY, |version| version.effective);
    let main = html! {
        article.prose {
            p.notice role="status" {
                (icon("info"))
                span { "This version was in force from " (day(version.effective)) " until " (day(until)) ", with these periods unless the operator had set others. " a href="/privacy" { "Read the current version" } "." }
            }
            h1 { "Privacy: an earlier version" }
            (PreEscaped(text_of(version)))
        }
    };
    frame.page("site", "Privacy, earlier version", "", &main)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::hex;
    use sha2::{Digest, Sha256};
    use std::path::{Path, PathBuf};

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pages/policy")
    }

    fn digest(text: &str) -> String {
        hex(&Sha256::digest(text.as_bytes()))
    }

    /// `LOOPMASTER_GOLDEN=update cargo test -p loopmaster-edge published` writes the file of a date that has none yet.
    #[test]
    fn published_text_has_its_date_for_good() {
        let text = text(&Privacy::default()).into_string();
        let file = folder().join(format!("{POLICY}.html"));
        if std::env::var("LOOPMASTER_GOLDEN").is_ok_and(|wish| wish == "update") && !file.exists() {
            std::fs::write(&file, &text).unwrap();
        }
        let how = format!(
            "The text of the privacy policy (or a period in it) is not the one published as of {POLICY}.\n\
             People have agreed to that one, so:\n\
             1. set loopmaster_core::retention::POLICY to the day the new text takes effect;\n\
             2. run LOOPMASTER_GOLDEN=update cargo test -p loopmaster-edge published, which writes policy/<that day>.html;\n\
             3. add a row with that day and sha256 {} at the top of VERSIONS, and give the row of {POLICY} its date in words;\n\
             4. add the file of {POLICY} to text_of().\n\
             Never change a file or a hash of a day that has been published.",
            digest(&text)
        );
        assert!(std::fs::read_to_string(&file).is_ok_and(|published| published == text), "{how}");
        assert_eq!(VERSIONS[0], Policy { effective: POLICY, sha256: VERSIONS[0].sha256 }, "{how}");
        for version in &VERSIONS {
            let file = folder().join(format!("{}.html", version.effective));
            let published =
                std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            assert_eq!(digest(&published), version.sha256, "{} was changed after it was published", version.effective);
            if version.effective != POLICY {
                assert_eq!(text_of(version), published, "text_of() has to give the version of {}", version.effective);
            }
        }
        assert_eq!(std::fs::read_dir(folder()).unwrap().count(), VERSIONS.len(), "a file for each version");
        assert!(VERSIONS.is_sorted_by(|newer, older| newer.effective > older.effective), "newest first");
    }

    #[test]
    fn the_table_is_printed_whole_with_the_operators_figures() {
        let files = |_: &str| super::super::Files::default();
        let me = super::super::view::Me::default();
        let retention = Retention { guest_days: 3, ticket_days: 100, ..Retention::default() };
        let page = privacy(&Frame::new(&files, &me, "/privacy"), &Privacy { retention, ..Privacy::default() });
        let page = page.into_string();
        assert_eq!(page.matches("<table").count(), 1, "one table");
        for period in BROWSER.iter().chain(PERIODS) {
            assert!(page.contains(period.what) && page.contains(&period.text(&retention)), "{}", period.what);
        }
        assert!(page.contains("3 days after your newest track") && page.contains("100 days after we close them"));
        assert!(!page.contains("7 days after your newest track"));
        assert!(page.contains("href=\"/privacy/2026-11-25\""), "earlier versions are linked");
    }
}
