//! Records, counters and logs out of Redis.

use bytes::Bytes;
use redis::cmd;
use time::OffsetDateTime;

use super::failure::Failure;
use super::pool::Pool;
use super::reply::{bytes, is_nil, list, number, text};
use super::row::MAX_NUMBER;
use super::script::LIST;
use crate::{Entry, Record, StoreError, Table};

fn unexpected(pool: &Pool) -> StoreError {
    Failure::Answer { address: pool.address().to_owned() }.into()
}

pub(super) async fn get(pool: &Pool, prefix: &str, table: Table, key: &str) -> Result<Option<Record>, StoreError> {
    let name = format!("{prefix}{}:{key}", table.name());
    let answer = pool.ask(cmd("GET").arg(name)).await?;
    if is_nil(&answer) {
        return Ok(None);
    }
    let kept = bytes(Some(answer)).ok_or_else(|| unexpected(pool))?;
    record(table, key, &kept).map(Some)
}

pub(super) async fn all(pool: &Pool, prefix: &str, table: Table) -> Result<Vec<(String, Record)>, StoreError> {
    let answer = LIST.call(prefix).arg(table.name()).read(pool).await?;
    let mut parts = list(Some(answer)).ok_or_else(|| unexpected(pool))?.into_iter();
    let mut records = Vec::new();
    while let Some(key) = parts.next() {
        let key = text(Some(key)).ok_or_else(|| unexpected(pool))?;
        let kept = bytes(parts.next()).ok_or_else(|| unexpected(pool))?;
        let record = record(table, &key, &kept)?;
        records.push((key, record));
    }
    Ok(records)
}

/// `<version> <millisecond of expiry, or 0>`, a line end, and the value.
fn record(table: Table, key: &str, kept: &Bytes) -> Result<Record, StoreError> {
    let broken = || StoreError::Corrupted(format!("{table} `{key}` is not as Miroir writes records"));
    let head = kept.iter().position(|byte| *byte == b'\n').ok_or_else(broken)?;
    let text = std::str::from_utf8(&kept[..head]).map_err(|_| broken())?;
    let (version, expiry) = text.split_once(' ').ok_or_else(broken)?;
    let expiry: i128 = expiry.parse().map_err(|_| broken())?;
    let at = (expiry > 0).then(|| OffsetDateTime::from_unix_timestamp_nanos(expiry * 1_000_000).ok());
    Ok(Record {
        version: version.parse().map_err(|_| broken())?,
        value: kept.slice(head + 1..),
        expires_at: at.flatten(),
    })
}

pub(super) async fn count(pool: &Pool, prefix: &str, counter: &str) -> Result<u64, StoreError> {
    let answer = pool.ask(cmd("HGET").arg(format!("{prefix}_counts")).arg(counter)).await?;
    if is_nil(&answer) {
        return Ok(0);
    }
    number(Some(answer)).ok_or_else(|| unexpected(pool))
}

pub(super) async fn log(
    pool: &Pool,
    prefix: &str,
    log: &str,
    after: u64,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let mut read = cmd("XRANGE");
    // A position beyond what the store counts was never given.
    read.arg(format!("{prefix}_log:{log}")).arg(format!("({}-0", after.min(MAX_NUMBER))).arg("+");
    read.arg("COUNT").arg(u32::try_from(limit).unwrap_or(u32::MAX));
    let answer = pool.ask(&read).await?;
    let entries = list(Some(answer)).ok_or_else(|| unexpected(pool))?;
    entries.into_iter().map(|value| entry(value).ok_or_else(|| unexpected(pool))).collect()
}

/// `[position-0, [v, value]]`
fn entry(value: redis::Value) -> Option<Entry> {
    let mut parts = list(Some(value))?.into_iter();
    let id = text(parts.next())?;
    let mut fields = list(parts.next())?.into_iter();
    fields.next()?;
    Some(Entry { position: id.split_once('-')?.0.parse().ok()?, value: bytes(fields.next())? })
}

pub(super) async fn trim(pool: &Pool, prefix: &str, log: &str, through: u64) -> Result<(), StoreError> {
    let first = through.min(MAX_NUMBER) + 1;
    let mut trim = cmd("XTRIM");
    trim.arg(format!("{prefix}_log:{log}")).arg("MINID").arg("=").arg(format!("{first}-0"));
    pool.ask(&trim).await.map(drop)
}
