//! Who is asking. Cookies never reach us: the edge vouches for a guest id and hands on the session token, which is looked up here at
//! every request, so that a revoked session ends at once. Programs send a bearer token. Everybody else is nobody, which is enough for
//! capabilities (a ZIP, a share) and for the state of the service.

use super::App;
use super::limits::Rule;
use super::problem::{Answer, Problem};
use super::server::Place;
use super::signed::{self, Vouched};
use crate::config::Config;
use crate::db::{Db, hash_secret};
use crate::secrets::Keys;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use loopmaster_core::retention::IP_KEY;
use loopmaster_core::signing;
use sqlx::Row;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How old a sign-in may be for what matters (tokens, addresses, export, deletion).
pub const RECENT: i64 = 10 * 60 * 1000;
/// How often a session or token notes that it was used.
const NOTED: i64 = 5 * 60 * 1000;
const DAY: i64 = 24 * 3600 * 1000;
/// What is written into the audit for one owner or address in an hour: more than deleting a thousand songs one by one.
const CHANGES_AN_HOUR: u64 = 10_000;

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Send mixes.
    Uploads,
    /// Master, list, download, delete.
    Masters,
    /// See and change the account, mint grants and webhooks.
    Account,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 3] = [Self::Uploads, Self::Masters, Self::Account];

    /// The one name of the scope.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uploads => "uploads",
            Self::Masters => "masters",
            Self::Account => "account",
        }
    }
}

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nobody in particular.
    Nobody,
    /// A browser with a verified guest cookie.
    Guest {
        /// gst_…
        id: String,
    },
    /// Somebody signed in.
    User {
        /// ses_…
        session: String,
        /// usr_…
        user: String,
        /// When, by the database's clock.
        signed_in_at: i64,
    },
    /// A program with a token of a user.
    Token {
        /// tok_…
        token: String,
        /// usr_…
        user: String,
        /// What it may do.
        scopes: Vec<Scope>,
    },
    /// A page of somebody else with an upload-only capability of a user.
    Grant {
        /// grt_…
        grant: String,
        /// usr_…
        user: String,
    },
}

/// Who is asking, and from where.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub identity: Identity,
    /// The guest id of the browser, also while somebody is signed in: what a merge would move.
    pub guest: Option<String>,
    /// The token of a sign-in under way in this browser.
    pub login: Option<String>,
    /// The address, hashed with the key of the day; empty where nobody knows it.
    pub ip_hash: String,
    /// What the browser calls itself, shortened.
    pub user_agent: String,
    /// The request's name in all logs.
    pub request_id: String,
    /// Whether the edge vouches for this.
    pub through_edge: bool,
    /// SHA-256 of the body, where somebody needs it: signed requests and those with an idempotency key.
    pub body_sha256: String,
}

impl Caller {
    /// Whose things they are: usr_… or gst_….
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        match &self.identity {
            Identity::Nobody => None,
            Identity::Guest { id } => Some(id),
            Identity::User { user, .. } | Identity::Token { user, .. } | Identity::Grant { user, .. } => Some(user),
        }
    }

    /// Whose account it is.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.owner().filter(|owner| owner.starts_with("usr_"))
    }

    /// Whose turn is spent. New guest cookies do not buy turns: guests are told apart by address.
    #[must_use]
    pub fn owner_key(&self) -> &str {
        match (&self.identity, self.ip_hash.as_str()) {
            (Identity::Guest { id }, "") => id,
            (Identity::Guest { .. } | Identity::Nobody, ip) => ip,
            _ => self.owner().unwrap_or_default(),
        }
    }

    /// Who is counted by rate limits: token, else user, else address.
    #[must_use]
    pub fn rate_key(&self) -> &str {
        match &self.identity {
            Identity::Token { token, .. } => token,
            Identity::Grant { grant, .. } => grant,
            _ => self.owner_key(),
        }
    }

    /// Who did it, for the audit.
    #[must_use]
    pub fn actor(&self) -> &str {
        match &self.identity {
            Identity::Nobody => "nobody",
            Identity::Guest { id } => id,
            Identity::User { user, .. } => user,
            Identity::Token { token, .. } => token,
            Identity::Grant { grant, .. } => grant,
        }
    }

    /// Refuses a token that was not given this scope.
    pub fn needs(&self, scope: Scope) -> Answer<()> {
        let allowed = match &self.identity {
            Identity::Token { scopes, .. } => scopes.contains(&scope),
            Identity::Grant { .. } => scope == Scope::Uploads,
            _ => true,
        };
        if allowed {
            return Ok(());
        }
        let name = scope.name();
        Err(Problem::forbidden(
            "auth.scope_missing",
            format!("this needs a token with the scope `{name}`; make one in your account"),
        )
        .with("scope", name))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::internal("a route without identification"))
    }
}

