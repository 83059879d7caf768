//! The service's HTTP API as this client needs it, with patience for what passes.

use super::error::PushError;
use crate::config::Secret;
use loopmaster_core::settings::{Limits, Settings};
use rand::RngExt;
use reqwest::header::{ACCEPT, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use url::Url;

/// Tries of one request before giving up for this run.
const TRIES: u32 = 7;
/// First pause; doubled each time, with jitter.
const PAUSE: Duration = Duration::from_millis(400);
/// Longest pause.
const LONGEST: Duration = Duration::from_secs(30);
/// For one answer of the API.
const ANSWER: Duration = Duration::from_mins(1);

/// An upload as the service tells it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Upload {
    pub(super) id: String,
    pub(super) state: String,
    pub(super) part_bytes: u64,
    pub(super) master: Option<String>,
}

/// A part that has arrived.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Arrived {
    pub(super) number: u64,
    pub(super) etag: String,
    pub(super) bytes: u64,
}

/// A file of a master.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct Artifact {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) role: String,
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// Why a master failed.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Failure {
    pub(super) code: String,
    pub(super) detail: String,
}

/// A master.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Master {
    pub(super) id: String,
    pub(super) state: String,
    #[serde(default)]
    pub(super) stage: Option<String>,
    #[serde(default)]
    pub(super) queue_position: Option<i64>,
    #[serde(default)]
    pub(super) seconds: Option<f64>,
    #[serde(default)]
    pub(super) lufs: Option<f64>,
    #[serde(default)]
    pub(super) dbtp: Option<f64>,
    #[serde(default)]
    pub(super) error: Option<Failure>,
    #[serde(default)]
    pub(super) artifacts: Vec<Artifact>,
}

impl Master {
    /// Whether nothing more will happen.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "done" | "failed" | "cancelled")
    }
}

/// What is told about a file before it is sent.
#[derive(Debug)]
pub(super) struct NewUpload<'a> {
    pub(super) name: &'a str,
    pub(super) bytes: u64,
    pub(super) media_type: &'a str,
    pub(super) fingerprint: &'a str,
    pub(super) settings: Option<&'a Value>,
    pub(super) batch: Option<&'a str>,
    pub(super) position: Option<usize>,
    pub(super) reference: Option<&'a str>,
}

/// A client of one service.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) http: Client,
    base: Url,
    token: Secret,
}

