//! `/health`, `/version`, `/stats`.

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use miroir_core::access::Grant;
use miroir_core::replica::recovery::Release;
use serde_json::json;

use super::error::Failure;
use super::{Shared, answered, json};

pub async fn health() -> Response {
    json(StatusCode::OK, r#"{"status":"available"}"#)
}

pub async fn running() -> Response {
    json(StatusCode::OK, r#"{"status":"Meilisearch is running"}"#)
}

/// The Meilisearch that the nodes run: clients choose their behaviour by it.
pub async fn version(State(cluster): State<Shared>) -> Response {
    let nodes = cluster.state.nodes();
    let versions = nodes.values().filter_map(|node| node.health.report().version);
    let version = oldest(versions).unwrap_or_else(|| "unknown".into());
    let body = json!({ "commitSha": "unknown", "commitDate": "unknown", "pkgVersion": version });
    json(StatusCode::OK, body.to_string())
}

/// The oldest of these versions; one that cannot be read only if none can.
fn oldest(versions: impl Iterator<Item = String>) -> Option<String> {
    let read = versions.map(|version| (version.parse::<Release>().ok(), version));
    read.min_by_key(|(release, version)| (release.is_none(), *release, version.clone())).map(|(_, version)| version)
}

pub async fn stats(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    Ok(answered(StatusCode::OK, cluster.reads.stats(&grant, &query.unwrap_or_default()).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_version_is_the_one_of_the_lowest_number() {
        let of = |versions: &[&str]| oldest(versions.iter().map(|version| (*version).to_owned()));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["1.15.10", "1.15.9", "1.16.0"]).as_deref(), Some("1.15.9"));
        assert_eq!(of(&["main", "1.50.0"]).as_deref(), Some("1.50.0"));
        assert_eq!(of(&["main", "dev"]).as_deref(), Some("dev"));
    }
}
