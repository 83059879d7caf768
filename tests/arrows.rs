//! Who may know whom (docs/ARCHITECTURE.md): packages by cargo's own graph, modules of `src/` by what their lines name, files by what they
//! import.

mod circles;
mod sizes;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Packages that bring a runtime, a device or a service with them, and the one package of ours that may name each.
const KEEPERS: [(&str, &str); 7] = [
    ("wgpu", "loopmaster-gpu"),
    ("tokio", "loopmaster"),
    ("axum", "loopmaster"),
    ("sqlx", "loopmaster"),
    ("aws-sdk-s3", "loopmaster"),
    ("reqwest", "loopmaster"),
    ("spin-sdk", "loopmaster-edge"),
];

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The names of everything `package` is built from, itself included; tests and build scripts of others are not shipped.
fn built_from(package: &str, features: &[&str]) -> BTreeSet<String> {
    let mut arguments = vec!["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"];
    arguments.extend(features);
    cargo(&arguments).lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// The packages of the workspace that name `dependency` in their manifest.
fn named_by(dependency: &str) -> BTreeSet<String> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).unwrap();
    let names = |package: &Value| package["dependencies"].as_array().unwrap().iter().any(|d| d["name"] == dependency);
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().filter(|p| names(p)).map(|p| p["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_engine_knows_no_runtime_and_none_of_ours() {
    let core = built_from("loopmaster-core", &["--all-features"]);
    // Without these two the list would be empty or of another package, and the rest could not fail.
    assert!(core.contains("loopmaster-core") && core.contains("realfft"), "{core:?}");
    let ours: Vec<_> = core.iter().filter(|name| name.starts_with("loopmaster")).collect();
    assert_eq!(ours, ["loopmaster-core"]);
    for (outsider, _) in KEEPERS {
        assert!(!core.contains(outsider), "loopmaster-core must not be built from {outsider}");
    }
}

#[test]
fn the_edge_carries_no_dsp() {
    let edge = built_from("loopmaster-edge", &[]);
    assert!(edge.contains("loopmaster-core") && edge.contains("serde"), "{edge:?}");
    for heavy in ["realfft", "rustfft", "rayon", "symphonia", "loopmaster-gpu", "loopmaster"] {
        assert!(!edge.contains(heavy), "loopmaster-edge must not be built from {heavy}");
    }
}

/// Of everything `packages` are built from along these edges: name, version and features.
fn features(packages: &[&str], edges: &str) -> BTreeSet<String> {
    let mut arguments = vec!["tree", "--edges", edges, "--prefix", "none", "--format", "{p} [{f}]"];
    arguments.extend(packages.iter().flat_map(|package| ["--package", package]));
    cargo(&arguments).lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
}

/// Build scripts and macros included; a crate that both sides use may stand there twice.
const ALL: &str = "normal,build";

/// `./run master` builds the first, `./run push` the second, `./run` all of them.
#[test]
fn what_was_built_for_a_part_is_not_built_again_for_the_whole() {
    const PROGRAMS: [&[&str]; 3] = [&["loopmaster-cli"], &["loopmaster"], &["loopmaster", "loopmaster-edge-host"]];
    // What runs is looked at by itself: with all in one, the features of a build script's crate hide those of the program's.
    for edges in ["normal,no-proc-macro", ALL] {
        let parts = PROGRAMS.map(|packages| features(packages, edges));
        for pair in parts.windows(2) {
            let again: Vec<_> = pair[0].difference(&pair[1]).collect();
            assert!(
                again.is_empty(),
                "the larger program asks more of these; say so in the smaller one's Cargo.toml: {again:#?}"
            );
        }
        // A canary: the whole has crates that the part has not, and the lists hold features at all.
        let lengths = parts.each_ref().map(BTreeSet::len);
        assert!(lengths[1] > 2 * lengths[0] && parts[0].iter().any(|line| line.contains("derive,")), "{lengths:?}");
    }
}

#[test]
fn the_small_program_is_small() {
    let small = built_from("loopmaster-cli", &[]);
    assert!(small.contains("loopmaster-core") && small.contains("clap"), "{small:?}");
    for (outsider, _) in KEEPERS {
        assert!(!small.contains(outsider), "loopmaster-cli must not be built from {outsider}");
    }
    let all = features(&["loopmaster-cli"], ALL).len();
    assert!(all <= 170, "{all} crates; whoever wants to master a file waits for each of them");
}

#[test]
fn each_runtime_is_named_by_its_keeper_only() {
    let gpu = named_by("loopmaster-gpu");
    assert_eq!(gpu.iter().collect::<Vec<_>>(), ["loopmaster"], "only the whole program knows graphics cards");
    for (outsider, keeper) in KEEPERS {
        // The edge's host stands where Spin does, beside the product: it runs on tokio, too, and so does what both listen with.
        let beside = ["loopmaster-edge-host", "loopmaster-net"];
        let host = |name: &String| outsider == "tokio" && beside.contains(&name.as_str());
        let others: Vec<_> = named_by(outsider).into_iter().filter(|name| name != keeper && !host(name)).collect();
        assert!(others.is_empty(), "{outsider} belongs to {keeper}; it is also named by {others:?}");
    }
}

/// A word that belongs into some rooms of `src/` and nowhere else.
struct Rule {
    what: &'static str,
    /// Whether a line of code names it.
    names: fn(&str) -> bool,
    /// Files and folders that may, each for a reason.
    rooms: &'static [&'static str],
    /// Files that still do. A file leaves this list when it is mended; none joins it.
    left: &'static [&'static str],
}

