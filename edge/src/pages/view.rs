//! What the pages show: the API's answers (`/v1`) as they arrive, read leniently. A field that is missing or new never breaks a page;
//! what an answer does not say is not shown.

use loopmaster_core::Settings;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// `null` counts as absent.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Settings a later version wrote may have fields we do not know; then the page goes without them.
fn lenient_settings<'de, D: Deserializer<'de>>(from: D) -> Result<Settings, D::Error> {
    let value = Option::<serde_json::Value>::deserialize(from)?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default())
}

/// Who is looking: `GET /v1/me`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Me {
    /// The account; `None` for a guest.
    pub user: Option<User>,
    /// What a guest has.
    pub guest: Option<Guest>,
    /// What may be used and what is, by name: `tracks_a_day`, `stored_bytes`, `waiting` …
    #[serde(deserialize_with = "with_use")]
    pub quotas: BTreeMap<String, Quota>,
}

/// An account.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct User {
    /// Id.
    pub id: String,
    /// Address.
    pub email: String,
    /// Name; may be empty.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Address of the picture.
    pub picture: Option<String>,
    /// Mail when a long batch is done.
    #[serde(deserialize_with = "or_default")]
    pub mail_when_ready: bool,
    /// Since when.
    #[serde(deserialize_with = "or_default")]
    pub created_at: String,
    /// The account goes then, unless its owner keeps it.
    pub delete_after: Option<String>,
    /// Whether the current privacy policy is the one this user last saw.
    #[serde(default = "yes", deserialize_with = "yes_or_absent")]
    pub policy_current: bool,
    /// Whether the last sign-in is recent enough for the account's dangerous parts; absent: not known.
    pub recent: Option<bool>,
}

/// The limits that say how much of them is used; others, such as the largest file, stand among them as bare numbers.
fn with_use<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Quota>, D::Error> {
    let all = Option::<BTreeMap<String, serde_json::Value>>::deserialize(from)?.unwrap_or_default();
    let counted = |(name, value): (String, serde_json::Value)| {
        value.get("used")?;
        Some((name, serde_json::from_value(value).ok()?))
    };
    Ok(all.into_iter().filter_map(counted).collect())
}

fn yes() -> bool {
    true
}

fn yes_or_absent<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(true))
}

/// A visitor without account.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Guest {
    /// How many masters this browser has.
    pub masters: u64,
}

/// One limit and how much of it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Quota {
    /// The most.
    pub limit: u64,
    /// Of it used.
    pub used: u64,
}

/// A destination: a row of `GET /v1/destinations`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Destination {
    /// What [`Settings`] hold.
    pub key: String,
    /// What is shown.
    pub name: String,
    /// Loudness to master at, LUFS; `None`: the style decides.
    pub target: Option<f64>,
    /// Highest true peak, dBTP.
    pub ceiling: Option<f64>,
    /// One sentence for the artist.
    #[serde(deserialize_with = "or_default")]
    pub note: String,
}

/// A master: `GET /v1/masters/{id}` and the items of lists.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Master {
    /// Id, `mst_…`.
    pub id: String,
    /// What the song is called.
    #[serde(deserialize_with = "or_default")]
    pub title: String,
    /// What it was made from; absent on shared masters.
    pub upload: Option<Source>,
    /// Id of its batch.
    pub batch: Option<String>,
    /// Place in its batch.
    pub position: Option<u64>,
    /// Upload of the record it follows.
    pub reference_upload: Option<String>,
    /// What was asked for.
    #[serde(deserialize_with = "lenient_settings")]
    pub settings: Settings,
    /// How far it is.
    #[serde(deserialize_with = "or_default")]
    pub state: State,
    /// The stage under way, `decode` … `deliver`.
    pub stage: Option<String>,
    /// How many are before it.
    pub queue_position: Option<u64>,
    /// `album`: it has been heard, and waits for the other songs.
    pub waits_for: Option<String>,
    /// Seconds of music.
    pub seconds: Option<f64>,
    /// Loudness of the master.
    pub lufs: Option<f64>,
    /// True peak of the master.
    pub dbtp: Option<f64>,
    /// Why it failed.
    pub error: Option<Fault>,
    /// RFC 3339.
    #[serde(deserialize_with = "or_default")]
    pub created_at: String,
    /// RFC 3339.
    pub finished_at: Option<String>,
    /// RFC 3339; absent: kept until deleted.
    pub expires_at: Option<String>,
    /// The owner's version of the last change.
    #[serde(deserialize_with = "or_default")]
    pub version: i64,
    /// What was found and done.
    pub result: Option<Outcome>,
    /// The files.
    #[serde(deserialize_with = "or_default")]
    pub artifacts: Vec<Artifact>,
}

/// The upload of a master.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Source {
    /// Id, `upl_…`.
    pub id: String,
    /// File name.
    pub name: String,
    /// Size.
    pub bytes: u64,
}

