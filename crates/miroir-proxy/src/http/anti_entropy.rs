//! `/_miroir/anti-entropy`: comparing replicas on demand, and what was found.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use miroir_core::digest::Depth;
use serde_json::{Value, json};

use super::body::Payload;
use super::error::Failure;
use super::object::Object;
use super::observe::undertaken;
use super::{Shared, body, index_uid, json};
use crate::cluster::Error;

/// `{"index":"movies","deep":true}`, both optional, as is the body.
pub async fn run(State(cluster): State<Shared>, mut payload: Payload) -> Result<Response, Failure> {
    let wanted = match payload.optional_json().await? {
        Some(body) => serde_json::from_slice(&body).map_err(|error| body::malformed(&error))?,
        None => json!({}),
    };
    let (index, depth) = read(wanted)?;
    let index = index.map(|uid| index_uid(&uid)).transpose()?;
    let pass = undertaken(&cluster, move |writer| async move { writer.run_anti_entropy(index, depth).await }).await?;
    let pass = serde_json::to_string(&pass).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(json(StatusCode::ACCEPTED, pass))
}

pub async fn status(State(cluster): State<Shared>) -> Result<Response, Failure> {
    let status = cluster.anti_entropy_status().await.map_err(Error::from)?;
    Ok(json(StatusCode::OK, status.to_string()))
}

fn read(wanted: Value) -> Result<(Option<String>, Option<Depth>), Failure> {
    let wanted = Object::of(wanted, String::new())?;
    wanted.only(&["index", "deep"])?;
    let index = wanted.get("index").map(|_| wanted.text("index")).transpose()?;
    let depth = wanted.flag("deep")?.map(|deep| if deep { Depth::Content } else { Depth::Stamps });
    Ok((index.map(str::to_owned), depth))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_read_and_what_is_not_known_refused() {
        let of = |wanted: Value| read(wanted).ok();
        assert_eq!(of(json!({})), Some((None, None)));
        assert_eq!(of(json!({"index": "a", "deep": true})), Some((Some("a".into()), Some(Depth::Content))));
        assert_eq!(of(json!({"deep": false, "index": null})), Some((None, Some(Depth::Stamps))));
        for wrong in [json!([]), json!({"deep": 1}), json!({"index": 1}), json!({"depth": true})] {
            assert_eq!(of(wrong.clone()), None, "{wrong}");
        }
    }
}
