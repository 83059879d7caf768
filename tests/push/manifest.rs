//! `loopmaster push --manifest`: a catalogue that is looked at as a whole before anything is sent, and what comes of its rows in a real
//! service.

use super::{World, told};
use crate::cli::{music, wav};
use crate::service::Service;
use loopmaster_core::decode::{Tags, decode_file};
use loopmaster_core::settings::Limits;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Row, code and reason of what was rejected.
fn rejected(path: &Path, separator: u8) -> Vec<(u64, String, String)> {
    let mut reader = csv::ReaderBuilder::new().delimiter(separator).from_path(path).unwrap();
    let columns = reader.headers().unwrap().clone();
    let at = |name: &str| columns.iter().position(|column| column == name).unwrap();
    let (row, code, reason) = (at("row"), at("code"), at("reason"));
    let records = reader.records().map(Result::unwrap);
    records.map(|record| (record[row].parse().unwrap(), record[code].to_owned(), record[reason].to_owned())).collect()
}

fn short(seconds: f64, gain: f32) -> Vec<u8> {
    wav(&music(44_100, seconds, gain), 44_100, false)
}

#[test]
fn a_thousand_rows_are_looked_at_before_one_is_sent() {
    let world = World::new();
    std::fs::write(world.file("mixes/0.wav"), short(0.1, 0.5)).unwrap();
    for number in 1..1_000 {
        std::fs::hard_link(world.file("mixes/0.wav"), world.file(&format!("mixes/{number}.wav"))).unwrap();
    }
    std::fs::write(world.file("mixes/letter.wav"), "Dear Sir or Madam,\nthis is no music.\n".repeat(50)).unwrap();
    std::fs::write(world.file("mixes/nothing.wav"), "").unwrap();
    let long = "x".repeat(501);
    // By number: file, title, isrc, style, loudness, formats, track, reference; the code and a part of the reason.
    let wrong: [(usize, [&str; 8], &str, &str); 17] = [
        (3, ["gone.wav", "", "", "", "", "", "", ""], "decode.missing", "no such file"),
        (40, ["", "Title", "", "", "", "", "", ""], "manifest.no_file", "names no file"),
        (41, ["letter.wav", "", "", "", "", "", "", ""], "decode.not_audio", "not an audio file"),
        (77, ["nothing.wav", "", "", "", "", "", "", ""], "decode.not_audio", ""),
        (100, [".", "", "", "", "", "", "", ""], "decode.not_audio", "this is no file"),
        (200, ["200.wav", "", "DE-A12-26-123", "", "", "", "", ""], "tags.isrc", "DE-A12-26-00001"),
        (201, ["201.wav", "", "DEA122699999", "", "", "", "", ""], "manifest.isrc_twice", "row 902,"),
        (300, ["299.wav", "", "", "", "", "", "", ""], "manifest.file_twice", "row 301 has the same file"),
        (400, ["400.wav", "", "", "", "-3", "", "", ""], "plan.out_of_range", "-40 to -5 LUFS"),
        (401, ["401.wav", "", "", "", "spotfy", "", "", ""], "plan.unknown_destination", "did you mean `spotify`?"),
        (402, ["402.wav", "", "", "wram", "", "", "", ""], "plan.unreadable_setting", "did you mean `warm`?"),
        (500, ["500.wav", "", "", "", "", "flac42", "", ""], "plan.unreadable_setting", "did you mean `flac24`?"),
        (501, ["501.wav", "", "", "", "", "", "0", ""], "tags.number", "1 to 9999"),
        (502, ["502.wav", "", "", "", "", "", "first", ""], "plan.unreadable_setting", "a whole number"),
        (600, ["600.wav", "", "", "", "", "", "", "record.flac"], "decode.missing", "the reference"),
        (900, ["900.wav", "", "de-a12-26-99999", "", "", "", "", ""], "manifest.isrc_twice", "row 203,"),
        (999, ["999.wav", &long, "", "", "", "", "", ""], "tags.too_long", "501 characters"),
    ];
    let mut text = "file,title,isrc,style,loudness,formats,track,reference\n".to_owned();
    for number in 0..1_000 {
        let row = match wrong.iter().find(|(wrong, ..)| *wrong == number) {
            Some((_, cells, ..)) => cells.join(","),
            None => format!("{number}.wav,Song {number},DE-A12-26-{number:05},,-14,\"wav24,mp3-320\",{},", number + 1),
        };
        writeln!(text, "{row}").unwrap();
    }
    std::fs::write(world.file("mixes/catalogue.csv"), text).unwrap();
    let args = ["--manifest", "mixes/catalogue.csv", "--strict", "-o", "out", "--token", "lmt_right"];
    let (good, events) = world.push(&args);
    assert!(!good);
    let failed: Vec<&Value> = events.iter().filter(|event| event["event"] == "failed").collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0]["code"], "manifest.rejected");
    assert!(failed[0]["message"].as_str().unwrap().starts_with("17 of 1000 rows are rejected"), "{failed:?}");
    let rows = rejected(&world.file("mixes/catalogue.csv.rejected.csv"), b',');
    let expected = wrong.iter().map(|(number, _, code, _)| (*number as u64 + 2, (*code).to_owned()));
    let found = rows.iter().map(|(row, code, _)| (*row, code.clone()));
    assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    for ((.., part), (row, _, reason)) in wrong.iter().zip(&rows) {
        assert!(reason.contains(part), "row {row}: {reason}");
    }
    let told = events.iter().filter(|event| event["event"] == "rejected").count();
    world.service.seen(|seen| {
        assert_eq!((told, seen.created, seen.puts.len(), seen.batches.len(), seen.signed), (17, 0, 0, 0, 0));
    });
    // People read a table.
    let mut command = Command::new(env!("CARGO_BIN_EXE_loopmaster"));
    command.arg("push").args(args).current_dir(world.file("")).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("17 of 1000 rows are rejected:\n   row  file"), "{said}");
    assert!(said.contains("\n   404  402.wav      style `wram` is not known"), "{said}");
    assert!(said.contains("catalogue.csv.rejected.csv; nothing is sent."), "{said}");
}