/// Somebody who can own things: a guest, a user, or a program of a user.
#[derive(Clone, Debug)]
pub struct Visitor(pub Caller);

impl Visitor {
    /// Whose things they are.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.0.owner().unwrap_or_default()
    }
}

impl Deref for Visitor {
    type Target = Caller;
    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        if caller.owner().is_none() {
            return Err(Problem::unauthorized(
                "auth.required",
                "this needs a bearer token (Authorization: Bearer lmt_…), or the pages of the service",
            ));
        }
        Ok(Self(caller))
    }
}

/// Somebody signed in with a browser.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// usr_…
    pub user: String,
    /// ses_…
    pub session: String,
    /// When, by the database's clock.
    pub signed_in_at: i64,
    /// From where.
    pub caller: Caller,
}

impl SignedIn {
    /// Refuses a sign-in that is older than [`RECENT`].
    pub async fn recent(&self, db: &Db) -> Answer<()> {
        // One in the future was written by a clock that has been set back since: nobody knows when that was. Two clocks may differ a little.
        if (-1_000..=RECENT).contains(&(db.now().await? - self.signed_in_at)) {
            return Ok(());
        }
        Err(Problem::forbidden(
            "auth.recent_sign_in_required",
            "this needs a sign-in within the last ten minutes; sign in once more",
        ))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        match caller.identity.clone() {
            Identity::User { session, user, signed_in_at } => Ok(Self { user, session, signed_in_at, caller }),
            _ => Err(Problem::unauthorized("auth.sign_in_required", "sign in with a browser to do this")),
        }
    }
}

/// The layer in front of `/v1`: reads the body (bounded in size and time), finds out who asks, and goes on to where they are counted.
pub async fn identify(State(app): State<App>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let mut forget_session = false;
    let outcome = async {
        let body = read(body, app.config.limits.body_seconds).await?;
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
        let found = find_out(&app, &parts, &body, peer, request_id, &mut forget_session).await?;
        Ok::<_, Problem>((body, found))
    }
    .await;
    let (body, caller) = match outcome {
        Ok(found) => found,
        Err(problem) => return problem.into_response(),
    };
    tracing::Span::current().record("who", caller.actor());
    let changes = !matches!(parts.method, Method::GET | Method::HEAD) || parts.uri.path() == "/v1/me";
    let guest = match &caller.identity {
        Identity::Guest { id } if changes => Some(id.clone()),
        _ => None,
    };
    parts.extensions.insert(caller);
    let mut response = next.run(Request::from_parts(parts, Body::from(body))).await;
    if let Some(guest) = guest.filter(|_| response.status().is_success())
        && let Some(seconds) = guest_seconds(&app.db, &guest).await
        && let Ok(value) = HeaderValue::try_from(format!("{guest} {seconds}"))
    {
        response.headers_mut().entry(signing::SET_GUEST).or_insert(value);
    }
    if forget_session {
        // The cookie names no session any more; a sign-in in this very answer goes first.
        response.headers_mut().entry(signing::SET_SESSION).or_insert(HeaderValue::from_static("-"));
    }
    response
}

/// How long the newest track of a guest has to live, seconds: so long the cookie lives that it is reached with. `None` without a track,
/// and where the database does not say: then the cookie stays as it is.
async fn guest_seconds(db: &Db, guest: &str) -> Option<i64> {
    let text = db.sql(
        "SELECT MAX(expires_at) - {now} FROM (SELECT expires_at FROM masters WHERE owner = $1
           UNION ALL SELECT expires_at FROM uploads WHERE owner = $1) AS tracks",
    );
    let left: Option<i64> = sqlx::query_scalar(text).bind(guest).fetch_one(db.read()).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "a guest cookie is not renewed");
        None
    });
    left.filter(|left| *left > 0).map(|left| left.unsigned_abs().div_ceil(1000) as i64)
}

/// The request's name in all logs; put there by the outermost layer.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

