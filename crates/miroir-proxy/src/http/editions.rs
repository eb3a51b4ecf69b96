//! `/indexes/{uid}/documents/edit`.

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use miroir_cluster::Edition;
use miroir_core::base::error::Code;
use miroir_core::base::json::described;
use miroir_core::settings::features::Feature;
use serde_json::{Map, Value};

use super::body::Payload;
use super::documents::only_custom_metadata;
use super::error::Failure;
use super::indexes::members;
use super::observe::undertaken;
use super::{Shared, answered, index_uid};

pub async fn edit(
    State(cluster): State<Shared>,
    Path(uid): Path<String>,
    RawQuery(query): RawQuery,
    mut payload: Payload,
) -> Result<Response, Failure> {
    let custom_metadata = only_custom_metadata(query.as_deref().unwrap_or_default())?;
    let body = payload.json().await?;
    let mut object = members(&body, &["filter", "context", "function"])?;
    let function = function(&object)?;
    cluster.state.require(Feature::EditDocumentsByFunction, "Using the documents edit route").await?;
    let uid = index_uid(&uid)?;
    let context = match object.remove("context") {
        None | Some(Value::Null) => None,
        Some(context @ Value::Object(_)) => Some(context),
        Some(_) => {
            return Err(Failure::new(Code::InvalidDocumentEditionContext, "The context must be an object"));
        }
    };
    let filter = object.remove("filter").filter(|filter| !filter.is_null());
    let edition = Edition { function, context, filter, custom_metadata };
    let edited = undertaken(&cluster, move |_, writer| async move { writer.edit_documents(&uid, edition).await });
    Ok(answered(StatusCode::ACCEPTED, edited.await?))
}

fn function(object: &Map<String, Value>) -> Result<String, Failure> {
    match object.get("function") {
        Some(Value::String(function)) => Ok(function.clone()),
        Some(other) => {
            let message =
                format!("Invalid value type at `.function`: expected a string, but found {}", described(other));
            Err(Failure::new(Code::InvalidDocumentEditionFunction, message))
        }
        None => Err(Failure::new(Code::MissingDocumentEditionFunction, "Missing field `function`")),
    }
}
