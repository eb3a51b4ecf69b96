//! `POST /render-template`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use miroir_core::base::error::Code;
use miroir_core::settings::features::Feature;
use serde_json::Value;

use super::body::Payload;
use super::error::Failure;
use super::{Shared, answered};

/// What a node holds of an index is a part of its documents, in which fields of ours would be rendered too.
const OF_AN_INDEX: &str = "A template or a document of an index is rendered within one node, which holds a part of the documents, with fields of Miroir's: send both inline.";

pub async fn render(State(cluster): State<Shared>, mut payload: Payload) -> Result<Response, Failure> {
    let body = payload.json().await?;
    let value: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    if value.get("template").is_none() {
        return Err(Failure::new(Code::BadRequest, "Missing field `template`"));
    }
    cluster.state.require(Feature::RenderRoute, "calling the /render-template route").await?;
    if names_an_index(&value) {
        return Err(Failure::new(Code::MiroirUnsupported, OF_AN_INDEX));
    }
    // What was looked at is what is sent: of members given several times that is the last.
    Ok(answered(StatusCode::OK, cluster.reads.render(value.to_string().into()).await?))
}

/// What is sent inline needs no index; all else does.
fn names_an_index(request: &Value) -> bool {
    [request.get("template"), request.get("input")]
        .into_iter()
        .flatten()
        .any(|part| !part.is_null() && (part.get("indexUid").is_some() || part.get("inline").is_none()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::names_an_index;

    #[test]
    fn only_what_is_sent_inline_is_rendered() {
        let inline = json!({"kind": "inlineDocumentTemplate", "inline": "{{doc.id}}"});
        let document = json!({"kind": "inlineDocument", "inline": {"id": 1}});
        let of_an_index = json!({"kind": "indexDocument", "indexUid": "films", "id": "1"});
        let embedder = json!({"kind": "documentTemplate", "indexUid": "films", "embedder": "e"});
        assert!(!names_an_index(&json!({"template": inline, "input": document})));
        assert!(!names_an_index(&json!({"template": inline, "input": null})));
        assert!(!names_an_index(&json!({"template": inline})));
        assert!(names_an_index(&json!({"template": inline, "input": of_an_index})));
        assert!(names_an_index(&json!({"template": embedder, "input": document})));
        let both = json!({"kind": "indexDocument", "indexUid": "films", "inline": {}});
        assert!(names_an_index(&json!({"template": inline, "input": both})));
    }
}
