//! Who one is, what one may use, and what one has set.

use super::{account, reader};
use crate::domain::accounts::picture;
use crate::domain::accounts::{email, users};
use crate::domain::audit;
use crate::domain::identity::{Caller, Scope, SignedIn};
use crate::domain::masters;
use crate::domain::quotas::Quotas;
use crate::http::App;
use crate::http::extract::Json;
use crate::http::problem::{Answer, Problem, ProblemBody};
use crate::timestamp;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use loopmaster_core::retention::POLICY;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// How long the address of a picture works.
const PICTURE_TTL: Duration = Duration::from_mins(15);

/// A user as they see themselves.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct UserAnswer {
    id: String,
    email: String,
    name: String,
    /// Address of the picture, for a few minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    picture: Option<String>,
    /// Whether a mail comes when a batch is done.
    mail_when_ready: bool,
    created_at: String,
    /// When the account goes, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    delete_after: Option<String>,
    /// Whether the user has seen the privacy policy in force.
    policy_current: bool,
}

impl UserAnswer {
    pub(in crate::http) async fn of(app: &App, user: users::User) -> Answer<Self> {
        let picture = match &user.picture_key {
            Some(key) => {
                Some(app.store.presign_get(key, "picture.jpg", "image/jpeg", true, PICTURE_TTL).await?.to_string())
            }
            None => None,
        };
        Ok(Self {
            id: user.id,
            email: user.email,
            name: user.name,
            picture,
            mail_when_ready: user.mail_when_ready,
            created_at: timestamp::rfc3339(user.created_at),
            delete_after: user.delete_after.map(timestamp::rfc3339),
            policy_current: user.policy_version == POLICY,
        })
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Me {
    /// Who is signed in; for a token only with the scope `account`.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserAnswer>,
    /// The guest of this browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    guest: Option<GuestAnswer>,
    quotas: Quotas,
}

#[derive(Debug, Serialize, ToSchema)]
struct GuestAnswer {
    /// Masters of the guest.
    masters: u64,
}

/// Who one is and what one may use.
#[utoipa::path(get, path = "/me", tag = "account", security((), ("bearer" = [])), responses((status = 200, body = Me), (status = "4XX", body = ProblemBody)))]
pub(super) async fn me(State(app): State<App>, caller: Caller) -> Answer<Json<Me>> {
    let mut c = reader(&app).await?;
    let user = match caller.user() {
        // Name and address are the account's: a program that only sends or masters does not learn them.
        Some(id) if caller.needs(Scope::Account).is_ok() => users::by_id(&mut c, id).await?,
        _ => None,
    };
    let guest = match &caller.guest {
        Some(id) => Some(GuestAnswer { masters: masters::count_of_guest(&mut c, id).await? }),
        None => None,
    };
    drop(c);
    let quotas = Quotas::of(&app, &caller).await?;
    let user = match user {
        Some(user) => Some(UserAnswer::of(&app, user).await?),
        None => None,
    };
    Ok(Json(Me { user, guest, quotas }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Changes {
    /// 1 to 100 characters.
    name: Option<String>,
    /// Whether a mail comes when a batch is done.
    mail_when_ready: Option<bool>,
    /// Says that the privacy policy in force was seen.
    accept_policy: Option<bool>,
}

/// Changes name and choices.
#[utoipa::path(patch, path = "/me", tag = "account", request_body = Changes,
    responses((status = 200, body = UserAnswer), (status = "4XX", body = ProblemBody)))]
pub(super) async fn change(
    State(app): State<App>,
    caller: Caller,
    Json(changes): Json<Changes>,
) -> Answer<Json<UserAnswer>> {
    let user = account(&caller)?;
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    if let Some(name) = &changes.name {
        users::rename(&mut tx, user, name).await?;
    }
    if let Some(wanted) = changes.mail_when_ready {
        users::set_mail_when_ready(&mut tx, user, wanted).await?;
    }
    if changes.accept_policy == Some(true) {
        users::accept_policy(&mut tx, user).await?;
        audit::record(&mut tx, &caller, "policy.accepted", user, POLICY, now).await?;
    }
    let changed = users::of_session(&mut tx, user).await?;
    tx.commit().await?;
    Ok(Json(UserAnswer::of(&app, changed).await?))
}

/// Sets the picture: a JPEG, PNG or WebP of at most 1 MiB and 9 million pixels. It is made anew, 256 pixels square.
#[utoipa::path(put, path = "/me/picture", tag = "account",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = UserAnswer), (status = "4XX", body = ProblemBody)))]
pub(super) async fn set_picture(State(app): State<App>, who: SignedIn, body: Bytes) -> Answer<Json<UserAnswer>> {
    let jpeg = picture::remake(&app, &who.user, &body).await?;
    picture::keep(&app, &who.user, jpeg).await?;
    again(&app, &who.user).await
}

/// Removes the picture.
#[utoipa::path(delete, path = "/me/picture", tag = "account",
    responses((status = 200, body = UserAnswer), (status = "4XX", body = ProblemBody)))]
pub(super) async fn remove_picture(State(app): State<App>, who: SignedIn) -> Answer<Json<UserAnswer>> {
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    picture::exchange(&mut tx, &who.user, None, now).await?;
    tx.commit().await?;
    again(&app, &who.user).await
}

async fn again(app: &App, user: &str) -> Answer<Json<UserAnswer>> {
    let mut c = reader(app).await?;
    let user = users::of_session(&mut c, user).await?;
    drop(c);
    Ok(Json(UserAnswer::of(app, user).await?))
}

/// A mail address in the one spelling accounts have.
pub(in crate::http) fn valid_address(typed: &str) -> Answer<String> {
    crate::outside::address::address(typed).ok_or_else(|| {
        let shown: String = typed.chars().filter(|c| !c.is_control()).take(100).collect();
        Problem::unprocessable(
            "request.email",
            format!("`{shown}` is not a mail address; use one like ana@example.com"),
        )
    })
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAddress {
    /// The address the account is to have.
    email: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AddressAsked {
    /// Until then both mailboxes have to confirm.
    expires_at: String,
}

/// Asks both mailboxes whether the account may move. Needs a recent sign-in.
#[utoipa::path(post, path = "/me/email", tag = "account", request_body = NewAddress,
    responses((status = 202, body = AddressAsked), (status = "4XX", body = ProblemBody)))]
pub(super) async fn change_email(
    State(app): State<App>,
    who: SignedIn,
    Json(body): Json<NewAddress>,
) -> Answer<(StatusCode, Json<AddressAsked>)> {
    who.recent(&app.db).await?;
    let new = valid_address(&body.email)?;
    let now = app.db.now().await?;
    let mut tx = app.db.begin().await?;
    let user = users::of_session(&mut tx, &who.user).await?;
    if user.email == new {
        return Err(Problem::unprocessable(
            "account.email_same",
            format!("{new} is the address of this account already"),
        ));
    }
    let expires_at = email::begin_change(&mut tx, &app, &user, &new, &who.caller, now).await?;
    audit::record(&mut tx, &who.caller, "email.change_asked", &who.user, "", now).await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(AddressAsked { expires_at: timestamp::rfc3339(expires_at) })))
}
