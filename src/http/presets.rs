//! Settings that an account keeps under a name.

use super::App;
use super::extract::{Json, Path};
use super::problem::{Answer, Problem, ProblemBody};
use crate::domain::identity::{Caller, Identity, Scope};
use crate::domain::presets::{self, Preset};
use crate::domain::settings::SettingsSchema;
use axum::extract::State;
use axum::http::StatusCode;
use loopmaster_core::Settings;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show, put, remove))
}

/// Whose presets: somebody signed in, or a program with the scope `masters`.
fn account(caller: &Caller) -> Answer<&str> {
    match &caller.identity {
        Identity::User { user, .. } => Ok(user),
        Identity::Token { user, .. } => {
            caller.needs(Scope::Masters)?;
            Ok(user)
        }
        _ => Err(Problem::unauthorized(
            "auth.sign_in_required",
            "presets are kept in an account; sign in, or use a token with the scope `masters`",
        )),
    }
}

/// All presets of the account.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Presets {
    items: Vec<Preset>,
}

/// List presets
///
/// By name; an account has at most a hundred.
#[utoipa::path(get, path = "/presets", tag = "presets", operation_id = "preset_list",
    responses((status = 200, body = Presets), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn list(State(app): State<App>, caller: Caller) -> Answer<Json<Presets>> {
    Ok(Json(Presets { items: presets::list(&app.db, account(&caller)?).await? }))
}

/// Show a preset
#[utoipa::path(get, path = "/presets/{name}", tag = "presets", operation_id = "preset_show",
    responses((status = 200, body = Preset), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn show(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Answer<Json<Preset>> {
    Ok(Json(presets::find(&app.db, account(&caller)?, &name).await?))
}

/// What is to be kept.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPreset {
    #[schema(value_type = SettingsSchema)]
    settings: Settings,
}

/// Save a preset
///
/// Under a name of up to 64 letters, digits, spaces, dots, `_` and `-`; what was there is replaced. What has been ordered with it stays as it is.
#[utoipa::path(put, path = "/presets/{name}", tag = "presets", operation_id = "preset_put", request_body = NewPreset,
    responses((status = 200, body = Preset), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn put(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Json(new): Json<NewPreset>,
) -> Answer<Json<Preset>> {
    let user = account(&caller)?;
    Ok(Json(presets::put(&app.db, &app.config, &caller, user, &name, &new.settings).await?))
}

/// Delete a preset
#[utoipa::path(delete, path = "/presets/{name}", tag = "presets", operation_id = "preset_delete",
    responses((status = 204), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn remove(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Answer<StatusCode> {
    presets::remove(&app.db, account(&caller)?, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
