//! Files that import each other in a loop: none. A file stands above all that it imports, so that it can be read, tested and moved with
//! what lies below it alone.
//!
//! An import is a `use`, or a path from `crate`, `super` or a module of one's own in the code; names that a module hands on (`pub use`)
//! lead to the file that defines them. A folder's own file is what its parts are parts of: what they take from it is no import, and what
//! it takes from them is. Modules of tests are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Folders of source that are one crate each, and the circles that stay, each by one of its files and with a reason.
const CRATES: [(&str, &[&str]); 8] = [
    ("core/src", &[]),
    ("gpu/src", &[]),
    ("cli/src", &[]),
    ("net/src", &[]),
    ("private/src", &[]),
    ("edge/src", &[]),
    ("edge/host/src", &[]),
    ("src", &[]),
];

type Module = Vec<String>;

#[derive(Default)]
struct Source {
    /// Path of the file in its crate, by module.
    files: BTreeMap<Module, String>,
    /// Names that a module knows from elsewhere, whole paths.
    names: BTreeMap<Module, BTreeMap<String, Module>>,
    /// What a module imports, as whole paths.
    imports: BTreeMap<Module, BTreeSet<Module>>,
}

fn module_of(file: &str) -> Module {
    let mut parts: Module = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

/// The code of a file without comments and without the modules of tests at its end.
fn code(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let text = text.split("\n#[cfg(test)]\npub(crate) mod tests {").next().unwrap_or_default();
    let lines = text.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    lines.map(|line| line.split(" // ").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Splits the branches of a `use` at their commas.
fn branches(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

/// The paths of a `use`, each with the name it gets.
fn paths(prefix: &[String], tree: &str, found: &mut Vec<(Module, String)>) {
    let tree = tree.trim();
    if let Some((before, inside)) = tree.split_once('{') {
        let mut prefix = prefix.to_vec();
        prefix.extend(before.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned));
        let inside = inside.rsplit_once('}').map_or(inside, |(inside, _)| inside);
        for branch in branches(inside) {
            paths(&prefix, branch, found);
        }
        return;
    }
    let (path, name) = tree.split_once(" as ").map_or((tree, None), |(path, name)| (path, Some(name.trim())));
    let mut whole = prefix.to_vec();
    whole.extend(path.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned));
    if whole.last().is_some_and(|last| last == "self") {
        whole.pop();
    }
    if let Some(last) = whole.last().cloned() {
        found.push((whole, name.map_or(last, str::to_owned)));
    }
}

/// The paths from `crate`, `super` or one of `children` that code names outside of a `use`.
fn inline(code: &str, children: &[String]) -> Vec<Module> {
    let mut found = Vec::new();
    for start in ["crate", "super"].into_iter().chain(children.iter().map(String::as_str)) {
        for (at, _) in code.match_indices(&format!("{start}::")) {
            if at > 0 && code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let end =
                code[at..].find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').map_or(code.len(), |e| at + e);
            found.push(code[at..end].split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect());
        }
    }
    found
}

impl Source {
    fn read(files: &[(String, String)]) -> Self {
        let mut source = Self::default();
        // Files that only tests are built from.
        let mut tests = BTreeSet::new();
        for (file, text) in files {
            for (at, _) in text.match_indices("#[cfg(test)]\n") {
                let rest = text[at..].lines().nth(1).unwrap_or_default().trim();
                let name = rest.rsplit_once("mod ").and_then(|(_, name)| name.strip_suffix(';'));
                tests.extend(name.map(|name| [module_of(file), vec![name.to_owned()]].concat()));
            }
        }
        for (file, _) in files {
            let module = module_of(file);
            if !tests.contains(&module) && file != "main.rs" {
                source.files.insert(module, file.clone());
            }
        }
        for (file, text) in files {
            let module = module_of(file);
            if source.files.get(&module) == Some(file) {
                source.take(&module, &code(text));
            }
        }
        source
    }

    /// Reads the imports of one file.
    fn take(&mut self, module: &Module, code: &str) {
        let (mut rest, mut outside) = (code, String::new());
        let mut names = BTreeMap::new();
        let mut imports = BTreeSet::new();
        while let Some(at) = rest.find("use ") {
            let (before, after) = rest.split_at(at);
            let begins = before.rsplit('\n').next().unwrap_or_default().trim();
            let handed_on = begins.starts_with("pub");
            outside.push_str(before);
            let Some((tree, next)) = after[4..].split_once(';').filter(|_| begins.is_empty() || handed_on) else {
                outside.push_str(&after[..4]);
                rest = &after[4..];
                continue;
            };
            let mut found = Vec::new();
            paths(&[], tree, &mut found);
            for (path, name) in found {
                let Some(path) = self.whole(module, &path) else { continue };
                names.insert(name, path.clone());
                if !handed_on {
                    imports.insert(path);
                }
            }
            rest = next;
        }
        outside.push_str(rest);
        let child = |other: &&Module| other.len() == module.len() + 1 && other.starts_with(module);
        let children: Vec<String> = self.files.keys().filter(child).filter_map(|other| other.last().cloned()).collect();
        imports.extend(inline(&outside, &children).iter().filter_map(|path| self.whole(module, path)));
        self.names.insert(module.clone(), names);
        self.imports.insert(module.clone(), imports);
    }

    /// A path from the root of the crate; `None` where it leads out of it.
    fn whole(&self, module: &Module, path: &[String]) -> Option<Module> {
        let mut at = module.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => {
                at.clear();
                rest = &path[1..];
            }
            "self" => rest = &path[1..],
            "super" => {
                while let Some("super") = rest.first().map(String::as_str) {
                    at.pop()?;
                    rest = &rest[1..];
                }
            }
            first => {
                let child = [&at[..], &[first.to_owned()]].concat();
                if !self.files.contains_key(&child) {
                    return None;
                }
            }
        }
        at.extend_from_slice(rest);
        Some(at)
    }

    /// The module that defines what a path names.
    fn definer(&self, path: &[String], depth: usize) -> Option<Module> {
        let mut at = Module::new();
        for (index, part) in path.iter().enumerate() {
            let child = [&at[..], std::slice::from_ref(part)].concat();
            if self.files.contains_key(&child) {
                at = child;
                continue;
            }
            if let Some(known) = self.names.get(&at).and_then(|names| names.get(part)).filter(|_| depth < 8) {
                return self.definer(&[known, &path[index + 1..]].concat(), depth + 1);
            }
            break;
        }
        Some(at)
    }

    /// Who imports whom, by files.
    fn arrows(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut arrows = BTreeMap::<&str, BTreeSet<&str>>::new();
        for (module, imports) in &self.imports {
            let from = self.files[module].as_str();
            for path in imports {
                let to = self.definer(path, 0).filter(|to| !module.starts_with(to));
                let to = to.and_then(|module| self.files.get(&module));
                if let Some(to) = to.filter(|to| *to != from) {
                    arrows.entry(from).or_default().insert(to);
                }
            }
        }
        arrows
    }
}

/// Every circle, by its files.
fn circles(files: &[(String, String)]) -> Vec<Vec<String>> {
    let source = Source::read(files);
    let arrows = source.arrows();
    let reach = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut next = vec![from.to_owned()];
        while let Some(at) = next.pop() {
            for to in arrows.get(at.as_str()).into_iter().flatten() {
                if seen.insert((*to).to_owned()) {
                    next.push((*to).to_owned());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<String>> = arrows.keys().map(|file| (*file, reach(file))).collect();
    let mut found: Vec<Vec<String>> = Vec::new();
    for (file, from) in &reached {
        if from.contains(*file) && !found.iter().flatten().any(|known| known == file) {
            let back = |other: &&String| reached.get(other.as_str()).is_some_and(|reach| reach.contains(*file));
            found.push(from.iter().filter(back).cloned().collect());
        }
    }
    found
}

/// What a circle consists of, for whoever is to open it.
fn described(files: &[(String, String)], circle: &[String]) -> String {
    let source = Source::read(files);
    let arrows = source.arrows();
    let mut text = String::new();
    for from in circle {
        for to in arrows.get(from.as_str()).into_iter().flatten().filter(|to| circle.iter().any(|file| file == *to)) {
            text.push_str(&["  ", from, " -> ", to, "\n"].concat());
        }
    }
    text
}

fn sources(folder: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, root: &Path, files: &mut Vec<(String, String)>) {
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = Vec::new();
    walk(&root, &root, &mut files);
    files.sort();
    files
}

#[test]
fn no_file_imports_itself_through_others() {
    let mut arrows = 0;
    for (folder, left) in CRATES {
        let files = sources(folder);
        let found = circles(&files);
        for circle in &found {
            let known = left.iter().any(|file| circle.iter().any(|other| other == file));
            assert!(known, "a circle of {} files in {folder}:\n{}", circle.len(), described(&files, circle));
        }
        for file in left {
            let still = found.iter().flatten().any(|other| other == file);
            assert!(still, "{folder}/{file} is in no circle any more: take it off the list");
        }
        arrows += Source::read(&files).arrows().values().map(BTreeSet::len).sum::<usize>();
    }
    // Without these the reading would be blind, and the rest could not fail.
    assert!(arrows > 800, "{arrows} imports found");
}

#[test]
fn a_circle_is_found() {
    let crate_of = |texts: &[(&str, &str)]| {
        texts.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect::<Vec<_>>()
    };
    let names = |files: &[(&str, &str)]| circles(&crate_of(files));
    let root = ("lib.rs", "mod a;\nmod b;\npub use b::Thing;\n");
    let line = names(&[root, ("a.rs", "use crate::b::Thing;\n"), ("b.rs", "pub struct Thing;\n")]);
    assert!(line.is_empty(), "{line:?}");
    // By a name that the root hands on, by a group, by a path in the code, by a parent.
    for (a, b) in [
        ("use crate::Thing;\n", "use crate::a::other;\n"),
        ("use crate::{\n    b::{Thing, More},\n};\n", "fn f() {\n    crate::a::other();\n}\n"),
        ("use super::b::Thing as That;\n", "use super::a::other;\n"),
    ] {
        let found = names(&[root, ("a.rs", a), ("b.rs", b)]);
        assert_eq!(found, [["a.rs", "b.rs"]], "{a}{b}");
    }
    let nested = [
        ("lib.rs", "mod room;\n"),
        ("room/mod.rs", "mod door;\nmod key;\npub struct Room;\nfn f() {\n    door::open();\n}\n"),
        ("room/door.rs", "use super::Room;\nuse super::key::turn;\n"),
        ("room/key.rs", "use crate::room::door::Lock;\n"),
    ];
    assert_eq!(names(&nested), [["room/door.rs", "room/key.rs"]]);
    let through = [
        ("lib.rs", "mod room;\nmod hall;\n"),
        ("room/mod.rs", "mod door;\nfn f() {\n    door::open();\n}\n"),
        ("room/door.rs", "use crate::hall::Hall;\n"),
        ("hall.rs", "use crate::room::f;\npub struct Hall;\n"),
    ];
    assert_eq!(names(&through), [["hall.rs", "room/door.rs", "room/mod.rs"]]);
    let three = [
        ("lib.rs", "mod a;\nmod b;\nmod c;\n"),
        ("a.rs", "use crate::b::of_b;\n"),
        ("b.rs", "use crate::c::of_c;\n"),
        ("c.rs", "use crate::a::of_a;\n"),
    ];
    assert_eq!(names(&three), [["a.rs", "b.rs", "c.rs"]]);
    // Comments, tests, and words in a text are no imports.
    let quiet = [
        ("lib.rs", "mod a;\nmod b;\n#[cfg(test)]\nmod tests;\n"),
        ("a.rs", "use crate::b::x;\n"),
        ("b.rs", "// use crate::a::y;\n#[cfg(test)]\nmod tests {\n    use crate::a::y;\n}\n"),
        ("tests.rs", "use crate::a::y;\n"),
    ];
    assert!(names(&quiet).is_empty());
}