const RULES: [Rule; 6] = [
    Rule {
        what: "axum and status codes belong to http",
        names: |line| holds_word(line, "axum") || holds_word(line, "StatusCode"),
        rooms: &[
            "http/",
            // An S3 endpoint is HTTP itself.
            "store/embedded/",
            // Clients of other servers: what they answer is theirs.
            "push/",
            "outside/",
        ],
        left: &[],
    },
    Rule {
        what: "http is known to whoever starts it, and to nobody else",
        names: |line| names_module(line, "http"),
        rooms: &["http/", "serve.rs"],
        left: &[],
    },
    Rule {
        what: "the domain stands above database, queue, storage and worker",
        names: |line| names_module(line, "domain"),
        rooms: &[
            "domain/",
            "http/",
            "serve.rs",
            "serve/",
            "admin.rs",
            "chores.rs",
            "service.rs",
            // A word that can be typed is one of the domain's.
            "cli/",
            // Refuses uploads in the domain's words.
            "health.rs",
        ],
        left: &[],
    },
    Rule {
        what: "what speaks to others stands below the domain, and db, queue and store below both",
        names: |line| names_module(line, "outside"),
        rooms: &["domain/", "outside/", "http/", "serve/", "admin.rs", "chores.rs", "service.rs", "config/"],
        left: &[],
    },
    Rule {
        what: "SQL belongs to domain, queue, db and work",
        names: holds_sql,
        rooms: &["domain/", "queue/", "db/", "work/"],
        left: &[],
    },
    Rule {
        what: "clap belongs to what can be typed",
        names: |line| holds_word(line, "clap"),
        rooms: &["cli.rs", "cli/", "main.rs"],
        left: &[],
    },
];

fn holds_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}

/// Whether a line, or a whole `use`, names a module of the crate: by its path, from a parent, or in a group.
fn names_module(line: &str, module: &str) -> bool {
    let by_path = |parent: &str| {
        line.split(parent)
            .skip(1)
            .any(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next() == Some(module))
    };
    let group = line.split_once("use crate::{").is_some_and(|(_, names)| holds_word(names, module));
    by_path("crate::") || by_path("super::super::") || group
}

fn holds_sql(line: &str) -> bool {
    let holds = |word: &str| line.contains(&format!("\"{word}")) || line.trim_start().starts_with(word);
    holds_word(line, "sqlx") || ["SELECT ", "INSERT INTO ", "DELETE FROM ", "UPDATE "].into_iter().any(holds)
}

/// The code of a file, line by line, a `use` over several lines as one: without comments, and without the tests at its end.
fn code(text: &str) -> Vec<(usize, String)> {
    let text = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    let mut found = Vec::new();
    while let Some((number, line)) = lines.next() {
        let mut whole = line.to_owned();
        let begins = line.trim_start();
        let begins =
            begins.split_once(" use ").filter(|(before, _)| before.starts_with("pub")).map_or(begins, |_| "use ");
        while begins.starts_with("use ") && !whole.contains(';') {
            let Some((_, more)) = lines.next() else { break };
            whole.push_str(more.trim_start());
        }
        found.push((number + 1, whole));
    }
    found
}

