//! `/_miroir/anti-entropy`: comparing replicas on demand, and what was found.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use miroir_api::{AntiEntropyStatus, ErrorBody, Pass, RunAntiEntropy};
use miroir_cluster::Error;
use miroir_core::replica::digest::Depth;
use serde_json::Value;

use super::body::Payload;
use super::error::Failure;
use super::object::Object;
use super::observe::undertaken;
use super::openapi::{Refused, RefusedBody};
use super::{Shared, body, index_uid, shown};

/// Have all instances compare replicas now
///
/// Begins a pass over the shards, as the schedule does; a pass that somebody has begun since the last one was looked up is
/// the one that is answered.
#[utoipa::path(
    post,
    path = "/_miroir/anti-entropy/run",
    operation_id = "runAntiEntropy",
    tag = "anti-entropy",
    request_body = Option<RunAntiEntropy>,
    responses(
        (status = 202, description = "The pass, which goes on by itself.", body = Pass),
        RefusedBody,
        (status = 404, description = "There is no such index (`index_not_found`).", body = ErrorBody),
        Refused,
    ),
)]
pub async fn run(State(cluster): State<Shared>, mut payload: Payload) -> Result<Response, Failure> {
    let wanted = match payload.optional_json().await? {
        Some(body) => serde_json::from_slice(&body).map_err(|error| body::malformed(&error))?,
        None => Value::Null,
    };
    let RunAntiEntropy { index, deep } = read(wanted)?;
    let index = index.map(|uid| index_uid(&uid)).transpose()?;
    let depth = deep.map(|deep| if deep { Depth::Content } else { Depth::Stamps });
    let pass =
        undertaken(&cluster, move |cluster, _| async move { cluster.replicas.run_anti_entropy(index, depth).await })
            .await?;
    shown(StatusCode::ACCEPTED, &pass.view())
}

/// What was found by comparing replicas
#[utoipa::path(
    get,
    path = "/_miroir/anti-entropy/status",
    operation_id = "antiEntropyStatus",
    tag = "anti-entropy",
    responses((status = 200, description = "The last pass, by instance.", body = AntiEntropyStatus), Refused),
)]
pub async fn status(State(cluster): State<Shared>) -> Result<Response, Failure> {
    shown(StatusCode::OK, &cluster.replicas.anti_entropy_status().await.map_err(Error::from)?)
}

/// Null is no body.
fn read(wanted: Value) -> Result<RunAntiEntropy, Failure> {
    if wanted.is_null() {
        return Ok(RunAntiEntropy::default());
    }
    let wanted = Object::of(wanted, String::new())?;
    wanted.only(&["index", "deep"])?;
    Ok(RunAntiEntropy { index: wanted.optional_text("index")?, deep: wanted.flag("deep")? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wanted_is_read_and_what_is_not_known_refused() {
        let of = |wanted: Value| read(wanted).ok();
        for nothing in [json!({}), json!(null)] {
            assert_eq!(of(nothing), Some(RunAntiEntropy::default()));
        }
        let all = RunAntiEntropy { index: Some("a".into()), deep: Some(true) };
        assert_eq!(of(serde_json::to_value(&all).expect("JSON")), Some(all));
        let shallow = RunAntiEntropy { index: None, deep: Some(false) };
        assert_eq!(of(json!({"deep": false, "index": null})), Some(shallow));
        for wrong in [json!([]), json!({"deep": 1}), json!({"index": 1}), json!({"depth": true})] {
            assert_eq!(of(wrong.clone()), None, "{wrong}");
        }
    }
}
