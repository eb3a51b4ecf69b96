//! Leases in the file.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::clock::steady as now;
use super::failure::failure;
use super::write::advance;
use crate::{Fence, HeldLease, Lease, StoreError};

/// For how long a lease that ended is remembered: for a lost holder's late renewal, and for who takes over.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(24 * 7);

/// The instant that is `ttl` after `now`, as the file has it: nanoseconds.
pub(super) fn end(now: i64, ttl: Duration) -> i64 {
    now.saturating_add(i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX))
}

/// Whoever held leases when the file was opened has ended: their leases end within this time, whatever their clock was.
pub(super) fn inherit(connection: &Connection, within: Duration) -> Result<(), StoreError> {
    // Those that had ended end now, so that they are not forgotten for the time in which nobody had the file.
    let sql = "UPDATE leases SET ends_at = MIN(MAX(ends_at, ?1), ?2)";
    connection.execute(sql, [now(), end(now(), within)]).map(drop).map_err(failure)
}

/// Refuse unless this holder has the scope by this token.
pub(super) fn require(connection: &Connection, fence: &Fence) -> Result<(), StoreError> {
    let sql = "SELECT 1 FROM leases WHERE scope = ?1 AND token = ?2 AND holder = ?3";
    let held = connection
        .prepare_cached(sql)
        .and_then(|mut s| s.exists(params![fence.scope, fence.token, fence.holder]))
        .map_err(failure)?;
    if held { Ok(()) } else { Err(StoreError::Fenced { scope: fence.scope.clone() }) }
}

pub(super) fn acquire(
    connection: &mut Connection,
    scope: String,
    holder: String,
    ttl: Duration,
) -> Result<Option<Lease>, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failure)?;
    let now = now();
    let sql = "SELECT holder, token, ends_at FROM leases WHERE scope = ?1";
    let before: Option<(String, u64, i64)> = transaction
        .prepare_cached(sql)
        .and_then(|mut s| s.query_row([&scope], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional())
        .map_err(failure)?;
    let lapsed = before.as_ref().map(|(_, _, ends_at)| Duration::from_nanos(u64::try_from(now - ends_at).unwrap_or(0)));
    let token = match before.filter(|(_, _, ends_at)| *ends_at > now) {
        Some((other, ..)) if other != holder => return Ok(None),
        Some((_, token, _)) => token,
        None => advance(&transaction, "token", 1)? + 1,
    };
    let sql = "INSERT INTO leases (scope, holder, token, ends_at) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (scope) DO UPDATE SET holder = ?2, token = ?3, ends_at = ?4";
    let forget = "DELETE FROM leases WHERE ends_at < ?1";
    transaction
        .prepare_cached(sql)
        .and_then(|mut s| s.execute(params![scope, holder, token, end(now, ttl)]))
        .and_then(|_| transaction.prepare_cached(forget)?.execute([now - end(0, FORGOTTEN_AFTER)]))
        .map_err(failure)?;
    transaction.commit().map_err(failure)?;
    Ok(Some(Lease { scope, holder, token, lapsed }))
}

pub(super) fn renew(connection: &mut Connection, lease: &Lease, ttl: Duration) -> Result<bool, StoreError> {
    let sql = "UPDATE leases SET ends_at = ?4 WHERE scope = ?1 AND token = ?2 AND holder = ?3";
    connection
        .prepare_cached(sql)
        .and_then(|mut s| s.execute(params![lease.scope, lease.token, lease.holder, end(now(), ttl)]))
        .map(|renewed| renewed > 0)
        .map_err(failure)
}

/// Returns whether it was there to be released.
pub(super) fn release(connection: &mut Connection, lease: &Lease) -> Result<bool, StoreError> {
    let sql = "DELETE FROM leases WHERE scope = ?1 AND token = ?2 AND holder = ?3";
    connection
        .prepare_cached(sql)
        .and_then(|mut s| s.execute(params![lease.scope, lease.token, lease.holder]))
        .map(|released| released > 0)
        .map_err(failure)
}

pub(super) fn list(connection: &Connection) -> Result<Vec<HeldLease>, StoreError> {
    let now = now();
    let sql = "SELECT scope, holder, token, ends_at FROM leases WHERE ends_at > ?1 ORDER BY scope";
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    let rows = statement.query_map([now], |row| {
        let left = u64::try_from(row.get::<_, i64>(3)? - now).unwrap_or(0);
        Ok(HeldLease { lease: read(row)?, ends_in: Duration::from_nanos(left) })
    });
    rows.map_err(failure)?.collect::<Result<_, _>>().map_err(failure)
}

pub(super) fn lapsed(connection: &Connection) -> Result<Vec<Lease>, StoreError> {
    let sql = "SELECT scope, holder, token FROM leases WHERE ends_at <= ?1 ORDER BY scope";
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    let rows = statement.query_map([now()], read).map_err(failure)?;
    rows.collect::<Result<_, _>>().map_err(failure)
}

/// The first three columns; how it was come by is not remembered.
fn read(row: &Row<'_>) -> rusqlite::Result<Lease> {
    Ok(Lease { scope: row.get(0)?, holder: row.get(1)?, token: row.get(2)?, lapsed: None })
}