fn is_in(file: &str, rooms: &[&str]) -> bool {
    rooms.iter().any(|room| if room.ends_with('/') { file.starts_with(room) } else { file == *room })
}

/// Every line of `files` that breaks a rule, as `file:line: rule`.
fn broken(files: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (file, text) in files {
        for rule in RULES.iter().filter(|rule| !is_in(file, rule.rooms) && !is_in(file, rule.left)) {
            for (number, line) in code(text).into_iter().filter(|(_, line)| (rule.names)(line)) {
                found.push(format!("src/{file}:{number}: {}: {}", rule.what, line.trim()));
            }
        }
    }
    found
}

/// The files of `folder`, by their path there.
fn sources(folder: &str) -> Vec<(String, String)> {
    fn walk(folder: &std::path::Path, root: &std::path::Path, files: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, files);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = Vec::new();
    walk(&root, &root, &mut files);
    files.sort();
    files
}

#[test]
fn modules_know_only_what_lies_below_them() {
    let files = sources("src");
    let found = broken(&files);
    assert!(found.is_empty(), "{}", found.join("\n"));
    // Whoever has been mended is taken off the list, so that it cannot fall back.
    for rule in &RULES {
        for left in rule.left {
            let text = files.iter().find(|(file, _)| file == left).map(|(_, text)| text.as_str());
            let text = text.unwrap_or_else(|| panic!("src/{left} is gone; take it off `{}`", rule.what));
            let names = code(text).iter().any(|(_, line)| (rule.names)(line));
            assert!(names, "src/{left} keeps to it: take it off the list of `{}`", rule.what);
        }
    }
}

/// The rooms of the engine, the lowest floor first: a room knows those below its own floor, and those on it that stand before it.
const FLOORS: [&[&str]; 8] = [
    &["units", "settings", "stage", "retention", "signing", "machine", "admission", "bands", "samples", "audio"],
    &["meter", "resample", "control"],
    &["decode", "analyse"],
    &["plan"],
    &["render"],
    &["encode", "verify", "report"],
    &["error", "deliver"],
    &["master"],
];

/// Every line of the engine that names a room above its own, as `file:line`.
fn upward(files: &[(String, String)]) -> Vec<String> {
    let rooms: Vec<&str> = FLOORS.concat();
    let height = |room: &str| rooms.iter().position(|known| *known == room);
    let mut found = Vec::new();
    for (file, text) in files.iter().filter(|(file, _)| !file.ends_with("tests.rs") && file != "lib.rs") {
        let room = file.split(['/', '.']).next().unwrap();
        let own = height(room).unwrap_or_else(|| panic!("core/src/{file}: on which floor does `{room}` stand?"));
        for (number, line) in code(text) {
            let named = line.match_indices("crate::").flat_map(|(at, _)| {
                let rest = &line[at + "crate::".len()..];
                let several = rest.strip_prefix('{').and_then(|rest| rest.split('}').next());
                several.map_or_else(|| vec![rest], |inside| inside.split(',').map(str::trim).collect())
            });
            let names =
                named.map(|path| path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default());
            if names.into_iter().filter_map(height).any(|other| other > own) {
                found.push(format!("core/src/{file}:{number}: {}", line.trim()));
            }
        }
    }
    found
}

