//! Sends what a webhook is told: once, to an address that was looked at before.

pub mod guard;

use guard::{Guard, Refused};
use reqwest::header::RETRY_AFTER;
use std::time::Duration;

/// A receiver has this long to answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What one try found.
#[derive(Debug)]
pub enum Outcome {
    /// It was taken, with this status.
    Taken(i64),
    /// 410: the receiver is gone for good.
    Gone,
    /// Status, what went wrong, what the receiver asks for.
    Failed(Option<i64>, String, Option<Duration>),
    /// Trying again would be refused again.
    Refused(String),
}

/// Sends to the one address the guard has looked at. Nothing of the answer's body is read, and redirects are not followed: they would
/// lead where nobody has looked.
pub async fn send(guard: &Guard, url: &str, id: &str, seconds: i64, signatures: &str, body: String) -> Outcome {
    let form = match guard.form(url) {
        Ok(form) => form,
        Err(refused) => return Outcome::Refused(refused.to_string()),
    };
    let address = match guard.pin(&form).await {
        Ok(address) => address,
        Err(refused @ Refused::Unresolved { .. }) => return Outcome::Failed(None, refused.to_string(), None),
        Err(refused) => return Outcome::Refused(refused.to_string()),
    };
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(TIMEOUT)
        .user_agent(concat!("LoopMastering/", env!("CARGO_PKG_VERSION")))
        .resolve(form.host_str().unwrap_or_default(), address)
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => return Outcome::Failed(None, error.to_string(), None),
    };
    let request = client
        .post(form)
        .header("content-type", "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", seconds)
        .header("webhook-signature", signatures)
        .body(body);
    match request.send().await {
        Err(error) => Outcome::Failed(None, plain(&error), None),
        Ok(answer) => {
            let status = answer.status();
            let code = i64::from(status.as_u16());
            if status.is_success() {
                Outcome::Taken(code)
            } else if status == reqwest::StatusCode::GONE {
                Outcome::Gone
            } else if status.is_redirection() {
                Outcome::Failed(
                    Some(code),
                    "It redirects; redirects are not followed. Use the final URL.".to_owned(),
                    None,
                )
            } else {
                let asked = answer.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.parse().ok());
                let asked = asked.map(|seconds: u64| Duration::from_secs(seconds.min(24 * 3600)));
                Outcome::Failed(Some(code), format!("It answered {status}."), asked)
            }
        }
    }
}

/// What a user can do something about, without our own internals.
fn plain(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        format!("It did not answer within {} seconds.", TIMEOUT.as_secs())
    } else if error.is_connect() {
        "No connection, or no valid certificate.".to_owned()
    } else {
        "The connection broke off.".to_owned()
    }
}
