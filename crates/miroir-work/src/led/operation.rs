//! Operations as they are stored: the machine's record, and what the operator wants of it.
//!
//! The record is written by the leader, and by others only as far as its machine can bear it: each writes it if it is
//! still what it has read. What an operator requests, which concerns all kinds, is a record of its own, beside it.

use miroir_store::{Batch, Store, StoreError, Table, Typed, TypedTable, Write};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::machine::{Intent, Machine};

/// Between a scope and what is kept beside its operation. No index uid has one.
const BESIDE: char = '/';
const REQUESTS: TypedTable<OperatorRequest> = TypedTable::new(Table::Operations);

/// An operation under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation<R> {
    /// Tells it from earlier and later operations of the same scope.
    pub id: String,
    /// When it was started, by the clock of who did.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// Where it stands.
    pub record: R,
}

impl<R> Operation<R> {
    /// One that begins now.
    pub fn new(record: R) -> Self {
        Self { id: Uuid::now_v7().to_string(), started_at: OffsetDateTime::now_utc(), record }
    }
}

/// What the operator requests of an operation.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct OperatorRequest {
    operation: String,
    intent: Intent,
}

pub(super) const fn table<R>() -> TypedTable<Operation<R>> {
    TypedTable::new(Table::Operations)
}

pub(super) fn request_key(scope: &str) -> String {
    format!("{scope}{BESIDE}intent")
}

/// Whether a key of the table is the scope of an operation of this kind.
pub(super) fn is_of_kind(key: &str, kind: &str) -> bool {
    let rest = key.strip_prefix(kind).filter(|rest| rest.is_empty() || rest.starts_with(':'));
    rest.is_some() && !key.contains(BESIDE)
}

/// The scope of a kind's work on a subject; without one, there is one scope of the kind.
pub(super) fn scope_of<M: Machine>(subject: Option<&str>) -> String {
    scope(M::KIND, subject)
}

fn scope(kind: &str, subject: Option<&str>) -> String {
    subject.map_or_else(|| kind.to_owned(), |subject| format!("{kind}:{subject}"))
}

/// Start an operation: commit the write, perhaps together with other things. Whoever leads the scope drives it then.
///
/// The commit is a [`StoreError::Conflict`] while another operation of the scope is under way.
///
/// # Errors
/// When the record cannot be written as JSON.
pub fn start<M: Machine>(subject: Option<&str>, record: M::Record) -> Result<Write, StoreError> {
    start_with::<M>(subject, &Operation::new(record))
}

/// As [`start`], for whoever goes on with the operation.
///
/// # Errors
/// As [`start`].
pub fn start_with<M: Machine>(subject: Option<&str>, operation: &Operation<M::Record>) -> Result<Write, StoreError> {
    table().put_if(&scope_of::<M>(subject), operation, None)
}

/// The operation under way, if there is one, and what the operator wants of it.
///
/// # Errors
/// Why the store cannot be read.
pub async fn find<M: Machine>(
    store: &dyn Store,
    subject: Option<&str>,
) -> Result<Option<(Operation<M::Record>, Intent)>, StoreError> {
    let scope = scope_of::<M>(subject);
    let Some(found) = load::<M::Record>(store, &scope).await? else { return Ok(None) };
    let intent = wanted(store, &scope, &found.value.id).await?;
    Ok(Some((found.value, intent)))
}

/// The operation under way as it is stored, if there is one, for whoever adds to it.
///
/// # Errors
/// Why the store cannot be read.
pub async fn stored<M: Machine>(
    store: &dyn Store,
    subject: Option<&str>,
) -> Result<Option<Typed<Operation<M::Record>>>, StoreError> {
    stored_as(store, M::KIND, subject).await
}

/// As [`stored`], for whoever reads the records of a kind and has no part in its machine.
///
/// # Errors
/// Why the store cannot be read.
pub async fn stored_as<R: Serialize + DeserializeOwned>(
    store: &dyn Store,
    kind: &str,
    subject: Option<&str>,
) -> Result<Option<Typed<Operation<R>>>, StoreError> {
    load(store, &scope(kind, subject)).await
}

/// Replace the operation that is stored at this version: commit the write, perhaps together with other things. Its
/// machine has to bear that others write it, see [`Machine::rebase`].
///
/// The commit is a [`StoreError::Conflict`] when it is at another version by then.
///
/// # Errors
/// When the record cannot be written as JSON.
pub fn replace<M: Machine>(
    subject: Option<&str>,
    operation: &Operation<M::Record>,
    version: u64,
) -> Result<Write, StoreError> {
    table().put_if(&scope_of::<M>(subject), operation, Some(version))
}

/// Take the operation that is stored at this version back, as if it had never been started.
pub fn withdraw<M: Machine>(subject: Option<&str>, version: u64) -> [Write; 2] {
    end(&scope_of::<M>(subject), version)
}

/// Store what the operator requests of the operation under way. Returns false when there is none.
///
/// # Errors
/// Why the store cannot be used.
pub async fn ask<M: Machine>(store: &dyn Store, subject: Option<&str>, intent: Intent) -> Result<bool, StoreError> {
    let scope = scope_of::<M>(subject);
    let Some(found) = load::<M::Record>(store, &scope).await? else { return Ok(false) };
    let request = REQUESTS.put(&request_key(&scope), &OperatorRequest { operation: found.value.id, intent })?;
    store.commit(Batch { writes: vec![request], ..Batch::default() }).await?;
    Ok(true)
}

pub(super) async fn load<R: Serialize + DeserializeOwned>(
    store: &dyn Store,
    scope: &str,
) -> Result<Option<Typed<Operation<R>>>, StoreError> {
    table().get(store, scope).await
}

/// What the operator requests of this operation; a request that was meant for another one does not matter.
pub(super) async fn wanted(store: &dyn Store, scope: &str, operation: &str) -> Result<Intent, StoreError> {
    let request = REQUESTS.get(store, &request_key(scope)).await?;
    let ours = request.filter(|request| request.value.operation == operation);
    Ok(ours.map_or(Intent::Run, |request| request.value.intent))
}

/// What ends an operation: its record goes, and the request that it may have.
pub(super) fn end(scope: &str, version: u64) -> [Write; 2] {
    [table::<()>().delete_if(scope, version), REQUESTS.delete(&request_key(scope))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_told_from_what_is_beside_them() {
        assert!(is_of_kind("settings_broadcast:movies", "settings_broadcast"));
        assert!(is_of_kind("rebalance", "rebalance"));
        assert!(!is_of_kind("rebalance_more:x", "rebalance"));
        assert!(!is_of_kind("reshard:movies", "rebalance"));
        assert!(!is_of_kind(&request_key("settings_broadcast:movies"), "settings_broadcast"));
        assert!(!is_of_kind(&request_key("rebalance"), "rebalance"));
    }
}
