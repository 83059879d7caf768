//! Sign-in: by mail, through a provider; sessions; taking over a guest's masters.

use super::App;
use super::account::profile;
use super::extract::{Json, Path};
use super::problem::{Answer, Problem, ProblemBody};
use crate::domain::accounts::{email, merge, oidc, picture, sessions, users};
use crate::domain::audit;
use crate::domain::error::Error;
use crate::domain::identity::{Caller, Identity, SignedIn};
use crate::outside::oidc::Provider;
use crate::timestamp;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use loopmaster_core::retention::SIGN_IN;
use loopmaster_core::signing;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Everything under `/v1/auth`.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(begin))
        .routes(routes!(code))
        .routes(routes!(wait))
        .routes(routes!(show, press))
        .routes(routes!(google))
        .routes(routes!(google_callback))
        .routes(routes!(merge_count, merge_now))
        .routes(routes!(sign_out))
}

/// An answer of the api that the edge turns into a cookie.
fn cookie(headers: &mut HeaderMap, name: &'static str, token: &str, milliseconds: i64) {
    if let Ok(value) = HeaderValue::try_from(format!("{token} {}", milliseconds / 1000)) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn clear(headers: &mut HeaderMap, name: &'static str) {
    headers.insert(HeaderName::from_static(name), HeaderValue::from_static("-"));
}

/// Sign-in is for browsers: its tokens live in the edge's cookies.
pub(super) fn through_edge(caller: &Caller) -> Answer<()> {
    if caller.through_edge {
        return Ok(());
    }
    Err(Problem::unauthorized(
        "auth.browser_only",
        "sign in on the pages of the service; programs use a token from the account page",
    ))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BeginBody {
    /// Where the mail goes.
    #[schema(example = "ana@example.com")]
    email: String,
    /// The statement to be at least 13 years old.
    of_age: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct BeginAnswer {
    /// Names this sign-in for the code and for waiting.
    login: String,
    /// When link and code stop working.
    expires_at: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CodeBody {
    /// As `POST /v1/auth/email` gave it.
    login: String,
    /// Six digits of the mail.
    #[schema(example = "042137")]
    code: String,
}

/// Who is signed in now.
#[derive(Debug, Serialize, ToSchema)]
struct SignedInAnswer {
    user: profile::UserAnswer,
    /// Masters of this browser's guest that can be taken over.
    guest_masters: i64,
}

/// Who came back from the provider.
#[derive(Debug, Serialize, ToSchema)]
struct CameBack {
    #[serde(flatten)]
    signed_in: SignedInAnswer,
    /// The path given at the beginning.
    next: String,
}

/// The provider does not run the mailbox of the address it named: a mail with a link and a code has gone there.
#[derive(Debug, Serialize, ToSchema)]
struct ToConfirm {
    /// Names the sign-in for the code and for waiting, as of `POST /v1/auth/email`.
    login: String,
    /// Where the mail went.
    email: String,
    /// When link and code stop working.
    expires_at: String,
    /// The path given at the beginning.
    next: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct WaitAnswer {
    /// waiting, `signed_in` or expired.
    state: &'static str,
    /// The link was opened in another browser and signed that one in.
    elsewhere: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct LinkAnswer {
    /// The address the mail went to.
    email: String,
    /// Whether it was asked for in this browser.
    same_browser: bool,
    /// waiting, used or expired.
    state: &'static str,
    /// `sign_in`, `change_email_old` or `change_email_new`.
    purpose: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct PressAnswer {
    /// Who is signed in now; nothing for a change of address.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<profile::UserAnswer>,
    /// Masters of this browser's guest that can be taken over.
    guest_masters: i64,
    /// For a change of address: whether it is made, or the other mailbox is still to be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    address_changed: Option<bool>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GoogleBody {
    /// The statement to be at least 13 years old.
    of_age: bool,
    /// A path of the pages to go to afterwards, given back at the end.
    #[serde(default)]
    #[schema(max_length = 500)]
    next: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct GoogleAnswer {
    /// Where to send the browser.
    url: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CallbackBody {
    /// As the provider gave it back.
    state: String,
    /// As the provider gave it.
    code: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct MergeCount {
    /// How many would move.
    masters: i64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Merged {
    /// How many have moved.
    moved: i64,
}

fn needs_age(of_age: bool) -> Answer<()> {
    if of_age {
        return Ok(());
    }
    Err(Problem::unprocessable(
        "auth.age_required",
        "LoopMastering is for people of 13 years and more; confirm that you are, to sign in",
    ))
}

/// Asks for a mail with a link and a code. The answer is the same for every address.
#[utoipa::path(post, path = "/auth/email", tag = "auth", request_body = BeginBody,
    responses((status = 202, body = BeginAnswer), (status = "4XX", body = ProblemBody)))]
async fn begin(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<BeginBody>,
) -> Answer<(StatusCode, HeaderMap, Json<BeginAnswer>)> {
    through_edge(&caller)?;
    needs_age(body.of_age)?;
    let email = profile::valid_address(&body.email)?;
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    let begun = email::begin(&mut tx, &app, &email, None, &caller, now).await?;
    tx.commit().await?;
    let mut headers = HeaderMap::new();
    cookie(&mut headers, signing::SET_LOGIN, &begun.browser, SIGN_IN);
    Ok((
        StatusCode::ACCEPTED,
        headers,
        Json(BeginAnswer { login: begun.login, expires_at: timestamp::rfc3339(begun.expires_at) }),
    ))
}

async fn signed_in(
    app: &App,
    caller: &Caller,
    user: users::User,
    session: &sessions::Opened,
    same_browser: bool,
) -> Answer<(HeaderMap, SignedInAnswer)> {
    let mut reader = app.db.reader().await?;
    let guest_masters =
        if same_browser { merge::count(&mut reader, &session.id, caller.guest.as_deref()).await? } else { 0 };
    drop(reader);
    let mut headers = HeaderMap::new();
    cookie(&mut headers, signing::SET_SESSION, &session.token, session.lasts);
    Ok((headers, SignedInAnswer { user: profile::UserAnswer::of(app, user).await?, guest_masters }))
}

/// Signs in with the code of the mail, in the browser that asked for it. Five wrong codes void it.
#[utoipa::path(post, path = "/auth/email/code", tag = "auth", request_body = CodeBody,
    responses((status = 200, body = SignedInAnswer), (status = "4XX", body = ProblemBody)))]
async fn code(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<CodeBody>,
) -> Answer<(HeaderMap, Json<SignedInAnswer>)> {
    through_edge(&caller)?;
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    let done = email::try_code(&mut tx, &app, &body.login, &body.code, &caller, now).await;
    // A wrong code counts, so it is written down; only a broken transaction is not.
    if done.as_ref().err().is_none_or(Error::is_refusal) {
        tx.commit().await?;
    }
    let done = done?;
    let (headers, answer) = signed_in(&app, &caller, done.user, &done.session, done.same_browser).await?;
    Ok((headers, Json(answer)))
}

/// How a sign-in by mail stands: what the tab that waits asks every few seconds.
#[utoipa::path(get, path = "/auth/email/{login}", tag = "auth", params(("login" = String, Path)),
    responses((status = 200, body = WaitAnswer), (status = "4XX", body = ProblemBody)))]
async fn wait(
    State(app): State<App>,
    caller: Caller,
    Path(login): Path<String>,
) -> Answer<(HeaderMap, Json<WaitAnswer>)> {
    through_edge(&caller)?;
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    let waiting = email::wait(&mut tx, &app, &login, &caller, now).await?;
    tx.commit().await?;
    let mut headers = HeaderMap::new();
    let (state, elsewhere) = match waiting {
        email::Waiting::Waiting => ("waiting", false),
        email::Waiting::Expired(elsewhere) => ("expired", elsewhere),
        email::Waiting::SignedIn(session) => {
            if let Some(session) = session {
                cookie(&mut headers, signing::SET_SESSION, &session.token, session.lasts);
            }
            ("signed_in", false)
        }
    };
    Ok((headers, Json(WaitAnswer { state, elsewhere })))
}

/// What the page of a link shows. Nothing is consumed: programs that look into mails may ask.
#[utoipa::path(get, path = "/auth/link/{token}", tag = "auth", params(("token" = String, Path)),
    responses((status = 200, body = LinkAnswer), (status = "4XX", body = ProblemBody)))]
async fn show(State(app): State<App>, caller: Caller, Path(token): Path<String>) -> Answer<Json<LinkAnswer>> {
    through_edge(&caller)?;
    let now = app.db.now().await?;
    let mut reader = app.db.reader().await?;
    let email::Shown { email, same_browser, purpose, state } = email::show(&mut reader, &token, &caller, now).await?;
    Ok(Json(LinkAnswer { email, same_browser, state, purpose }))
}

/// Uses a link, once: signs this browser in, or confirms an address.
#[utoipa::path(post, path = "/auth/link/{token}", tag = "auth", params(("token" = String, Path)),
    responses((status = 200, body = PressAnswer), (status = "4XX", body = ProblemBody)))]
async fn press(
    State(app): State<App>,
    caller: Caller,
    Path(token): Path<String>,
) -> Answer<(HeaderMap, Json<PressAnswer>)> {
    through_edge(&caller)?;
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    let pressed = email::press(&mut tx, &app, &token, &caller, now).await?;
    tx.commit().await?;
    match pressed {
        email::Pressed::SignedIn(done) => {
            let (headers, answer) = signed_in(&app, &caller, done.user, &done.session, done.same_browser).await?;
            let SignedInAnswer { user, guest_masters } = answer;
            Ok((headers, Json(PressAnswer { user: Some(user), guest_masters, address_changed: None })))
        }
        email::Pressed::Confirmed(changed) => {
            Ok((HeaderMap::new(), Json(PressAnswer { user: None, guest_masters: 0, address_changed: Some(changed) })))
        }
    }
}

fn offered(app: &App) -> Answer<&Provider> {
    app.google.as_ref().ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "auth.provider_unknown",
            "sign-in with Google is not offered here; sign in by mail",
        )
    })
}

