//! Reading what clients send to create and to change keys, with Meilisearch's refusals.

use std::convert::Infallible;
use std::str::FromStr;

use deserr::errors::JsonError;
use deserr::{
    DeserializeError, Deserr, ErrorKind, IntoValue, Value as Kind, ValueKind, ValuePointerRef, take_cf_content,
};
use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::macros::{format_description, time};
use time::{Date, OffsetDateTime, PrimitiveDateTime};
use uuid::Uuid;

use super::{Action, IndexPattern, Key};
use crate::base::error::{Code, ErrorBody};

const NEW: [&str; 6] = ["description", "name", "uid", "actions", "indexes", "expiresAt"];
const CHANGEABLE: [&str; 2] = ["description", "name"];

/// The key that the body of a creation describes. `fresh` is its uid when the client gives none.
///
/// # Errors
/// As Meilisearch refuses: the first member that is wrong, then the first that is missing.
pub fn read_key(body: &Value, now: OffsetDateTime, fresh: Uuid) -> Result<Key, ErrorBody> {
    let members = object(body)?;
    let (mut name, mut description, mut uid) = (None, None, fresh);
    let (mut actions, mut indexes, mut expires_at) = (None, None, None);
    for (field, value) in members {
        match field.as_str() {
            "description" => description = read(field, value, Code::InvalidApiKeyDescription)?,
            "name" => name = read(field, value, Code::InvalidApiKeyName)?,
            "uid" => {
                let text: String = read(field, value, Code::InvalidApiKeyUid)?;
                uid = Uuid::from_str(&text).map_err(|error| wrong(field, error, Code::InvalidApiKeyUid))?;
            }
            "actions" => actions = Some(read::<Vec<Action>>(field, value, Code::InvalidApiKeyActions)?),
            "indexes" => indexes = Some(read::<Vec<IndexPattern>>(field, value, Code::InvalidApiKeyIndexes)?),
            "expiresAt" => {
                let text: Option<String> = read(field, value, Code::InvalidApiKeyExpiresAt)?;
                expires_at = Some(text.map(|text| expiry(field, &text, now)).transpose()?);
            }
            unknown => return Err(unknown_field(unknown, &NEW)),
        }
    }
    let actions = actions.ok_or_else(|| missing("actions", Code::MissingApiKeyActions))?;
    let indexes = indexes.ok_or_else(|| missing("indexes", Code::MissingApiKeyIndexes))?;
    let expires_at = expires_at.ok_or_else(|| missing("expiresAt", Code::MissingApiKeyExpiresAt))?;
    let key = Key { uid, name, description, actions, indexes, expires_at, created_at: now, updated_at: now };
    refuse_global_actions(&key)?;
    Ok(key)
}

/// The key as the body of a change leaves it.
///
/// # Errors
/// As Meilisearch refuses: the first member that is wrong or must not change.
pub fn patch_key(key: &Key, body: &Value, now: OffsetDateTime) -> Result<Key, ErrorBody> {
    let mut next = Key { updated_at: now, ..key.clone() };
    for (field, value) in object(body)? {
        match field.as_str() {
            "description" => next.description = read(field, value, Code::InvalidApiKeyDescription)?,
            "name" => next.name = read(field, value, Code::InvalidApiKeyName)?,
            "uid" => return Err(immutable(field, Code::ImmutableApiKeyUid)),
            "actions" => return Err(immutable(field, Code::ImmutableApiKeyActions)),
            "indexes" => return Err(immutable(field, Code::ImmutableApiKeyIndexes)),
            "expiresAt" => return Err(immutable(field, Code::ImmutableApiKeyExpiresAt)),
            "createdAt" => return Err(immutable(field, Code::ImmutableApiKeyCreatedAt)),
            "updatedAt" => return Err(immutable(field, Code::ImmutableApiKeyUpdatedAt)),
            unknown => return Err(unknown_field(unknown, &CHANGEABLE)),
        }
    }
    Ok(next)
}

