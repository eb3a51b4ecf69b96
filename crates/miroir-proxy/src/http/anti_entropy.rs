//! `/_miroir/anti-entropy`: comparing replicas on demand, and what was found.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use miroir_core::digest::Depth;
use miroir_core::error::Code;
use serde_json::{Value, json};

use super::error::Failure;
use super::{Shared, body, index_uid, json};
use crate::cluster::Error;

/// `{"index":"movies","deep":true}`, both optional, as is the body.
pub async fn run(State(cluster): State<Shared>, headers: HeaderMap, body: Body) -> Result<Response, Failure> {
    let wanted = match body::optional_json(&headers, body).await? {
        Some(body) => serde_json::from_slice(&body).map_err(|error| body::malformed(&error))?,
        None => json!({}),
    };
    let (index, depth) = read(&wanted)?;
    let index = index.map(|uid| index_uid(&uid)).transpose()?;
    let pass = cluster.run_anti_entropy(index, depth).await?;
    let pass = serde_json::to_string(&pass).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(json(StatusCode::ACCEPTED, pass))
}

pub async fn status(State(cluster): State<Shared>) -> Result<Response, Failure> {
    let status = cluster.anti_entropy_status().await.map_err(Error::from)?;
    Ok(json(StatusCode::OK, status.to_string()))
}

fn read(wanted: &Value) -> Result<(Option<String>, Option<Depth>), Failure> {
    let invalid = |message: &str| Failure::new(Code::BadRequest, message);
    let wanted = wanted.as_object().ok_or_else(|| invalid("The body must be an object such as `{\"deep\":true}`."))?;
    let (mut index, mut depth) = (None, None);
    for (name, value) in wanted {
        match (name.as_str(), value) {
            ("index" | "deep", Value::Null) => {}
            ("index", Value::String(uid)) => index = Some(uid.clone()),
            ("index", _) => return Err(invalid("Invalid value at `.index`: expected the uid of an index.")),
            ("deep", Value::Bool(deep)) => depth = Some(if *deep { Depth::Content } else { Depth::Stamps }),
            ("deep", _) => return Err(invalid("Invalid value at `.deep`: expected true or false.")),
            (other, _) => {
                return Err(invalid(&format!("Unknown field `{other}`: expected one of `index`, `deep`.")));
            }
        }
    }
    Ok((index, depth))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_read_and_what_is_not_known_refused() {
        let of = |wanted: Value| read(&wanted).ok();
        assert_eq!(of(json!({})), Some((None, None)));
        assert_eq!(of(json!({"index": "a", "deep": true})), Some((Some("a".into()), Some(Depth::Content))));
        assert_eq!(of(json!({"deep": false, "index": null})), Some((None, Some(Depth::Stamps))));
        for wrong in [json!([]), json!({"deep": 1}), json!({"index": 1}), json!({"depth": true})] {
            assert_eq!(of(wrong.clone()), None, "{wrong}");
        }
    }
}