#[test]
fn the_rooms_of_the_engine_stand_on_each_other() {
    let files = sources("core/src");
    assert!(files.len() > 100, "{}", files.len());
    let found = upward(&files);
    assert!(found.is_empty(), "{}", found.join("\n"));

    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let bad = [
        file("analyse/bad.rs", "use crate::Audio;\nuse crate::plan::Plan;\n// use crate::render::Trace;\n"),
        file("meter.rs", "use crate::{\n    units::Db,\n    analyse::Analysis,\n};\n"),
        file("render/fine.rs", "use crate::plan::Plan;\nuse super::kernels::Grid;\n"),
        file("units.rs", "fn a() -> crate::control::Trace { todo!() }\n"),
    ];
    let places: Vec<String> = upward(&bad).iter().map(|line| line.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(places, ["core/src/analyse/bad.rs:2", "core/src/meter.rs:1", "core/src/units.rs:1"]);
}

#[test]
fn a_forbidden_arrow_is_found() {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let found = broken(&[
        file(
            "domain/bad.rs",
            "use axum::http::StatusCode;\n// use crate::http::App;\nuse crate::http::problem::Problem;\n",
        ),
        file(
            "queue/bad.rs",
            "use crate::db::Db;\nuse crate::{\n    config,\n    domain::error,\n};\nlet a = super::super::domain::limits::spend();\n",
        ),
        file("picture.rs", "let text = \"SELECT 1\";\nuse clap::Parser;\n"),
        file("work/bad.rs", "use crate::{db, http};\n#[cfg(test)]\nmod tests {\n    use crate::http::App;\n}\n"),
        file("http/fine.rs", "use axum::Router;\nuse crate::domain::error::Error;\n"),
    ]);
    let places: BTreeSet<&str> = found.iter().map(|line| line.split(": ").next().unwrap()).collect();
    let expected = [
        "domain/bad.rs:1",
        "domain/bad.rs:3",
        "picture.rs:1",
        "picture.rs:2",
        "queue/bad.rs:2",
        "queue/bad.rs:6",
        "work/bad.rs:1",
    ];
    assert_eq!(places, expected.map(|place| format!("src/{place}")).iter().map(String::as_str).collect(), "{found:#?}");
}

/// Tables that two modules write still, and the second of them: the worker's half of a master, which it writes in the transaction that
/// ends its lease. A table leaves this list when it has one owner; none joins it.
const SHARED: [(&str, &str); 3] = [("artifacts", "work/"), ("masters", "work/"), ("results", "work/")];

/// Who writes each table: files of `src/`, a folder that is one module counted as one. What the sweeper and the clock's guard do to
/// every table with a time, by the table of periods, names none.
fn writers(files: &[(String, String)]) -> BTreeMap<String, BTreeSet<String>> {
    let mut writers = BTreeMap::<String, BTreeSet<String>>::new();
    for (file, text) in files {
        let parts: Vec<&str> = file.split('/').collect();
        let module = match parts[..] {
            ["domain", folder @ ("uploads" | "masters" | "zips"), _] => format!("domain/{folder}/"),
            [folder @ ("queue" | "work"), ..] => format!("{folder}/"),
            _ => file.clone(),
        };
        for (_, line) in code(text) {
            for word in ["INSERT INTO ", "DELETE FROM ", "UPDATE "] {
                for (at, _) in line.match_indices(word) {
                    let named = |c: &char| c.is_ascii_lowercase() || *c == '_';
                    let table: String = line[at + word.len()..].chars().take_while(named).collect();
                    if !table.is_empty() {
                        writers.entry(table).or_default().insert(module.clone());
                    }
                }
            }
        }
    }
    writers
}

#[test]
fn each_table_has_one_module_that_writes_it() {
    let writers = writers(&sources("src"));
    // Without these the scan would be blind, and the rest could not fail.
    assert!(writers.len() >= 25 && writers["objects"].contains("db/objects.rs"), "{writers:#?}");
    for (table, modules) in &writers {
        let second = SHARED.iter().find(|(shared, _)| shared == table).map(|(_, second)| *second);
        assert!(
            modules.len() == 1 + usize::from(second.is_some()) && second.is_none_or(|second| modules.contains(second)),
            "{table} is written by {modules:?}: give the statement to its owner, or take it off the list of those with two"
        );
    }
}

#[test]
fn a_second_writer_is_found() {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let found = writers(&[
        file("domain/uploads/mod.rs", "let a = \"UPDATE uploads SET x = 1\";\n// DELETE FROM tokens\n"),
        file("domain/uploads/room.rs", "let a = \"INSERT INTO uploads (id)\";\n"),
        file("admin.rs", "sqlx::query(\"DELETE FROM uploads WHERE id = $1\")\n"),
    ]);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["uploads"]);
    assert_eq!(found["uploads"].iter().collect::<Vec<_>>(), ["admin.rs", "domain/uploads/"]);
}