/// Begins a sign-in with Google.
#[utoipa::path(post, path = "/auth/google", tag = "auth", request_body = GoogleBody,
    responses((status = 200, body = GoogleAnswer), (status = "4XX", body = ProblemBody), (status = 502, body = ProblemBody)))]
async fn google(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<GoogleBody>,
) -> Answer<(HeaderMap, Json<GoogleAnswer>)> {
    through_edge(&caller)?;
    needs_age(body.of_age)?;
    if !body.next.is_empty() && !signing::is_our_path(&body.next) {
        let most = signing::LONGEST_PATH;
        let detail = format!(
            "`next` is a path of these pages: it begins with one slash and has at most {most} plain characters"
        );
        return Err(Problem::unprocessable("auth.next", detail));
    }
    let provider = offered(&app)?;
    let asked = oidc::authorize(provider).await?;
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    let (url, browser) = oidc::begin(provider, &mut tx, asked, &caller, &body.next, now).await?;
    tx.commit().await?;
    let mut headers = HeaderMap::new();
    cookie(&mut headers, signing::SET_LOGIN, &browser, SIGN_IN);
    Ok((headers, Json(GoogleAnswer { url })))
}

/// Ends a sign-in with Google: the page the provider came back to hands on what it was given. An address whose mailbox Google does not
/// run is confirmed by mail first, once: then the answer is 202.
#[utoipa::path(post, path = "/auth/google/callback", tag = "auth", request_body = CallbackBody,
    responses((status = 200, body = CameBack), (status = 202, body = ToConfirm), (status = "4XX", body = ProblemBody), (status = 502, body = ProblemBody)))]