/// An upload without a master, of `GET /v1/uploads`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Mix {
    /// Id, `upl_…`.
    pub id: String,
    /// File name.
    pub name: String,
    /// Size.
    pub bytes: u64,
    /// RFC 3339; absent: kept until deleted.
    pub expires_at: Option<String>,
}

/// How far a master is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// In the queue.
    #[default]
    Waiting,
    /// Under way.
    Running,
    /// Whole.
    Done,
    /// Ended with a reason.
    Failed,
    /// Ended by its owner.
    Cancelled,
}

/// Why something did not work.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Fault {
    /// `stage.what`.
    pub code: String,
    /// For a person.
    pub detail: String,
}

/// A file of a master.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Artifact {
    /// Id, `art_…`.
    pub id: String,
    /// master, report, preview, waveform, plot, data.
    pub kind: String,
    /// Which of its kind.
    pub role: String,
    /// File name.
    pub name: String,
    /// Media type.
    #[serde(rename = "type")]
    pub media_type: String,
    /// Size.
    pub bytes: u64,
    /// Checksum, hex.
    #[serde(deserialize_with = "or_default")]
    pub sha256: String,
    /// Short-lived address.
    pub url: Option<String>,
}

/// `result` of a master.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// Of mix and master.
    #[serde(deserialize_with = "or_default")]
    pub figures: Figures,
    /// What was aimed at.
    #[serde(deserialize_with = "or_default")]
    pub target: Target,
    /// What was done and why.
    #[serde(deserialize_with = "or_default")]
    pub reasons: Vec<Reason>,
    /// What the artist should know.
    #[serde(deserialize_with = "or_default")]
    pub findings: Vec<Finding>,
    /// For the player.
    #[serde(deserialize_with = "or_default")]
    pub preview: Preview,
    /// Seconds each stage took.
    #[serde(deserialize_with = "or_default")]
    pub stages: Vec<StageTime>,
}

/// Figures before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Of the mix.
    #[serde(deserialize_with = "or_default")]
    pub mix: Measured,
    /// Of the master.
    #[serde(deserialize_with = "or_default")]
    pub master: Measured,
}

/// What meters say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Measured {
    /// Integrated loudness.
    pub lufs: Option<f64>,
    /// True peak.
    pub dbtp: Option<f64>,
    /// Loudness range.
    pub lra: Option<f64>,
    /// Peak to loudness ratio.
    pub plr: Option<f64>,
    /// Crest factor.
    pub crest: Option<f64>,
    /// Stereo correlation.
    pub correlation: Option<f64>,
    /// Length.
    pub seconds: Option<f64>,
}

/// What was aimed at.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Target {
    /// Loudness.
    pub lufs: Option<f64>,
    /// True peak.
    pub ceiling: Option<f64>,
    /// Why it ends below the wish, if it does.
    pub stopped_early: Option<String>,
}

/// One thing that was done.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Reason {
    /// tone, dynamics, width, loudness.
    #[serde(deserialize_with = "or_default")]
    pub aspect: String,
    /// In words.
    #[serde(deserialize_with = "or_default")]
    pub text: String,
    /// Before, in words or a number.
    pub before: Option<serde_json::Value>,
    /// After.
    pub after: Option<serde_json::Value>,
    /// Unit of both, where they are numbers.
    pub unit: Option<String>,
}

/// One thing the artist should know.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Finding {
    /// Stable code.
    #[serde(deserialize_with = "or_default")]
    pub code: String,
    /// note, warning, problem.
    #[serde(deserialize_with = "or_default")]
    pub severity: String,
    /// Where, if somewhere.
    pub seconds: Option<f64>,
    /// What.
    #[serde(deserialize_with = "or_default")]
    pub text: String,
    /// What to do.
    #[serde(deserialize_with = "or_default")]
    pub advice: String,
}

/// For the player.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Preview {
    /// How much louder the master is than the mix, dB, where it is loudest: the louder of the two is turned down by it.
    pub mix_gain_db: Option<f64>,
    /// Where the loudest 30 s begin.
    pub loudest_start: Option<f64>,
    /// Length of that place.
    pub seconds: Option<f64>,
    /// Where the previews of a master that is still being made begin, and how long they are.
    pub excerpt: Option<Excerpt>,
}

/// A part of the song.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Excerpt {
    /// Seconds into the song.
    pub start: f64,
    /// Length in seconds.
    pub seconds: f64,
}

/// How long a stage took.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct StageTime {
    /// `decode` … `deliver`.
    pub stage: String,
    /// Seconds.
    pub seconds: f64,
}

/// A page of masters: `GET /v1/masters`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Masters {
    /// The masters.
    pub items: Vec<Master>,
    /// Cursor of the next page.
    pub next: Option<String>,
}

/// A batch or album: `GET /v1/batches/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Batch {
    /// Id, `bat_…`.
    pub id: String,
    /// Name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Mastered as an album.
    #[serde(deserialize_with = "or_default")]
    pub album: bool,
    /// How many tracks were announced, where the API says so.
    pub tracks: Option<u64>,
    /// In order.
    #[serde(deserialize_with = "or_default")]
    pub items: Vec<Master>,
}

