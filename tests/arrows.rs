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

#[test]
fn each_runtime_is_named_by_its_keeper_only() {
    let gpu = named_by("loopmaster-gpu");
    assert_eq!(gpu.iter().collect::<Vec<_>>(), ["loopmaster"], "only the service and the CLI know the fast backends");
    for (outsider, keeper) in KEEPERS {
        // The edge's host stands where Spin does, beside the product: it runs on tokio, too, and so does what both listen with.
        let beside = ["loopmaster-edge-host", "loopmaster-net"];
        let host = |name: &String| outsider == "tokio" && beside.contains(&name.as_str());
        let others: Vec<_> = named_by(outsider).into_iter().filter(|name| name != keeper && !host(name)).collect();
        assert!(others.is_empty(), "{outsider} belongs to {keeper}; it is also named by {others:?}");
    }
}