impl Api {
    pub(super) fn new(address: &str, token: String) -> Result<Self, PushError> {
        let wrong = || PushError::Address(address.to_owned());
        let mut base = Url::parse(address).map_err(|_| wrong())?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(wrong());
        }
        base.path_segments_mut().map_err(|()| wrong())?.pop_if_empty().push("v1").push("");
        // Whoever comes first; a second time is no error.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .user_agent(concat!("loopmaster/", env!("CARGO_PKG_VERSION")))
            // Redirects would carry a token elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| PushError::transport(address, &error))?;
        Ok(Self { http, base, token: Secret::new(token) })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Result<T, PushError> {
        let url = self.base.join(path).map_err(|_| PushError::Address(path.to_owned()))?;
        patiently(|| async {
            let mut request = self.http.request(method.clone(), url.clone()).bearer_auth(self.token.expose());
            request = request.header(ACCEPT, "application/json").timeout(ANSWER);
            if let Some(key) = key {
                request = request.header("idempotency-key", key);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            let text = self.answer(request).await?;
            serde_json::from_str(&text).map_err(|error| PushError::Problem {
                code: "push.not_understood".to_owned(),
                detail: format!("{url} answered what this version does not understand: {error}"),
                status: 200,
                retry_after: None,
            })
        })
        .await
    }

    async fn answer(&self, request: RequestBuilder) -> Result<String, PushError> {
        let failed = |error: reqwest::Error| PushError::transport(self.base.as_str(), &error);
        let answer = request.send().await.map_err(failed)?;
        let (status, retry_after) = (answer.status(), retry_after(&answer));
        let text = answer.text().await.map_err(failed)?;
        if status.is_success() { Ok(text) } else { Err(PushError::answered(status, retry_after, &text)) }
    }

    /// Makes a batch. Returns its id.
    pub(super) async fn batch(&self, name: &str, album: bool, tracks: usize, key: &str) -> Result<String, PushError> {
        let body = json!({ "name": name, "album": album, "tracks": tracks });
        let batch: Value = self.call(Method::POST, "batches", Some(&body), Some(key)).await?;
        Ok(batch["id"].as_str().unwrap_or_default().to_owned())
    }

    /// What the service takes; the usual limits where it does not say.
    pub(super) async fn limits(&self) -> Result<Limits, PushError> {
        #[derive(Deserialize)]
        struct Told {
            file_bytes: u64,
            seconds: f64,
            decoded_bytes: u64,
        }
        match self.call::<Told>(Method::GET, "limits", None, None).await {
            Ok(Told { file_bytes, seconds, decoded_bytes }) => {
                Ok(Limits { bytes: file_bytes, seconds, memory: decoded_bytes, ..Limits::default() })
            }
            // A service of an earlier version.
            Err(error) if error.is_gone() => Ok(Limits::default()),
            Err(error) => Err(error),
        }
    }

    /// The settings of a preset of the account.
    pub(super) async fn preset(&self, name: &str) -> Result<Settings, PushError> {
        #[derive(Deserialize)]
        struct Preset {
            settings: Value,
            outdated: Option<String>,
        }
        let mut path = Url::parse("a:/presets/").map_err(|_| PushError::Address(name.to_owned()))?;
        path.path_segments_mut().map_err(|()| PushError::Address(name.to_owned()))?.pop_if_empty().push(name);
        let Preset { settings, outdated } =
            self.call(Method::GET, path.path().trim_start_matches('/'), None, None).await?;
        let refused = |why: String| PushError::Failed {
            code: "preset.outdated".to_owned(),
            detail: format!("the preset “{name}” cannot be used, save it again: {why}"),
        };
        match outdated {
            Some(why) => Err(refused(why)),
            None => serde_json::from_value(settings).map_err(|error| refused(error.to_string())),
        }
    }

    pub(super) async fn create(&self, new: &NewUpload<'_>, key: &str) -> Result<Upload, PushError> {
        let mut body =
            json!({ "name": new.name, "bytes": new.bytes, "type": new.media_type, "fingerprint": new.fingerprint });
        // What is not meant is left out: the service refuses fields it does not expect.
        let more = [
            ("settings", new.settings.cloned()),
            ("batch", new.batch.map(Value::from)),
            ("position", new.position.map(Value::from)),
            ("reference_upload", new.reference.map(Value::from)),
        ];
        for (name, value) in more {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        self.call(Method::POST, "uploads", Some(&body), Some(key)).await
    }

    pub(super) async fn upload(&self, id: &str) -> Result<Upload, PushError> {
        self.call(Method::GET, &format!("uploads/{id}"), None, None).await
    }

    pub(super) async fn arrived(&self, id: &str) -> Result<Vec<Arrived>, PushError> {
        #[derive(Deserialize)]
        struct Parts {
            parts: Vec<Arrived>,
        }
        let Parts { parts } = self.call(Method::GET, &format!("uploads/{id}/parts"), None, None).await?;
        Ok(parts)
    }

    /// Addresses for parts.
    pub(super) async fn sign(&self, id: &str, numbers: &[u64]) -> Result<BTreeMap<u64, Url>, PushError> {
        #[derive(Deserialize)]
        struct Signed {
            urls: BTreeMap<u64, Url>,
        }
        let body = json!({ "numbers": numbers });
        let Signed { urls } = self.call(Method::POST, &format!("uploads/{id}/parts"), Some(&body), None).await?;
        Ok(urls)
    }

    pub(super) async fn complete(&self, id: &str, parts: &BTreeMap<u64, String>) -> Result<Upload, PushError> {
        let parts: Vec<Value> = parts.iter().map(|(number, etag)| json!({ "number": number, "etag": etag })).collect();
        let body = json!({ "parts": parts });
        self.call(Method::POST, &format!("uploads/{id}/complete"), Some(&body), None).await
    }

    pub(super) async fn master(&self, id: &str) -> Result<Master, PushError> {
        self.call(Method::GET, &format!("masters/{id}"), None, None).await
    }

    /// Another master of an upload that is there. Returns its id.
    pub(super) async fn remaster(
        &self,
        upload: &str,
        settings: &Value,
        reference: Option<&str>,
        key: &str,
    ) -> Result<String, PushError> {
        #[derive(Deserialize)]
        struct Made {
            items: Vec<Master>,
        }
        let mut body = json!({ "uploads": [upload], "settings": settings });
        if let Some(reference) = reference {
            body["reference_upload"] = reference.into();
        }
        let Made { items } = self.call(Method::POST, "masters", Some(&body), Some(key)).await?;
        items.into_iter().next().map(|master| master.id).ok_or_else(|| PushError::Failed {
            code: "push.no_master".to_owned(),
            detail: format!("the upload {upload} is there, but no master was queued for it"),
        })
    }

    /// All masters of a batch.
    pub(super) async fn batch_masters(&self, id: &str) -> Result<Vec<Master>, PushError> {
        #[derive(Deserialize)]
        struct Batch {
            items: Vec<Master>,
        }
        let Batch { items } = self.call(Method::GET, &format!("batches/{id}"), None, None).await?;
        Ok(items)
    }

    /// Where a file is.
    pub(super) async fn link(&self, artifact: &str) -> Result<Url, PushError> {
        #[derive(Deserialize)]
        struct Link {
            url: Url,
        }
        let Link { url } = self.call(Method::POST, &format!("artifacts/{artifact}/link"), None, None).await?;
        Ok(url)
    }
}

fn retry_after(answer: &Response) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Tries again what may succeed in a while: exponential pauses with jitter, or as long as the service asks for.
pub(super) async fn patiently<T, F: Future<Output = Result<T, PushError>>>(
    mut work: impl FnMut() -> F,
) -> Result<T, PushError> {
    let mut tried = 0;
    loop {
        let error = match work().await {
            Err(error) if error.is_temporary() && tried + 1 < TRIES => error,
            done => return done,
        };
        let pause = (PAUSE * 2_u32.pow(tried)).min(LONGEST).mul_f64(rand::rng().random_range(0.5..1.5));
        let asked = match error {
            PushError::Problem { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        tokio::time::sleep(pause.max(asked.min(LONGEST * 4))).await;
        tried += 1;
    }
}
