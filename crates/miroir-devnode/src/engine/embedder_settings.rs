//! The `embedders` setting, and the secrets in it.

use std::collections::BTreeMap;

use milli_core::heed::RoTxn;
use milli_core::index::IndexEmbeddingConfig;
use milli_core::update::{Setting as Change, validate_embedding_settings};
use milli_core::vector::settings::EmbeddingSettings;
use milli_core::{Error as EngineError, Index, InternalError};
use serde_json::{Map, Value};

use super::settings::Setting;
use crate::error::{ApiError, ApiResult};

/// Checks embedders before their task is accepted.
///
/// # Errors
/// `invalid_settings_embedders`.
pub fn check(setting: &Setting, value: Value) -> ApiResult<()> {
    let embedders: BTreeMap<String, Change<EmbeddingSettings>> = setting.typed(value)?;
    for (name, embedder) in embedders {
        validate_embedding_settings(embedder, &name).map_err(ApiError::from)?;
    }
    Ok(())
}

/// What the engine holds, secrets hidden.
///
/// # Errors
/// When the index cannot be read.
pub fn read(index: &Index, rtxn: &RoTxn<'_>) -> Result<Value, EngineError> {
    let mut shown = Map::new();
    for IndexEmbeddingConfig { name, config, .. } in index.embedding_configs(rtxn)? {
        let settings = serde_json::to_value(EmbeddingSettings::from(config))
            .map_err(|error| EngineError::InternalError(InternalError::SerdeJson(error)))?;
        shown.insert(name, settings);
    }
    let mut shown = Value::Object(shown);
    hide_secrets(&mut shown);
    Ok(shown)
}

/// Makes every `apiKey` in `value` unreadable, also those of nested embedders.
pub fn hide_secrets(value: &mut Value) {
    let Value::Object(members) = value else { return };
    for (name, member) in members {
        match member {
            Value::String(secret) if name == "apiKey" => *secret = hidden(secret),
            Value::Object(_) => hide_secrets(member),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {}
        }
    }
}

/// What remains visible of a secret: the longer it is, the more, at most five characters.
fn hidden(secret: &str) -> String {
    let visible = match secret.chars().count() {
        0..10 => 0,
        10..20 => 2,
        20..30 => 3,
        _ => 5,
    };
    let start: String = secret.chars().take(visible).collect();
    format!("{start}XXXX...")
}