async fn google_callback(State(app): State<App>, caller: Caller, Json(body): Json<CallbackBody>) -> Answer<Response> {
    through_edge(&caller)?;
    let provider = offered(&app)?;
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    let asked = oidc::take(provider, &mut tx, &body.state, &caller, now).await?;
    tx.commit().await?;
    // The network is not asked while a transaction is open.
    let person = oidc::exchange(provider, &asked, &body.code).await?;
    let mut tx = app.db.begin().await?;
    let reached = oidc::sign_in(&mut tx, &app, &person, &caller, now).await?;
    tx.commit().await?;
    let mut done = match reached {
        oidc::Reached::In(done) => *done,
        oidc::Reached::Confirm { begun, email } => {
            let mut headers = HeaderMap::new();
            cookie(&mut headers, signing::SET_LOGIN, &begun.browser, SIGN_IN);
            let expires_at = timestamp::rfc3339(begun.expires_at);
            let answer = ToConfirm { login: begun.login, email, expires_at, next: asked.next };
            return Ok((StatusCode::ACCEPTED, headers, Json(answer)).into_response());
        }
    };
    if let (true, Some(address)) = (done.new, &person.picture)
        && let Some(jpeg) = picture::fetch(&app, &done.user.id, provider.picture_hosts(), address).await
    {
        // A picture is no reason to keep somebody out.
        match picture::keep(&app, &done.user.id, jpeg).await {
            Ok(key) => done.user.picture_key = Some(key),
            Err(problem) => tracing::warn!(%problem, "the provider's picture was not kept"),
        }
    }
    let (headers, signed_in) = signed_in(&app, &caller, done.user, &done.session, true).await?;
    Ok((headers, Json(CameBack { signed_in, next: asked.next })).into_response())
}