#[test]
fn a_manifest_that_is_none_is_said() {
    let world = World::new();
    std::fs::write(world.file("a.wav"), short(0.1, 0.5)).unwrap();
    for (text, code, part) in [
        ("file,tittle\na.wav,x\n", "manifest.unknown_column", "did you mean `title`?"),
        ("file,Loud Ness\na.wav,x\n", "manifest.unknown_column", "there is no column `Loud Ness`"),
        ("title\nx\n", "manifest.no_file_column", "no column `file`"),
        ("file,Title,title\na.wav,x,y\n", "manifest.column_twice", "`title`"),
        ("file\n", "manifest.empty", "no rows"),
        ("", "manifest.empty", "no rows"),
        ("[{\"file\":\"a.wav\",}]", "manifest.json", "line 1"),
    ] {
        std::fs::write(world.file("m.csv"), text).unwrap();
        let (good, events) = world.push(&["--manifest", "m.csv", "--token", "lmt_right"]);
        assert!(!good, "{text}");
        let failed: Vec<&Value> = events.iter().filter(|event| event["event"] == "failed").collect();
        assert_eq!(failed.len(), 1, "{text}: {failed:?}");
        assert_eq!(failed[0]["code"], code, "{text}: {failed:?}");
        assert!(failed[0]["message"].as_str().unwrap().contains(part), "{text}: {failed:?}");
    }
    let (good, events) = world.push(&["--manifest", "gone.csv", "--token", "lmt_right"]);
    assert!(!good && events.iter().any(|event| event["code"] == "push.file"), "{events:#?}");
    world.service.seen(|seen| assert_eq!((seen.created, seen.puts.len()), (0, 0)));
}

