//! `/_miroir/indexes/{uid}/settings`: how a change of settings stands, and what repairs nodes.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use miroir_api::{SettingsRepair, SettingsStatus};
use miroir_cluster::repair_view;

use super::error::Failure;
use super::observe::undertaken;
use super::openapi::{OfIndex, Refused};
use super::{Named, Shared, index_uid, shown};

/// How a change of an index's settings stands, and which nodes are behind
#[utoipa::path(
    get,
    path = "/_miroir/indexes/{uid}/settings/status",
    operation_id = "settingsStatus",
    tag = "settings",
    params(OfIndex),
    responses(
        (status = 200, description = "How it stands.", body = SettingsStatus),
        OfIndex,
        Refused,
    ),
)]
pub async fn status(State(cluster): State<Shared>, Named(uid): Named) -> Result<Response, Failure> {
    let index = cluster.state.fresh_index(&index_uid(&uid)?).await?;
    shown(StatusCode::OK, &cluster.settings.settings_status(&index).await?)
}

/// Bring nodes to the committed settings of an index
///
/// Every node that is behind, or because of which the index is frozen. Waits until they have read them back, for
/// `settings_broadcast.verify_timeout_s` or four fifths of `server.request_timeout_ms`, whichever is shorter.
#[utoipa::path(
    post,
    path = "/_miroir/indexes/{uid}/settings/repair",
    operation_id = "repairSettings",
    tag = "settings",
    params(OfIndex),
    responses(
        (status = 200, description = "What came of each node.", body = SettingsRepair),
        OfIndex,
        Refused,
    ),
)]
pub async fn repair(State(cluster): State<Shared>, Named(uid): Named) -> Result<Response, Failure> {
    let index = cluster.state.fresh_index(&index_uid(&uid)?).await?;
    let repaired =
        undertaken(&cluster, move |cluster, _| async move { cluster.settings.repair_settings(&index).await }).await?;
    let now = cluster.state.fresh_index(&index_uid(&uid)?).await?;
    shown(StatusCode::OK, &repair_view(&now, &repaired))
}