async fn read(body: Body, seconds: u64) -> Answer<Bytes> {
    use http_body_util::{BodyExt, LengthLimitError, Limited};
    let limit = signing::MAX_BODY;
    match tokio::time::timeout(Duration::from_secs(seconds), Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request.too_large",
            format!(
                "the body has more than {limit} bytes; files go to storage with the addresses that /v1/uploads gives"
            ),
        )),
        Ok(Err(error)) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "request.body_broken",
            "the body ended early; send the request again",
        )
        .caused_by(error)),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "request.too_slow",
            format!("the body did not arrive within {seconds} seconds; send the request again"),
        )),
    }
}

async fn find_out(
    app: &App,
    parts: &Parts,
    body: &Bytes,
    peer: Option<IpAddr>,
    request_id: String,
    forget_session: &mut bool,
) -> Answer<Caller> {
    let headers = &parts.headers;
    let through_edge = signed::claims(headers);
    let body_sha256 = if through_edge || headers.contains_key(super::idempotency::HEADER) {
        signed::sha256(body)
    } else {
        String::new()
    };
    let user_agent = shortened(headers, &header::USER_AGENT);
    let mut caller = Caller {
        identity: Identity::Nobody,
        guest: None,
        login: None,
        ip_hash: String::new(),
        user_agent,
        request_id,
        through_edge,
        body_sha256,
    };
    if through_edge {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let vouched = signed::verify(&app.config.edge, parts, &caller.body_sha256, now)?;
        if let Some(place) = parts.extensions.get::<Place>() {
            place.vouch();
        }
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            spend(&app.db, &vouched.nonce).await?;
        }
        let Vouched { ip, guest, session, login, .. } = vouched;
        caller.ip_hash = ip;
        caller.login = login;
        caller.guest = guest.filter(|id| is_id(id, "gst_"));
        if let Some(session) = session {
            match session_of(app, &session).await? {
                Some(identity) => caller.identity = identity,
                None => *forget_session = true,
            }
        }
        if let (Identity::Nobody, Some(id)) = (&caller.identity, &caller.guest) {
            caller.identity = Identity::Guest { id: id.clone() };
        }
        return Ok(caller);
    }
    if let Some(ip) = client_address(headers, peer, app.config.trusted_hops) {
        caller.ip_hash = app.ip_keys.hash(&app.db, &app.config, ip).await;
    }
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let token = value
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let identity = match token {
            Some((_, token)) => token_of(&app.db, token.trim()).await?,
            None => None,
        };
        if let Some(identity) = identity {
            caller.identity = identity;
        } else {
            // Guessing costs the guesser.
            app.rates.check(&caller)?;
            return Err(Problem::unauthorized(
                "auth.token_invalid",
                "this token is unknown, expired or revoked; make a new one in your account",
            ));
        }
    }
    Ok(caller)
}

/// `<prefix>` and 32 characters of hex.
#[must_use]
pub fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix)
        .is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

