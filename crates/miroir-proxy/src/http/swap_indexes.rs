//! `POST /swap-indexes`.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use miroir_cluster::Swap;
use miroir_core::access::{Grant, Refusal};
use miroir_core::base::error::Code;
use miroir_core::base::id::IndexUid;
use miroir_core::base::json::described;
use serde_json::{Map, Value};

use super::body::Payload;
use super::error::Failure;
use super::observe::undertaken;
use super::{Shared, answered};

/// Swaps of one request: for each of their names the right to change the index is waited for.
const MAX_SWAPS: usize = 500;

pub async fn swap(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    mut payload: Payload,
) -> Result<Response, Failure> {
    let body = payload.json().await?;
    let value: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let swaps = read(&value)?;
    if swaps.iter().flat_map(|swap| &swap.indexes).any(|uid| !grant.allows(uid.as_str())) {
        return Err(Refusal::InvalidKey.into());
    }
    Ok(answered(
        StatusCode::ACCEPTED,
        undertaken(&cluster, move |_, writer| async move { writer.swap_indexes(&swaps).await }).await?,
    ))
}

/// Each pair, in Meilisearch's order of complaints: what cannot be read, then pairs that are none, then names given
/// twice.
fn read(value: &Value) -> Result<Vec<Swap>, Failure> {
    let Value::Array(pairs) = value else {
        let message = format!("Invalid value type: expected an array, but found {}", described(value));
        return Err(Failure::new(Code::BadRequest, message));
    };
    if pairs.len() > MAX_SWAPS {
        let message = format!("At most {MAX_SWAPS} swaps can be made together, and {} were given.", pairs.len());
        return Err(Failure::new(Code::InvalidSwapIndexes, message));
    }
    let read = pairs.iter().enumerate().map(|(place, pair)| read_pair(place, pair));
    let read: Vec<(Vec<IndexUid>, bool)> = read.collect::<Result<_, _>>()?;
    let mut swaps = Vec::with_capacity(read.len());
    for (indexes, rename) in read {
        let indexes = <[IndexUid; 2]>::try_from(indexes).map_err(|indexes| {
            let names: Vec<String> = indexes.iter().map(|uid| format!("\"{uid}\"")).collect();
            let message = format!(
                "Two indexes must be given for each swap. The list `[{}]` contains {} indexes.",
                names.join(", "),
                names.len()
            );
            Failure::new(Code::InvalidSwapIndexes, message)
        })?;
        swaps.push(Swap { indexes, rename });
    }
    let mut times: BTreeMap<&IndexUid, usize> = BTreeMap::new();
    swaps.iter().flat_map(|swap| &swap.indexes).for_each(|uid| *times.entry(uid).or_default() += 1);
    let twice: Vec<String> =
        times.into_iter().filter(|(_, times)| *times > 1).map(|(uid, _)| format!("`{uid}`")).collect();
    let were = match twice.len() {
        0 => return Ok(swaps),
        1 => "was",
        _ => "were",
    };
    let message = format!(
        "Indexes must be declared only once during a swap. {} {were} specified several times.",
        twice.join(", ")
    );
    Err(Failure::new(Code::InvalidSwapDuplicateIndexFound, message))
}

fn read_pair(place: usize, pair: &Value) -> Result<(Vec<IndexUid>, bool), Failure> {
    let Value::Object(pair) = pair else {
        let message = format!("Invalid value type at `[{place}]`: expected an object, but found {}", described(pair));
        return Err(Failure::new(Code::BadRequest, message));
    };
    if let Some(unknown) = pair.keys().find(|key| !matches!(key.as_str(), "indexes" | "rename")) {
        let message = format!("Unknown field `{unknown}` inside `[{place}]`: expected one of `indexes`, `rename`");
        return Err(Failure::new(Code::BadRequest, message));
    }
    let indexes = read_indexes(place, pair)?;
    let rename = match pair.get("rename") {
        None => false,
        Some(Value::Bool(rename)) => *rename,
        Some(other) => {
            let message =
                format!("Invalid value type at `[{place}].rename`: expected a boolean, but found {}", described(other));
            return Err(Failure::new(Code::InvalidSwapRename, message));
        }
    };
    Ok((indexes, rename))
}

fn read_indexes(place: usize, pair: &Map<String, Value>) -> Result<Vec<IndexUid>, Failure> {
    let refuse = |message| Err(Failure::new(Code::InvalidSwapIndexes, message));
    let list = match pair.get("indexes") {
        Some(Value::Array(list)) => list,
        Some(other) => {
            let expected = "expected an array, but found";
            return refuse(format!("Invalid value type at `[{place}].indexes`: {expected} {}", described(other)));
        }
        None => {
            let message = format!("Missing field `indexes` inside `[{place}]`");
            return Err(Failure::new(Code::MissingSwapIndexes, message));
        }
    };
    let mut uids = Vec::with_capacity(list.len());
    for (position, uid) in list.iter().enumerate() {
        let at = format!("`[{place}].indexes[{position}]`");
        let Value::String(text) = uid else {
            return refuse(format!("Invalid value type at {at}: expected a string, but found {}", described(uid)));
        };
        match text.parse() {
            Ok(uid) => uids.push(uid),
            Err(error) => return refuse(format!("Invalid value at {at}: {error}")),
        }
    }
    Ok(uids)
}
