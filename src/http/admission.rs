//! What may be sent here, told before anything is sent.

use super::App;
use super::extract::Json;
use super::problem::Answer;
use crate::domain::admission::limits;
use crate::work::capacity::{self, Longest};
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show))
}

/// Bounds on a file, and on the audio in it.
#[derive(Debug, Serialize, ToSchema)]
struct FileLimits {
    /// Largest file, bytes.
    #[schema(example = 4_294_967_296_u64)]
    file_bytes: u64,
    /// Longest track, seconds.
    #[schema(example = 7_200.0)]
    seconds: f64,
    /// Most bytes of decoded audio of one track: 8 for each frame; rates under 44.1 kHz are raised to it.
    #[schema(example = 6_442_450_944_u64)]
    decoded_bytes: u64,
    /// The longest track of each usual rate that follows from both.
    longest: Vec<Longest>,
    /// Lowest and highest sample rate, Hz.
    #[schema(example = json!([8_000, 192_000]))]
    rates: [u32; 2],
    /// Most channels.
    channels: u16,
}

/// What may be sent
///
/// How large a file and how long a track may be. It follows from the memory and the disk of the machines that master here, so it is worth
/// asking before a long upload.
#[utoipa::path(get, path = "/limits", tag = "service", operation_id = "limits", security(()), responses((status = 200, body = FileLimits)))]
async fn show(State(app): State<App>) -> Answer<Json<FileLimits>> {
    let limits = limits(&app.db, &app.config).await?;
    Ok(Json(FileLimits {
        file_bytes: limits.bytes,
        seconds: limits.seconds,
        decoded_bytes: limits.memory,
        longest: capacity::longest(limits.memory, &limits),
        rates: [limits.rate.0, limits.rate.1],
        channels: limits.channels,
    }))
}