/// How many masters of this browser's guest can be taken over.
#[utoipa::path(get, path = "/auth/merge", tag = "auth",
    responses((status = 200, body = MergeCount), (status = "4XX", body = ProblemBody)))]
async fn merge_count(State(app): State<App>, who: SignedIn) -> Answer<Json<MergeCount>> {
    let mut reader = app.db.reader().await?;
    let masters = merge::count(&mut reader, &who.session, who.caller.guest.as_deref()).await?;
    Ok(Json(MergeCount { masters }))
}

/// Takes the masters of this browser's guest over: they stay until deleted. The browser gets a new guest id.
#[utoipa::path(post, path = "/auth/merge", tag = "auth",
    responses((status = 200, body = Merged), (status = "4XX", body = ProblemBody)))]
async fn merge_now(State(app): State<App>, who: SignedIn) -> Answer<(HeaderMap, Json<Merged>)> {
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    let Some(moved) = merge::merge(&mut tx, &who, now).await? else {
        return Ok((HeaderMap::new(), Json(Merged { moved: 0 })));
    };
    audit::record(
        &mut tx,
        &who.caller,
        "guest.merged",
        who.caller.guest.as_deref().unwrap_or_default(),
        &format!("{moved} masters"),
        now,
    )
    .await?;
    tx.commit().await?;
    let mut headers = HeaderMap::new();
    clear(&mut headers, signing::SET_GUEST);
    Ok((headers, Json(Merged { moved })))
}

/// Ends this browser's session.
#[utoipa::path(post, path = "/auth/sign-out", tag = "auth", responses((status = 204), (status = "4XX", body = ProblemBody)))]
async fn sign_out(State(app): State<App>, caller: Caller) -> Answer<(StatusCode, HeaderMap)> {
    through_edge(&caller)?;
    if let Identity::User { session, user, .. } = &caller.identity {
        let now = app.db.now().await?;
        let mut tx = app.db.begin().await?;
        sessions::revoke(&mut tx, user, session, now).await?;
        audit::record(&mut tx, &caller, "signed_out", session, "", now).await?;
        tx.commit().await?;
    }
    let mut headers = HeaderMap::new();
    clear(&mut headers, signing::SET_SESSION);
    Ok((StatusCode::NO_CONTENT, headers))
}
