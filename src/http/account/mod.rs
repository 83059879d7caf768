//! The account: everything under `/v1/me`; the contact form and its confirmations.

pub mod access;
mod contact;
mod hooks;
mod leave;
pub mod profile;

use super::App;
use super::problem::{Answer, Problem};
use crate::db::Reader;
use crate::domain::identity::{Caller, Identity, Scope};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Everything under `/v1/me`, `/v1/contact`, and `/v1/confirmations`.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(profile::me, profile::change))
        .routes(routes!(profile::set_picture, profile::remove_picture))
        .routes(routes!(profile::change_email))
        .routes(routes!(access::list_sessions))
        .routes(routes!(access::revoke_session))
        .routes(routes!(access::revoke_others))
        .routes(routes!(access::list_tokens, access::create_token))
        .routes(routes!(access::revoke_token))
        .routes(routes!(access::create_grant))
        .routes(routes!(hooks::list, hooks::create))
        .routes(routes!(hooks::remove))
        .routes(routes!(hooks::rotate))
        .routes(routes!(hooks::test))
        .routes(routes!(hooks::deliveries))
        .routes(routes!(leave::export, leave::export_state))
        .routes(routes!(leave::delete))
        .routes(routes!(leave::keep))
        .routes(routes!(contact::contact))
        .routes(routes!(contact::confirmation, contact::confirm))
}

async fn reader(app: &App) -> Answer<Reader> {
    Ok(app.db.reader().await?)
}

/// Whose account it is: somebody signed in, or a program with the scope `account`.
fn account(caller: &Caller) -> Answer<&str> {
    match &caller.identity {
        Identity::User { user, .. } => Ok(user),
        Identity::Token { user, .. } => {
            caller.needs(Scope::Account)?;
            Ok(user)
        }
        _ => Err(Problem::unauthorized(
            "auth.sign_in_required",
            "sign in to do this, or use a token with the scope `account`",
        )),
    }
}