/// A session: an item of `GET /v1/me/sessions`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Session {
    /// Id.
    pub id: String,
    /// What the browser calls itself.
    #[serde(deserialize_with = "or_default")]
    pub user_agent: String,
    /// RFC 3339.
    #[serde(deserialize_with = "or_default")]
    pub created_at: String,
    /// RFC 3339.
    #[serde(deserialize_with = "or_default")]
    pub seen_at: String,
    /// The one that asks.
    #[serde(deserialize_with = "or_default")]
    pub current: bool,
}

/// An API token: an item of `GET /v1/me/tokens`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Token {
    /// Id.
    pub id: String,
    /// What its owner calls it.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// What it may do.
    #[serde(deserialize_with = "or_default")]
    pub scopes: Vec<String>,
    /// RFC 3339.
    #[serde(deserialize_with = "or_default")]
    pub created_at: String,
    /// RFC 3339.
    pub used_at: Option<String>,
    /// RFC 3339.
    pub expires_at: Option<String>,
    /// Only in the answer that made it.
    pub token: Option<String>,
}

/// A webhook: an item of `GET /v1/me/webhooks`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Webhook {
    /// Id.
    pub id: String,
    /// Where it goes.
    #[serde(deserialize_with = "or_default")]
    pub url: String,
    /// RFC 3339.
    #[serde(deserialize_with = "or_default")]
    pub created_at: String,
    /// RFC 3339; why nothing is sent any more.
    pub disabled_at: Option<String>,
    /// Only in the answers that made it.
    pub secret: Option<String>,
}

/// Settings under a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preset {
    /// Its name.
    pub name: String,
    /// It was saved by an earlier version and cannot be used.
    pub outdated: bool,
}

impl Preset {
    /// Those of `GET /v1/presets`.
    #[must_use]
    pub fn read(said: &serde_json::Value) -> Vec<Self> {
        let one = |item: &serde_json::Value| {
            Some(Self { name: item["name"].as_str()?.to_owned(), outdated: item["outdated"].is_string() })
        };
        said["items"].as_array().into_iter().flatten().filter_map(one).collect()
    }
}

/// `GET /v1/me/export`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Export {
    /// none, preparing, ready, failed.
    pub state: String,
    /// Short-lived address of the archive; only after a recent sign-in.
    pub url: Option<String>,
    /// Its size.
    pub bytes: Option<u64>,
    /// RFC 3339.
    pub expires_at: Option<String>,
}

/// `GET /v1/auth/link/{token}`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Link {
    /// For whom.
    pub email: String,
    /// Whether this browser asked for the link.
    pub same_browser: bool,
    /// waiting, used, expired.
    pub state: String,
    /// `sign_in`, `change_email_old`, `change_email_new`; absent: `sign_in`.
    pub purpose: Option<String>,
}

/// What the page of a confirmation shows: `GET /v1/confirmations/{token}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confirmation {
    /// The message.
    pub ticket: String,
    /// When it was written.
    pub sent_at: String,
    /// `account` or `guest`: whose it is said to be.
    pub of: String,
    /// The account's address; empty for a guest.
    pub email: String,
    /// Whether it can be confirmed in this browser.
    pub here: bool,
    /// waiting, confirmed, expired.
    pub state: String,
}

impl Confirmation {
    /// Reads the answer; what is missing is empty.
    #[must_use]
    pub fn read(said: &serde_json::Value) -> Self {
        let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
        Self {
            ticket: text("ticket"),
            sent_at: text("sent_at"),
            of: text("of"),
            email: text("email"),
            here: said["here"] == true,
            state: text("state"),
        }
    }
}

/// `GET /v1/status`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Status {
    /// ok, or what does not work.
    #[serde(deserialize_with = "or_default")]
    pub state: String,
    /// Whether uploads are taken.
    pub uploads: Option<bool>,
    /// Tracks waiting.
    pub waiting: Option<u64>,
    /// Seconds of music waiting.
    pub waiting_seconds: Option<f64>,
    /// Seconds the oldest waiting track has waited.
    pub oldest_seconds: Option<f64>,
    /// Version of the service.
    pub version: Option<String>,
}

/// Who else sees data: configuration.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Provider {
    /// Who.
    pub name: String,
    /// What for.
    #[serde(deserialize_with = "or_default")]
    pub purpose: String,
    /// Where.
    #[serde(deserialize_with = "or_default")]
    pub country: String,
}

/// A share link: an item of `GET /v1/masters/{id}/shares`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Share {
    /// Id, `shr_…`.
    pub id: String,
    /// The address to pass on; given when it is made.
    pub url: Option<String>,
    /// RFC 3339.
    #[serde(deserialize_with = "or_default")]
    pub created_at: String,
}
