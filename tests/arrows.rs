//! Who may know whom (docs/ARCHITECTURE.md), read from cargo's own graph.

use serde_json::Value;
use std::collections::BTreeSet;
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

/// Of everything `packages` are built from, build scripts and macros included: name, version and features.
fn features(packages: &[&str]) -> BTreeSet<String> {
    let mut arguments = vec!["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p} [{f}]"];
    arguments.extend(packages.iter().flat_map(|package| ["--package", package]));
    cargo(&arguments).lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
}

/// `./run master` builds the first, `./run push` the second, `./run` all of them.
#[test]
fn what_was_built_for_a_part_is_not_built_again_for_the_whole() {
    let parts = [&["loopmaster-cli"][..], &["loopmaster"], &["loopmaster", "loopmaster-edge-host"]].map(features);
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

#[test]
fn the_small_program_is_small() {
    let small = built_from("loopmaster-cli", &[]);
    assert!(small.contains("loopmaster-core") && small.contains("clap"), "{small:?}");
    for (outsider, _) in KEEPERS {
        assert!(!small.contains(outsider), "loopmaster-cli must not be built from {outsider}");
    }
    let all = features(&["loopmaster-cli"]).len();
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