/// A key for some indexes has no say over the server. Without any index it opens nothing, hence may name anything.
fn refuse_global_actions(key: &Key) -> Result<(), ErrorBody> {
    if key.indexes.is_empty() || key.is_for_all() {
        return Ok(());
    }
    let Some(action) = key.actions.iter().find(|action| action.is_global()) else { return Ok(()) };
    let message = format!(
        "cannot create index-scoped API key with global action `\"{action}\"`\n  - Hint: remove action `\"{action}\"` from the action list, or remove `indexes` to make the key global"
    );
    Err(ErrorBody::new(Code::IndexScopedApiKeyWithGlobalAction, message))
}

/// A date and time, or a date, in the future. Without an offset it is in UTC.
fn expiry(field: &str, text: &str, now: OffsetDateTime) -> Result<OffsetDateTime, ErrorBody> {
    let with_t = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    let with_space = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let local = |format| PrimitiveDateTime::parse(text, format).map(PrimitiveDateTime::assume_utc);
    let day = || Date::parse(text, format_description!("[year]-[month]-[day]")).map(|day| day.with_time(time!(0:00)));
    let at = OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| local(with_t))
        .or_else(|_| local(with_space))
        .or_else(|_| day().map(PrimitiveDateTime::assume_utc));
    at.ok().filter(|at| *at > now).ok_or_else(|| {
        let why = format!(
            "`{text}` is not a valid date. It should follow the RFC 3339 format to represents a date or datetime in the future or specified as a null value. e.g. 'YYYY-MM-DD' or 'YYYY-MM-DD HH:MM:SS'.\n"
        );
        wrong(field, why, Code::InvalidApiKeyExpiresAt)
    })
}

fn object(body: &Value) -> Result<&serde_json::Map<String, Value>, ErrorBody> {
    let accepted = &[ValueKind::Map];
    let wrong = || ErrorKind::IncorrectValueKind { actual: body.clone().into_value(), accepted };
    body.as_object().ok_or_else(|| refusal(wrong(), ValuePointerRef::Origin, Code::BadRequest))
}

fn read<T: Deserr<JsonError>>(field: &str, value: &Value, code: Code) -> Result<T, ErrorBody> {
    let origin = ValuePointerRef::Origin;
    T::deserialize_from_value(value.clone().into_value(), origin.push_key(field))
        .map_err(|error| ErrorBody::new(code, error.to_string()))
}

fn wrong(field: &str, why: impl ToString, code: Code) -> ErrorBody {
    let origin = ValuePointerRef::Origin;
    refusal::<Value>(ErrorKind::Unexpected { msg: why.to_string() }, origin.push_key(field), code)
}

fn missing(field: &str, code: Code) -> ErrorBody {
    refusal::<Value>(ErrorKind::MissingField { field }, ValuePointerRef::Origin, code)
}

fn unknown_field(field: &str, accepted: &[&str]) -> ErrorBody {
    refusal::<Value>(ErrorKind::UnknownKey { key: field, accepted }, ValuePointerRef::Origin, Code::BadRequest)
}

fn immutable(field: &str, code: Code) -> ErrorBody {
    ErrorBody::new(code, format!("Immutable field `{field}`: expected one of `description`, `name`"))
}

fn refusal<V: IntoValue>(kind: ErrorKind<'_, V>, location: ValuePointerRef<'_>, code: Code) -> ErrorBody {
    ErrorBody::new(code, take_cf_content(JsonError::error(None, kind, location)).to_string())
}

impl<E: DeserializeError> Deserr<E> for Action {
    fn deserialize_from_value<V: IntoValue>(value: Kind<V>, location: ValuePointerRef<'_>) -> Result<Self, E> {
        let text = String::deserialize_from_value(value, location)?;
        let unknown: ErrorKind<'_, Infallible> = ErrorKind::UnknownValue { value: &text, accepted: Self::NAMES };
        text.parse().map_err(|_| take_cf_content(E::error(None, unknown, location)))
    }
}

impl<E: DeserializeError> Deserr<E> for IndexPattern {
    fn deserialize_from_value<V: IntoValue>(value: Kind<V>, location: ValuePointerRef<'_>) -> Result<Self, E> {
        let text = String::deserialize_from_value(value, location)?;
        text.parse().map_err(|error: super::InvalidIndexPattern| {
            let kind: ErrorKind<'_, Infallible> = ErrorKind::Unexpected { msg: error.to_string() };
            take_cf_content(E::error(None, kind, location))
        })
    }
}