fn shortened(headers: &HeaderMap, name: &header::HeaderName) -> String {
    let text = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// A nonce works once. Rows go when the signature is too old anyway.
async fn spend(db: &Db, nonce: &str) -> Answer<()> {
    let mut tx = db.begin().await?;
    let text = db.sql("INSERT INTO nonces (nonce, expires_at) VALUES ($1, {now} + $2) ON CONFLICT (nonce) DO NOTHING");
    let kept = 2_000 * signing::TOLERANCE as i64;
    let spent = sqlx::query(text).bind(nonce).bind(kept).execute(&mut *tx).await?;
    if spent.rows_affected() == 0 {
        return Err(Problem::unauthorized("edge.signature_replayed", "this signed request was sent before"));
    }
    tx.commit().await?;
    Ok(())
}

async fn session_of(app: &App, token: &str) -> Answer<Option<Identity>> {
    if !token.starts_with("lms_") {
        return Ok(None);
    }
    let db = &app.db;
    let text = db.sql(
        "SELECT s.id, s.user_id, s.signed_in_at, s.seen_at, {now} AS now FROM sessions s JOIN users u ON u.id = s.user_id
         WHERE s.token_hash = $1 AND s.revoked_at IS NULL AND u.banned_at IS NULL AND s.expires_at > {now} AND s.seen_at > {now} - $2",
    );
    let idle = i64::from(app.config.retention.session_idle_days) * DAY;
    let row = sqlx::query(text).bind(hash_secret(token)).bind(idle).fetch_optional(db.read()).await?;
    let Some(row) = row else { return Ok(None) };
    let (session, user): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let (signed_in_at, seen_at, now): (i64, i64, i64) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
    if (now - seen_at).abs() > NOTED {
        note(db, "UPDATE sessions SET seen_at = $1 WHERE id = $2", now, &session).await?;
    }
    Ok(Some(Identity::User { session, user, signed_in_at }))
}

async fn token_of(db: &Db, token: &str) -> Answer<Option<Identity>> {
    if !token.starts_with("lmt_") || token.len() > 100 {
        return Ok(None);
    }
    let text = db.sql(
        "SELECT t.id, t.user_id, t.scopes, COALESCE(t.used_at, 0), {now} AS now FROM tokens t JOIN users u ON u.id = t.user_id
         WHERE t.token_hash = $1 AND t.revoked_at IS NULL AND u.banned_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > {now})",
    );
    let row = sqlx::query(text).bind(hash_secret(token)).fetch_optional(db.read()).await?;
    let Some(row) = row else { return Ok(None) };
    let (token, user, scopes): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let (used_at, now): (i64, i64) = (row.try_get(3)?, row.try_get(4)?);
    if (now - used_at).abs() > NOTED {
        note(db, "UPDATE tokens SET used_at = $1 WHERE id = $2", now, &token).await?;
    }
    let scopes = Scope::ALL.into_iter().filter(|scope| scopes.split(' ').any(|name| name == scope.name())).collect();
    Ok(Some(Identity::Token { token, user, scopes }))
}

async fn note(db: &Db, text: &'static str, now: i64, id: &str) -> Answer<()> {
    let mut tx = db.begin().await?;
    sqlx::query(text).bind(now).bind(id).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

/// The upload-only capability in a path; 404 where it is none.
pub async fn grant_of(db: &Db, grant: &str, caller: &Caller) -> Answer<Visitor> {
    let text = db.sql(
        "SELECT g.id, g.user_id FROM grants g JOIN users u ON u.id = g.user_id
         WHERE g.grant_hash = $1 AND g.revoked_at IS NULL AND u.banned_at IS NULL AND g.expires_at > {now}",
    );
    let row = sqlx::query(text).bind(hash_secret(grant)).fetch_optional(db.read()).await?;
    let Some(row) = row else {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "grant.not_found",
            "this upload address is unknown, expired or revoked; ask the page for a new one",
        ));
    };
    let identity = Identity::Grant { grant: row.try_get(0)?, user: row.try_get(1)? };
    Ok(Visitor(Caller { identity, guest: None, login: None, ..caller.clone() }))
}