#[test]
fn options_are_for_empty_cells_and_the_list_of_results_never_replaces_a_manifest() {
    let world = World::new();
    for name in ["a", "b", "record"] {
        std::fs::write(world.file(&format!("mixes/{name}.wav")), short(0.2, 0.4)).unwrap();
    }
    let manifest = json!([
        { "file": "mixes/a.wav", "style": "warm", "track": 3, "formats": ["flac24", "mp3-320"], "insist": true },
        { "file": "mixes\\b.wav", "title": "B", "only": "loudness", "reference": "mixes/record.wav", "reference_amount": "1,2,3,4" },
    ]);
    std::fs::write(world.file("manifest.json"), manifest.to_string()).unwrap();
    let args = [
        "--manifest",
        "manifest.json",
        "--style",
        "loud",
        "--tag",
        "artist=Ana",
        "--format",
        "wav16",
        "--token",
        "lmt_right",
    ];
    let (good, events) = world.push(&[&args[..], &["-o", "."]].concat());
    assert!(good, "{events:#?}");
    let settings = |name: &str| {
        world.service.seen(|seen| {
            let upload =
                seen.uploads.values().find(|upload| upload.name == name && !upload.settings.is_null()).unwrap();
            (upload.settings.clone(), upload.reference.clone(), upload.position)
        })
    };
    let (a, reference, position) = settings("a.wav");
    assert_eq!(
        (a["style"].as_str(), a["insist"].as_bool(), reference, position),
        (Some("warm"), Some(true), None, Some(1))
    );
    assert_eq!((&a["formats"], &a["tags"]), (&json!(["flac24", "mp3-320"]), &json!({ "artist": "Ana", "track": 3 })));
    let (b, reference, position) = settings("b.wav");
    assert_eq!((b["style"].as_str(), reference.is_some(), position), (Some("loud"), true, Some(2)));
    assert_eq!((&b["formats"], &b["tags"]), (&json!(["wav16"]), &json!({ "artist": "Ana", "title": "B" })));
    assert_eq!(b["reference"], json!({ "tone": 1, "dynamics": 2, "width": 3, "loudness": 4 }));
    assert_eq!((&b["strength"]["overall"], &b["strength"]["loudness"]), (&json!(0), &json!(50)));
    // The masters keep the folders of the manifest, whose name is taken.
    assert!(world.file("mixes/a (master) 24-bit.wav").exists());
    let kept: Value = serde_json::from_slice(&std::fs::read(world.file("manifest.json")).unwrap()).unwrap();
    assert_eq!(kept, manifest);
    assert!(world.file("manifest.delivered.json").exists());
    // From elsewhere it is the same push.
    let created = world.service.seen(|seen| seen.created);
    let position = args.iter().position(|argument| *argument == "manifest.json").unwrap();
    let mut moved = args.map(str::to_owned);
    moved[position] = world.file("manifest.json").display().to_string();
    let moved: Vec<&str> = moved.iter().map(String::as_str).chain(["-o", ".."]).collect();
    let (good, events) = told(world.command(&moved).current_dir(world.file("mixes")).output().unwrap());
    assert!(good, "{events:#?}");
    assert_eq!(world.service.seen(|seen| seen.created), created);
}

/// A folder with a manifest, and what `push` makes of it in a service.
struct Catalogue {
    folder: TempDir,
    service: Service,
    user: String,
    token: String,
}

