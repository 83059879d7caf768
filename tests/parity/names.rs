//! One kernel, one name: the readable file, the fast file, the shader, the row of the table, the tests of parity and the bench of a kernel
//! are found by the same word.

use std::collections::BTreeSet;
use std::path::Path;

type Names = BTreeSet<String>;

/// Files of a folder that hold no kernel.
const BESIDE: [(&str, &[&str]); 3] = [
    ("core/src/render/reference", &["mod"]),
    // The pass that fuses five kernels, and what two of them share.
    ("core/src/render/cpu", &["mod", "shape", "half_way"]),
    ("shaders", &["README"]),
];

/// Kernels that a card leaves to the processor, with all tracks that need them.
const NOT_ON_CARDS: [&str; 1] = ["masked_clip"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap()
}

/// The files of a folder, by the first part of their names.
fn folder(at: &str) -> Names {
    let beside = BESIDE.iter().find(|(folder, _)| *folder == at).map_or(&[][..], |(_, beside)| beside);
    let files = root().join(at).read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let names = files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    names.filter(|name| !beside.contains(&name.as_str())).collect()
}

/// The tests of some files.
fn tests(files: &[String]) -> Names {
    let texts: String = files.iter().map(|file| read(file)).collect();
    let named = |rest: &str| Some(rest.split_once("fn ")?.1.split_once('(')?.0.to_owned());
    texts.split("#[test]").skip(1).filter_map(named).collect()
}

/// What the kernels are called in each place.
fn places() -> Vec<(&'static str, Names)> {
    let rows = |steps: bool| {
        let rows = loopmaster_gpu::gpu::kernels::TABLE.iter().filter(|row| row.part_of.is_empty() != steps);
        rows.map(|row| row.name.to_owned()).collect()
    };
    let bench = read("benches/stages.rs");
    let kernels = folder("core/src/render/reference");
    let benched = |name: &&String| bench.contains(&format!("\"{name}\"")) || bench.contains(&format!("\"{name}, "));
    let on_processor: Vec<String> = folder("tests/parity")
        .into_iter()
        .filter(|name| !["gpu", "names"].contains(&name.as_str()))
        .map(|name| format!("tests/parity/{name}.rs"))
        .collect();
    let kept = |names: Names| names.intersection(&kernels).cloned().collect();
    vec![
        ("reference", kernels.clone()),
        ("cpu", folder("core/src/render/cpu")),
        ("shaders", folder("shaders")),
        ("the table of gpu/src/gpu/kernels.rs", rows(false)),
        ("parity on the processor", kept(tests(&on_processor))),
        ("parity on a card", kept(tests(&["tests/parity/gpu.rs", "gpu/src/gpu/parity.rs"].map(str::to_owned)))),
        ("benches/stages.rs", kernels.iter().filter(benched).cloned().collect()),
        ("shaders/steps", folder("shaders/steps")),
        ("the steps of the table", rows(true)),
    ]
}

/// Places that call a kernel otherwise, or lack it.
fn apart(places: &[(&'static str, Names)]) -> Vec<String> {
    let mut found = Vec::new();
    let (kernels, steps) = places.split_at(places.len() - 2);
    let mut hold = |wanted: &Names, place: &str, names: &Names| {
        found.extend(wanted.difference(names).map(|name| format!("{place} lacks {name}")));
        found.extend(names.difference(wanted).map(|name| format!("{place} has {name}, which the reference has not")));
    };
    let all = &kernels[0].1;
    let on_cards: Names = all.iter().filter(|name| !NOT_ON_CARDS.contains(&name.as_str())).cloned().collect();
    for (place, names) in kernels {
        let of_card = ["shaders", "the table of gpu/src/gpu/kernels.rs", "parity on a card"].contains(place);
        hold(if of_card { &on_cards } else { all }, place, names);
    }
    hold(&steps[0].1, steps[1].0, &steps[1].1);
    found
}

#[test]
fn one_kernel_has_one_name() {
    let places = places();
    assert!(places[0].1.len() >= 10, "{places:?}");
    let found = apart(&places);
    assert!(found.is_empty(), "{found:#?}");
    for row in loopmaster_gpu::gpu::kernels::TABLE {
        for whole in row.part_of {
            assert!(places[0].1.contains(*whole), "{} is a part of {whole}, which is no kernel", row.name);
        }
    }
}

#[test]
fn another_name_is_found() {
    for at in 0..places().len() {
        let mut renamed = places();
        let (place, names) = &mut renamed[at];
        let place = *place;
        let gone = names.pop_first().unwrap();
        names.insert("wishes".to_owned());
        let found = apart(&renamed);
        assert!(found.iter().any(|line| line.contains("wishes")), "{place}: {found:?}");
        assert!(found.iter().any(|line| line.contains(&gone)), "{place}: {found:?}");
        // A file that nobody else has.
        let mut more = places();
        more[at].1.insert("reverb".to_owned());
        assert!(apart(&more).iter().any(|line| line.contains("reverb")), "{place}");
        let mut less = places();
        let missing = less[at].1.pop_last().unwrap();
        assert!(apart(&less).iter().any(|line| line.contains(&missing)), "{place} without {missing}");
    }
}
