//! Batches as the script takes them, and what it answers.

use std::time::Duration;

use redis::Value;

use super::clock::Clock;
use super::failure::Failure;
use super::pool::Pool;
use super::reply::{list, number, numbers, text};
use super::row::{MAX_NUMBER, Row};
use super::script::{COMMIT, Call};
use crate::{Batch, Committed, StoreError, Table, Write};
use miroir_core::base::id::TaskUid;

/// A time to live beyond this (3,000 years) is this one.
const LONGEST: u64 = 94_608_000_000_000;

/// What an answer can refer to.
struct Conditions {
    scopes: Vec<String>,
    records: Vec<(Table, String)>,
    counters: Vec<String>,
    new_tasks: u64,
}

/// What the script said.
enum Outcome {
    Done(Committed),
    /// The time that the script was given was over.
    Late,
}

/// Write all of the batch or nothing of it.
pub(super) async fn commit(pool: &Pool, clock: &Clock, prefix: &str, batch: Batch) -> Result<Committed, StoreError> {
    let conditions = Conditions {
        scopes: batch.fences.iter().map(|fence| fence.scope.clone()).collect(),
        records: batch.writes.iter().map(|write| (write.target().0, write.target().1.to_owned())).collect(),
        counters: batch.counts.iter().map(|(name, _)| name.clone()).collect(),
        new_tasks: batch.new_tasks.len() as u64,
    };
    if let Some((name, _)) = batch.counts.iter().find(|(_, by)| *by > MAX_NUMBER) {
        return Err(Failure::Overflow(name.clone()).into());
    }
    let batch = Arguments::new(batch)?;
    // Twice: the clock of Redis may have been set since we read it.
    for _ in 0..2 {
        let mut call = COMMIT.call(prefix);
        // A script that reaches Redis when nobody waits for it any more does nothing.
        call.arg(clock.after(pool.call_timeout()));
        batch.write(&mut call);
        let answer = call.run(pool).await?;
        let unexpected = || Failure::Answer { address: pool.address().to_owned() };
        match read(answer, &conditions, clock).ok_or_else(unexpected)?? {
            Outcome::Done(committed) => return Ok(committed),
            Outcome::Late => {}
        }
    }
    Err(Failure::Slow { address: pool.address().to_owned(), within: pool.call_timeout() }.into())
}

/// Milliseconds; a part of one counts whole.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(LONGEST).min(LONGEST)
}

/// A batch in the order of the script. What can fail without Redis has not failed.
struct Arguments {
    batch: Batch,
    new_tasks: Vec<Row>,
    task_updates: Vec<(TaskUid, Row)>,
}

impl Arguments {
    fn new(mut batch: Batch) -> Result<Self, StoreError> {
        let new_tasks = std::mem::take(&mut batch.new_tasks).into_iter().map(Row::of_new);
        // A number beyond what the store counts was never given.
        let given = batch.task_updates.iter().filter(|task| task.uid.0 <= MAX_NUMBER);
        let task_updates = given.map(|task| Ok((task.uid, Row::of(task)?)));
        Ok(Self {
            new_tasks: new_tasks.collect::<Result<_, StoreError>>()?,
            task_updates: task_updates.collect::<Result<_, StoreError>>()?,
            batch,
        })
    }

    fn write(&self, call: &mut Call) {
        let batch = &self.batch;
        call.arg(batch.fences.len());
        for fence in &batch.fences {
            call.arg(&fence.scope).arg(fence.token).arg(&fence.holder);
        }
        call.arg(batch.renamed.len());
        for (a, b) in &batch.renamed {
            call.arg(a.as_str()).arg(b.as_str());
        }
        call.arg(batch.writes.len());
        for one in &batch.writes {
            write(call, one);
        }
        call.arg(self.new_tasks.len());
        for row in &self.new_tasks {
            call.arg(&row.label);
            task(call, row);
        }
        call.arg(self.task_updates.len());
        for (uid, row) in &self.task_updates {
            call.arg(uid.0);
            task(call, row);
        }
        call.arg(batch.counts.len());
        for (name, by) in &batch.counts {
            call.arg(name).arg(*by);
        }
        call.arg(batch.appends.len());
        for append in &batch.appends {
            call.arg(&append.log).arg(append.value.as_ref());
        }
        call.arg(batch.forgotten.len());
        for counter in &batch.forgotten {
            call.arg(counter);
        }
    }
}

fn task(call: &mut Call, row: &Row) {
    call.arg(&row.tail).arg(&row.canceler).arg(&row.times[..]).arg(&row.body[..]);
}

/// Operation, table, key, value, milliseconds to live (empty: for ever), version expected (empty: any; `none`: no record).
fn write(call: &mut Call, write: &Write) {
    let (table, key) = write.target();
    let absent = || "none".to_owned();
    let (operation, value, ttl, expected) = match write {
        Write::Put { value, ttl, .. } => ("put", value.as_ref(), *ttl, String::new()),
        Write::PutIf { value, ttl, expected, .. } => {
            ("put", value.as_ref(), *ttl, expected.map_or_else(absent, |version| version.to_string()))
        }
        Write::Delete { .. } => ("delete", &[][..], None, String::new()),
        Write::DeleteIf { expected, .. } => ("delete", &[][..], None, expected.to_string()),
    };
    let ttl = ttl.map(|ttl| millis(ttl).to_string()).unwrap_or_default();
    call.arg(operation).arg(table.name()).arg(key).arg(value).arg(ttl).arg(expected);
}

/// None: the script never says so.
fn read(answer: Value, of: &Conditions, clock: &Clock) -> Option<Result<Outcome, StoreError>> {
    let mut answer = list(Some(answer))?.into_iter();
    let outcome = text(answer.next())?;
    clock.set(number(answer.next())?);
    let which = |answer: Option<Value>| usize::try_from(number(answer)?).ok()?.checked_sub(1);
    match outcome.as_str() {
        "late" => Some(Ok(Outcome::Late)),
        "fenced" => Some(Err(StoreError::Fenced { scope: of.scopes.get(which(answer.next())?)?.clone() })),
        "conflict" => {
            let (table, key) = of.records.get(which(answer.next())?)?.clone();
            Some(Err(StoreError::Conflict { table, key }))
        }
        "overflow" => Some(Err(Failure::Overflow(of.counters.get(which(answer.next())?)?.clone()).into())),
        "done" => {
            let first = number(answer.next())?;
            let versions = list(answer.next())?.into_iter().map(|version| number(Some(version)));
            Some(Ok(Outcome::Done(Committed {
                tasks: (first..first + of.new_tasks).map(TaskUid).collect(),
                versions: versions.collect(),
                counts: numbers(answer.next())?,
                positions: numbers(answer.next())?,
            })))
        }
        _ => None,
    }
}
