//! Files and functions stay short enough to be read at once. What is longer stands here, with the reason.

use std::path::Path;

/// Lines of a file, its tests included; files of tests alone may be longer.
const FILE: usize = 600;
/// Lines of a function, its head included.
const FUNCTION: usize = 120;

const FOLDERS: [&str; 8] =
    ["core/src", "gpu/src", "cli/src", "net/src", "private/src", "edge/src", "edge/host/src", "src"];

/// Files that are longer: at most three.
const LONG_FILES: [(&str, &str); 3] = [
    ("core/src/decode/mpeg.rs", "one standard, from the search for the first frame to the sound of the last"),
    ("core/src/master/mod.rs", "the walk of one track, stage after stage"),
    ("src/work/track.rs", "the way of one track through the worker, stage after stage"),
];

/// Functions that are longer.
const LONG_FUNCTIONS: [(&str, &str, &str); 10] = [
    ("core/src/analyse/findings.rs", "findings", "a list: one finding after the other"),
    ("core/src/decode/container.rs", "read", "what each container leaves to its reader, in the order of the file"),
    ("core/src/decode/mpeg.rs", "decode", "one loop over frames with all that may be wrong with one"),
    ("core/src/decode/ogg.rs", "read", "one loop over pages with all that may be wrong with one"),
    ("core/src/plan/mod.rs", "plan_on_album", "the decisions in their order; each is a function"),
    ("core/src/report/demo.rs", "report", "figures of a made-up track"),
    ("core/src/report/html/tables.rs", "chain", "a list: one row of the chain after the other"),
    ("gpu/src/gpu/shape.rs", "submit", "one submission: the kernels in their order, each with what it moves"),
    ("src/outside/mail/letter.rs", "words", "a list: the words of one letter after the other"),
    ("src/work/track.rs", "whole", "the walk of one track, with what ends it at each step"),
];

/// The name of the function that begins on a line, and the indentation that its end has.
fn begins(line: &str) -> Option<(&str, &str)> {
    let rest = line.trim_start();
    let indentation = &line[..line.len() - rest.len()];
    let (before, name) = rest.split_once("fn ")?;
    let plain = |word: &str| ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe"].contains(&word);
    let known = before.split_whitespace().all(|word| plain(word) || word.starts_with("pub(in"));
    let name = name.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    (known && !name.is_empty()).then_some((name, indentation))
}

/// Functions of more lines than `most`, with their length.
fn long_functions(text: &str, most: usize) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((name, indentation)) = begins(line) else { continue };
        let end = format!("{indentation}}}");
        let last = lines[at..].iter().position(|line| *line == end).unwrap_or(0);
        // A function on one line, or one without a body, ends before the next begins.
        let within = lines[at + 1..].iter().take(last.saturating_sub(1));
        let own = within.filter_map(|line| begins(line)).all(|(_, inner)| inner.len() > indentation.len());
        if own && last + 1 > most {
            found.push((name.to_owned(), last + 1));
        }
    }
    found
}

fn is_test(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.ends_with("/parity.rs")
}

fn sources(folder: &Path, root: &Path, files: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, root, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            files.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn files_and_functions_can_be_read_at_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in FOLDERS {
        sources(&root.join(folder), root, &mut files);
    }
    files.retain(|(name, _)| !is_test(name));
    // Without these nothing would have been looked at.
    assert!(files.len() > 250, "{} files", files.len());
    assert!(LONG_FILES.len() <= 3);
    let (mut long, mut functions) = (Vec::new(), Vec::new());
    for (name, text) in &files {
        if text.lines().count() > FILE {
            long.push(name.as_str());
        }
        functions.extend(
            long_functions(text, FUNCTION).into_iter().map(|(function, lines)| (name.as_str(), function, lines)),
        );
    }
    for name in &long {
        let lines = files.iter().find(|(file, _)| file == name).map_or(0, |(_, text)| text.lines().count());
        assert!(
            LONG_FILES.iter().any(|(file, _)| file == name),
            "{name} has {lines} lines; divide it by what it is about"
        );
    }
    for (name, function, lines) in &functions {
        let known = LONG_FUNCTIONS.iter().any(|(file, long, _)| file == name && long == function);
        assert!(known, "{name}: {function} has {lines} lines; divide it by what it does");
    }
    // Whoever has been mended is taken off the list.
    for (file, _) in LONG_FILES {
        assert!(long.contains(&file), "{file} is short enough now");
    }
    for (file, function, _) in LONG_FUNCTIONS {
        let still = functions.iter().any(|(name, long, _)| *name == file && long == function);
        assert!(still, "{file}: {function} is short enough now");
    }
}

#[test]
fn what_is_too_long_is_found() {
    let body = "    a();\n".repeat(10);
    let text = format!(
        "pub(crate) async fn long() {{\n{body}}}\n\nimpl A {{\n    fn short(&self) {{\n        b();\n    }}\n\n    const fn also() {{\n    {body}    }}\n}}\n"
    );
    assert_eq!(long_functions(&text, 11), [("long".to_owned(), 12), ("also".to_owned(), 12)]);
    assert!(long_functions(&text, 12).is_empty());
    // A trait's function has no body, and what follows it is not its own.
    let declared = format!("trait A {{\n    fn f(&self);\n    fn g(&self) {{\n{body}    }}\n}}\n");
    assert_eq!(long_functions(&declared, 11), [("g".to_owned(), 12)]);
}
