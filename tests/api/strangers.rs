//! A client that nobody here wrote reads the description of the API and sends what it allows, and what it does not.

use crate::service::Service;
use crate::storage::python_tool;
use std::process::Stdio;

/// What it may send is endless; this many of each kind for each operation.
const EXAMPLES: &str = "40";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: ./test long"]
async fn schemathesis_finds_nothing() {
    let service = Service::with(|config| {
        let user = &mut config.limits.user;
        (user.requests_a_minute, user.creates_an_hour, user.tracks_a_day) = (10_000_000, 10_000_000, 10_000_000);
        let guest = &mut config.limits.guest;
        (guest.requests_a_minute, guest.creates_an_hour) = (10_000_000, 10_000_000);
    })
    .await;
    let user = service.user("stranger@example.com").await.user.unwrap();
    let token = service.token(&user, "uploads masters account").await;
    let output = tokio::process::Command::new(python_tool("schemathesis", "schemathesis"))
        .args(["run", &format!("{}/v1/openapi.json", service.url), "--url", &service.url])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        // An event stream ends when somebody hangs up.
        .args(["--exclude-path", "/v1/events"])
        .args(["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", EXAMPLES, "--seed", "1"])
        // What a description cannot say (that a batch is yours, that a cursor is one of ours) is refused with 422 and a code.
        .args([
            "--checks",
            "all",
            "--exclude-checks",
            "positive_data_acceptance",
            "--continue-on-failure",
            "--request-timeout",
            "20",
            "--workers",
            "2",
            "--no-color",
        ])
        .current_dir(service.folder())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}