impl Catalogue {
    async fn new() -> Self {
        let service = Service::working().await;
        let user = service.user("label@example.com").await.user.unwrap();
        let token = service.token(&user, "uploads masters").await;
        Self { folder: tempfile::tempdir().unwrap(), service, user, token }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn push(&self, more: &[&str]) -> (bool, Vec<Value>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loopmaster"));
        command
            .args(["push", "--manifest", "catalogue.csv", "-o", "out", "--json", "--url", &self.service.url])
            .args(more);
        command.current_dir(self.folder.path()).env("LOOPMASTER_TOKEN", &self.token).env("NO_PROXY", "127.0.0.1");
        command.env("XDG_STATE_HOME", self.path("state")).stdin(Stdio::null());
        told(tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap())
    }

    /// Uploads and masters of the account.
    async fn counts(&self) -> (i64, i64) {
        let count = async |table: &str| {
            self.service.number(&format!("SELECT COUNT(*) FROM {table} WHERE owner = $1"), &self.user).await
        };
        (count("uploads").await, count("masters").await)
    }

    async fn settings(&self, title: &str) -> Value {
        let text = "SELECT settings FROM masters WHERE title = $1 ORDER BY id DESC";
        serde_json::from_str(&self.service.value(text, title).await.unwrap()).unwrap()
    }
}

fn tags(path: &Path) -> Tags {
    decode_file(path, &Limits::default()).unwrap_or_else(|error| panic!("{}: {error}", path.display())).tags
}

/// What a program that is not ours reads.
fn probed(path: &Path) -> Value {
    let output =
        Command::new("ffprobe").args(["-v", "error", "-show_entries", "format_tags", "-of", "json"]).arg(path).output();
    let shown: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    let tags = shown["format"]["tags"].as_object().unwrap();
    tags.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect::<serde_json::Map<_, _>>().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_masters_of_a_catalogue_carry_its_tags_and_settings() {
    let catalogue = Catalogue::new().await;
    std::fs::create_dir(catalogue.path("b")).unwrap();
    for (at, name) in ["one", "two", "three", "four", "b/five", "b/six", "seven"].iter().enumerate() {
        let mix = short(2.0 + 0.1 * at as f64, 0.3 + 0.05 * at as f32);
        std::fs::write(catalogue.path(&format!("{name}.wav")), mix).unwrap();
    }
    let manifest = |seventh: &str, first: &str| {
        let text = format!(
            "\u{feff}File;Title;Artist;Album;Track;ISRC;Style;Loudness;Ceiling;Formats\r\n\
             one.wav;{first};Ana;Roads;1;DE-A12-26-00001;warm;-14,5;-2;flac24\r\n\
             two.wav;\"Two; \"\"live\"\"\";Ana;Roads;2/7;DEA122600002;;spotify;;flac16\r\n\
             three.wav;Дорога;Ana;Roads;3;de-a12-26-00003;loud;;;wav24, mp3-320\r\n\
             four.wav;;;;;;;;;\r\n\
             b/five.wav;Five;Ben;Rivers;1;DE-B12-26-00001;gentle;;;\r\n\
             b/six.wav;Six;Ben;Rivers;2;DE-B12-26-00002;;;;\r\n\
             seven.wav;Seven;Ana;Roads;7;{seventh};;;;\r\n"
        );
        std::fs::write(catalogue.path("catalogue.csv"), text).unwrap();
    };
    manifest("DE-A12-26-7", "One");
    let (good, events) = catalogue.push(&[]).await;
    assert!(!good, "a row is rejected");
    assert!(events.iter().all(|event| event["event"] != "failed"), "{events:#?}");
    let summary = events.last().unwrap();
    assert_eq!((&summary["mastered"], &summary["failed"], &summary["left_out"]), (&json!(6), &json!(0), &json!(1)));
    let rows = rejected(&catalogue.path("catalogue.csv.rejected.csv"), b';');
    assert_eq!(rows.iter().map(|(row, code, _)| (*row, code.as_str())).collect::<Vec<_>>(), [(8, "tags.isrc")]);
    assert_eq!(catalogue.counts().await, (6, 6));

    let one = probed(&catalogue.path("out/one (master) 24-bit 44.1 kHz.flac"));
    let read = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        [read("title"), read("artist"), read("album"), read("track"), read("isrc")],
        ["One", "Ana", "Roads", "1", "DEA122600001"]
    );
    let two = tags(&catalogue.path("out/two (master) 16-bit 44.1 kHz.flac"));
    assert_eq!(
        (two.title.as_deref(), two.track, two.isrc.as_deref()),
        (Some("Two; \"live\""), Some((2, Some(7))), Some("DEA122600002"))
    );
    for name in ["three (master) 24-bit 44.1 kHz.wav", "three (master) 320 kbps 44.1 kHz.mp3"] {
        let three = tags(&catalogue.path("out").join(name));
        assert_eq!((three.title.as_deref(), three.isrc.as_deref()), (Some("Дорога"), Some("DEA122600003")), "{name}");
    }
    let five = tags(&catalogue.path("out/b/five (master) 24-bit 44.1 kHz.wav"));
    assert_eq!(
        (five.title.as_deref(), five.album.as_deref(), five.isrc.as_deref()),
        (Some("Five"), Some("Rivers"), Some("DEB122600001"))
    );
    let one = catalogue.settings("One").await;
    assert_eq!(
        (&one["style"], &one["loudness"], &one["ceiling"]),
        (&json!("warm"), &json!({ "lufs": -14.5 }), &json!(-2.0))
    );
    assert_eq!(catalogue.settings("Two; \"live\"").await["loudness"], json!({ "destination": "spotify" }));
    assert_eq!(catalogue.settings("four").await["style"], "balanced");

    // Again: nothing is sent and nothing made.
    let (good, _) = catalogue.push(&[]).await;
    assert!(!good);
    assert_eq!(catalogue.counts().await, (6, 6));
    // The row is mended: it goes alone.
    manifest("DE-A12-26-00007", "One");
    let (good, events) = catalogue.push(&[]).await;
    assert!(good, "{events:#?}");
    assert_eq!(catalogue.counts().await, (7, 7));
    assert_eq!(tags(&catalogue.path("out/seven (master) 24-bit 44.1 kHz.wav")).isrc.as_deref(), Some("DEA122600007"));
    assert!(!catalogue.path("catalogue.csv.rejected.csv").exists());
    // Another title: another master of the mix that is there, in the place of the first.
    manifest("DE-A12-26-00007", "One again");
    let (good, events) = catalogue.push(&[]).await;
    assert!(good, "{events:#?}");
    assert_eq!(catalogue.counts().await, (7, 8));
    assert_eq!(tags(&catalogue.path("out/one (master) 24-bit 44.1 kHz.flac")).title.as_deref(), Some("One again"));
    let (good, _) = catalogue.push(&["--strict"]).await;
    assert!(good);
    assert_eq!(catalogue.counts().await, (7, 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tags_of_an_order_reach_every_master_of_a_mix() {
    let service = Service::start().await;
    let ana = service.user("ana@example.com").await;
    let tagged =
        json!({ "settings": { "tags": { "title": "Ours", "isrc": "DE-A12-26-00001", "track": 2, "tracks": 9 } } });
    let upload = ana.upload("mix.wav", &short(0.5, 0.5), tagged.clone()).await;
    let first = ana.get(&format!("/v1/masters/{}", upload["master"].as_str().unwrap())).await.good();
    assert_eq!((&first["title"], &first["settings"]["tags"]), (&json!("Ours"), &tagged["settings"]["tags"]));
    // Another master has them, too, unless it has its own.
    let rerun = format!("/v1/masters/{}/rerun", first["id"].as_str().unwrap());
    let second = ana.post(&rerun, json!({ "settings": { "style": "warm" } })).await.good();
    assert_eq!((&second["title"], &second["settings"]["tags"]), (&json!("Ours"), &first["settings"]["tags"]));
    let third = ana.post(&rerun, json!({ "settings": { "tags": { "title": "Theirs" } } })).await.good();
    assert_eq!((&third["title"], &third["settings"]["tags"]), (&json!("Theirs"), &json!({ "title": "Theirs" })));
    for (tags, code) in [
        (json!({ "isrc": "DE-A12-26-1" }), "tags.isrc"),
        (json!({ "title": "x".repeat(501) }), "tags.too_long"),
        (json!({ "artist": "a\u{7}" }), "tags.control_character"),
        (json!({ "track": 10_000 }), "tags.number"),
        (json!({ "tittle": "x" }), "request.invalid_field"),
    ] {
        let reply = ana.post(&rerun, json!({ "settings": { "tags": tags } })).await;
        assert_eq!(reply.problem(), (422, code.to_owned()));
    }
}
