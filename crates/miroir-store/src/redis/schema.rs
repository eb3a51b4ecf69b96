//! What lies in Redis: its version, and whether this Redis keeps it.
//!
//! Invariant: the schema version stands in `_schema`; migration `n` leads from version `n` to `n + 1`, and is never changed
//! once released.

use redis::{Value, cmd};

use super::failure::{self, Failure};
use super::pool::Pool;
use super::reply::{list, number, text};
use super::script::{SCHEMA_1, Stored};
use crate::StoreError;

/// The oldest Redis that has what the scripts use.
const OLDEST: (u64, u64) = (6, 2);

fn migrations() -> [&'static Stored; 1] {
    [&SCHEMA_1]
}

/// Bring the store to the version that this release writes. Returns the time of Redis.
///
/// # Errors
/// [`StoreError::Newer`] when a later release was here.
pub(super) async fn migrate(pool: &Pool, prefix: &str) -> Result<u64, StoreError> {
    let supported = migrations().len() as u64;
    let (mut stands, mut time) = (0, 0);
    for migration in migrations() {
        let unexpected = || Failure::Answer { address: pool.address().to_owned() };
        let answer = migration.call(prefix).run(pool).await?;
        let mut parts = list(Some(answer)).ok_or_else(unexpected)?.into_iter();
        stands = number(parts.next()).ok_or_else(unexpected)?;
        time = number(parts.next()).ok_or_else(unexpected)?;
    }
    if stands > supported {
        let signed = |version| i64::try_from(version).unwrap_or(i64::MAX);
        return Err(StoreError::Newer { found: signed(stands), supported: signed(supported) });
    }
    Ok(time)
}

/// Refuse a Redis that is too old. One that does not say is taken as it is.
pub(super) async fn require_version(pool: &Pool) -> Result<(), StoreError> {
    let info = match pool.ask(cmd("INFO").arg("server")).await {
        Ok(info) => information(info),
        Err(error) if is_forbidden(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    let Some(version) = info.lines().find_map(|line| line.strip_prefix("redis_version:")) else { return Ok(()) };
    let mut numbers = version.trim().split('.').map_while(|part| part.parse::<u64>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < OLDEST {
        let problem = format!("it is version {}", version.trim());
        return Err(Failure::NotRedis { address: pool.address().to_owned(), problem }.into());
    }
    Ok(())
}

#[allow(clippy::wildcard_enum_match_arm)] // the library's kinds of values
fn information(info: Value) -> String {
    match info {
        Value::VerbatimString { text, .. } => text,
        other => text(Some(other)).unwrap_or_default(),
    }
}

fn is_forbidden(error: &StoreError) -> bool {
    matches!(failure::of(error), Some(Failure::Forbidden { .. } | Failure::Refused { .. }))
}

/// Warn when this Redis may forget what it was given.
pub(super) async fn advise(pool: &Pool) {
    let policy = setting(pool, "maxmemory-policy").await;
    match policy.as_deref() {
        Some("noeviction") => {}
        Some(policy) => tracing::warn!(
            redis = pool.address(),
            policy,
            "Redis may throw away what Miroir keeps in it when its memory is full: set maxmemory-policy to noeviction"
        ),
        None => tracing::debug!(redis = pool.address(), "Redis does not say what it does when its memory is full"),
    }
    match (setting(pool, "appendonly").await.as_deref(), setting(pool, "save").await.as_deref()) {
        (Some("no"), Some("")) => tracing::warn!(
            redis = pool.address(),
            "Redis keeps nothing over a restart, and with it Miroir forgets indexes, keys and tasks: set appendonly to yes"
        ),
        (Some("no"), Some(_)) => tracing::info!(
            redis = pool.address(),
            "Redis writes snapshots only: what came after the last one is lost when it dies; appendonly yes keeps it"
        ),
        (Some(_), _) => {}
        (None, _) => tracing::debug!(redis = pool.address(), "Redis does not say how it keeps its data"),
    }
}

async fn setting(pool: &Pool, name: &str) -> Option<String> {
    let answer = pool.ask(cmd("CONFIG").arg("GET").arg(name)).await.ok()?;
    text(list(Some(answer))?.into_iter().nth(1))
}
