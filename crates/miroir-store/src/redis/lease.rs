//! Leases in Redis.

use std::time::Duration;

use redis::Value;

use super::commit::millis;
use super::failure::Failure;
use super::pool::Pool;
use super::reply::{is_nil, list, number, text};
use super::script::{ACQUIRE, LEASES, RELEASE, RENEW};
use crate::{HeldLease, Lease, StoreError};

fn unexpected(pool: &Pool) -> StoreError {
    Failure::Answer { address: pool.address().to_owned() }.into()
}

pub(super) async fn acquire(
    pool: &Pool,
    prefix: &str,
    scope: &str,
    holder: &str,
    ttl: Duration,
) -> Result<Option<Lease>, StoreError> {
    let answer = ACQUIRE.call(prefix).arg(scope).arg(holder).arg(millis(ttl)).run(pool).await?;
    if is_nil(&answer) {
        return Ok(None);
    }
    let mut parts = list(Some(answer)).ok_or_else(|| unexpected(pool))?.into_iter();
    let token = number(parts.next()).ok_or_else(|| unexpected(pool))?;
    // None is told as less than none.
    let lapsed = number(parts.next()).map(Duration::from_millis);
    Ok(Some(Lease { scope: scope.to_owned(), holder: holder.to_owned(), token, lapsed }))
}

pub(super) async fn renew(pool: &Pool, prefix: &str, lease: &Lease, ttl: Duration) -> Result<bool, StoreError> {
    let answer =
        RENEW.call(prefix).arg(&lease.scope).arg(lease.token).arg(&lease.holder).arg(millis(ttl)).run(pool).await?;
    number(Some(answer)).map(|renewed| renewed > 0).ok_or_else(|| unexpected(pool))
}

pub(super) async fn release(pool: &Pool, prefix: &str, lease: &Lease) -> Result<(), StoreError> {
    RELEASE.call(prefix).arg(&lease.scope).arg(lease.token).arg(&lease.holder).run(pool).await.map(drop)
}

pub(super) async fn all(pool: &Pool, prefix: &str) -> Result<Vec<HeldLease>, StoreError> {
    told(pool, LEASES.call(prefix).arg(0).read(pool).await?)
}

pub(super) async fn lapsed(pool: &Pool, prefix: &str) -> Result<Vec<Lease>, StoreError> {
    let ended = told(pool, LEASES.call(prefix).arg(1).read(pool).await?)?;
    Ok(ended.into_iter().map(|ended| ended.lease).collect())
}

fn told(pool: &Pool, answer: Value) -> Result<Vec<HeldLease>, StoreError> {
    let mut parts = list(Some(answer)).ok_or_else(|| unexpected(pool))?.into_iter();
    let mut held = Vec::new();
    while let Some(scope) = parts.next() {
        let scope = text(Some(scope)).ok_or_else(|| unexpected(pool))?;
        let holder = text(parts.next()).ok_or_else(|| unexpected(pool))?;
        let token = number(parts.next()).ok_or_else(|| unexpected(pool))?;
        let left = number(parts.next()).ok_or_else(|| unexpected(pool))?;
        held.push(HeldLease {
            lease: Lease { scope, holder, token, lapsed: None },
            ends_in: Duration::from_millis(left),
        });
    }
    held.sort_by(|a, b| a.lease.scope.cmp(&b.lease.scope));
    Ok(held)
}