/// Makes the row of a guest id not seen before.
pub async fn welcome(tx: &mut crate::db::Tx, visitor: &Visitor, now: i64) -> Answer<()> {
    if let Identity::Guest { id } = &visitor.identity {
        sqlx::query("INSERT INTO guests (id, created_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
            .bind(id)
            .bind(now)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Writes down who did what, in the transaction that does it.
pub async fn audit(
    tx: &mut crate::db::Tx,
    caller: &Caller,
    action: &str,
    target: &str,
    detail: &str,
    now: i64,
) -> Answer<()> {
    // Whoever does and undoes the same all day does not fill the table.
    if !caller.owner_key().is_empty() {
        Rule::hourly("changes", CHANGES_AN_HOUR).spend(tx, caller.owner_key(), 1).await?;
    }
    crate::audit::note(tx, caller.actor(), action, target, &caller.ip_hash, detail, now).await?;
    Ok(())
}

/// The client's address: the peer, or what the outermost trusted proxy wrote. A header with fewer entries than there are proxies did
/// not come through them, and is not believed.
fn client_address(headers: &HeaderMap, peer: Option<IpAddr>, trusted_hops: u8) -> Option<IpAddr> {
    if trusted_hops == 0 {
        return peer;
    }
    let lists = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let entries: Vec<&str> = lists.flat_map(|list| list.split(',')).map(str::trim).collect();
    let entry = entries.len().checked_sub(usize::from(trusted_hops)).and_then(|index| entries.get(index));
    entry.and_then(|entry| entry.parse().ok()).or(peer)
}

/// Hashes addresses with a random key of the day that is forgotten after 48 hours.
#[derive(Debug, Default)]
pub struct IpKeys(Mutex<Option<IpKey>>);

#[derive(Clone, Debug)]
struct IpKey {
    day: i64,
    key: Arc<[u8; 32]>,
    /// Made up while the database was away; looked for again then.
    until: Option<Instant>,
}

impl IpKeys {
    /// The hash of the network an address belongs to: IPv4 alone, IPv6 with its /64. Without the database it is this process's own for a
    /// while: who asks for the state of the service is told even then.
    pub async fn hash(&self, db: &Db, config: &Config, ip: IpAddr) -> String {
        let today = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64) / DAY;
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let good = |kept: &IpKey| kept.day == today && kept.until.is_none_or(|until| Instant::now() < until);
        let key = if let Some(kept) = kept.filter(good) {
            kept.key
        } else {
            let (key, until) = match key_of(db, &Keys::of(config), today).await {
                Ok(key) => (key, None),
                Err(problem) => {
                    tracing::warn!(cause = problem.cause(), "no key of the day");
                    (rand::random(), Some(Instant::now() + Duration::from_secs(10)))
                }
            };
            let key = Arc::new(key);
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(IpKey { day: today, key: Arc::clone(&key), until });
            key
        };
        let network = match ip.to_canonical() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets()[..8].to_vec(),
        };
        signed::hex(&signed::hmac(&*key, &[&network])[..16])
    }
}

/// The key of a day. It lies sealed with the service's secret: who has only the database, or a backup of it, cannot try addresses.
async fn key_of(db: &Db, keys: &Keys, day: i64) -> Answer<[u8; 32]> {
    let name = day.to_string();
    let purpose = format!("key of day {name}");
    let open = |kept: &str| keys.open(&purpose, kept).and_then(|key| <[u8; 32]>::try_from(key).ok());
    let fresh: [u8; 32] = rand::random();
    let mut tx = db.begin().await?;
    let insert =
        db.sql("INSERT INTO ip_keys (day, secret, created_at) VALUES ($1, $2, {now}) ON CONFLICT (day) DO NOTHING");
    sqlx::query(insert).bind(&name).bind(keys.seal(&purpose, &fresh)).execute(&mut *tx).await?;
    let old = db.sql("DELETE FROM ip_keys WHERE created_at < {now} - $1");
    sqlx::query(old).bind(IP_KEY).execute(&mut *tx).await?;
    let text = tx.sql("SELECT secret FROM ip_keys WHERE day = $1 {lock}");
    let kept: String = sqlx::query_scalar(text).bind(&name).fetch_one(&mut *tx).await?;
    let key = if let Some(key) = open(&kept) {
        key
    } else {
        // In clear, by a process of an earlier version that still runs, or sealed with a secret of before: it is replaced, and what
        // was hashed with it is as good as forgotten.
        let text = "UPDATE ip_keys SET secret = $1 WHERE day = $2";
        sqlx::query(text).bind(keys.seal(&purpose, &fresh)).bind(&name).execute(&mut *tx).await?;
        fresh
    };
    // Those of other days are of no use to anybody; one in clear does not wait for its time.
    sqlx::query("DELETE FROM ip_keys WHERE day <> $1 AND secret NOT LIKE '1.%'").bind(&name).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        let address = |forwarded: &str, hops| {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", forwarded.parse().unwrap());
            client_address(&headers, Some(peer), hops).unwrap().to_string()
        };
        assert_eq!(address("1.1.1.1", 0), "10.0.0.1", "never a client's own word");
        assert_eq!(address("6.6.6.6, 2.2.2.2", 1), "2.2.2.2", "what the client wrote lies to the left");
        assert_eq!(address("6.6.6.6, 2.2.2.2, 3.3.3.3", 2), "2.2.2.2");
        assert_eq!(address("2.2.2.2", 2), "10.0.0.1", "too short: it did not come through both proxies");
        assert_eq!(address("nonsense", 1), "10.0.0.1");
    }

    #[test]
    fn ids_are_exact() {
        assert!(is_id("gst_0123456789abcdef0123456789abcdef", "gst_"));
        for wrong in [
            "gst_",
            "gst_0123456789ABCDEF0123456789abcdef",
            "usr_0123456789abcdef0123456789abcdef",
            "gst_../../0123456789abcdef01234567",
        ] {
            assert!(!is_id(wrong, "gst_"));
        }
    }
}
