//! Anti-entropy: all instances make a pass together, each over the shards that it owns.
//!
//! A pass is a record in the store: whoever finds one due writes the next, and every instance that sees a pass it has not
//! made makes it. What an instance has found is a record of its own, for operators.

mod listing;
mod orphans;
mod pass;
mod repair;
mod shard;

use miroir_api::{AntiEntropyStatus, ComparedBy, PassFindings};
use miroir_core::base::error::{Code, ErrorBody};
use miroir_core::base::id::IndexUid;
use miroir_core::replica::anti_entropy::depth_of;
use miroir_core::replica::digest::Depth;
use miroir_store::{Batch, StoreError, Table, TypedTable};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use pass::PassCursor;

use crate::clock::{millis, now_ms, rfc3339};
use crate::{Error, Replicas};

/// A pass over the shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pass {
    /// Rises by one.
    pub number: u64,
    /// When it was called for.
    #[serde(with = "time::serde::rfc3339")]
    pub began: OffsetDateTime,
    /// How closely documents are looked at.
    pub depth: Depth,
    /// Only this index; none: all.
    pub index: Option<IndexUid>,
}

impl Pass {
    /// As operators see it.
    pub fn view(&self) -> miroir_api::Pass {
        let depth = match self.depth {
            Depth::Stamps => miroir_api::Depth::Stamps,
            Depth::Content => miroir_api::Depth::Content,
        };
        let index = self.index.as_ref().map(IndexUid::to_string);
        miroir_api::Pass { number: self.number, began: rfc3339(self.began), depth, index }
    }
}

/// How far an instance has come with a pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Which pass.
    pub pass: u64,
    /// When the instance began it.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// When it was through; none: it is not.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub finished_at: Option<OffsetDateTime>,
    /// Shards that are the instance's.
    pub shards: usize,
    /// What it has found so far.
    pub found: PassFindings,
}

impl Report {
    fn view(&self, instance: &str) -> ComparedBy {
        ComparedBy {
            pass: self.pass,
            started_at: rfc3339(self.started_at),
            finished_at: self.finished_at.map(rfc3339),
            shards: self.shards as u64,
            found: self.found.clone(),
            instance: instance.to_owned(),
        }
    }
}

const PASSES: TypedTable<Pass> = TypedTable::new(Table::Meta);
const PASS: &str = "anti_entropy_pass";
const REPORTS: TypedTable<Report> = TypedTable::new(Table::AntiEntropy);

impl Replicas {
    /// The last pass that was called for.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn last_pass(&self) -> Result<Option<Pass>, StoreError> {
        Ok(PASSES.get(&*self.state.store, PASS).await?.map(|record| record.value))
    }

    /// The pass that is to be made now, begun if it is due.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn current_pass(&self) -> Result<Option<Pass>, Error> {
        let last = self.last_pass().await?;
        let began = last.as_ref().map(|pass| millis(pass.began));
        match self.state.config.anti_entropy.schedule.wait(began, now_ms()) {
            None => self.begin_pass(last.as_ref().map(|pass| pass.number), None, None).await.map(Some),
            Some(_) => Ok(last),
        }
    }

    /// Have every instance make another pass. `depth`: else as the schedule would have it.
    ///
    /// # Errors
    /// When comparing is turned off, the index does not exist, or the store cannot be written.
    pub async fn run_anti_entropy(&self, index: Option<IndexUid>, depth: Option<Depth>) -> Result<Pass, Error> {
        if !self.state.config.anti_entropy.enabled {
            let message = "Replicas are not compared: `anti_entropy.enabled` is false.";
            return Err(Error::Invalid(ErrorBody::new(Code::BadRequest, message)));
        }
        if let Some(uid) = &index {
            self.state.find_index(uid).await?;
        }
        let last = self.last_pass().await?;
        self.begin_pass(last.map(|pass| pass.number), index, depth).await
    }

    /// The pass after this one; if somebody else has begun it, that one.
    async fn begin_pass(
        &self,
        after: Option<u64>,
        index: Option<IndexUid>,
        depth: Option<Depth>,
    ) -> Result<Pass, Error> {
        let found = PASSES.get(&*self.state.store, PASS).await?;
        if let Some(newer) = found.as_ref().filter(|record| Some(record.value.number) > after) {
            return Ok(newer.value.clone());
        }
        let number = after.unwrap_or(0) + 1;
        let depth = depth.unwrap_or_else(|| depth_of(number, self.state.config.anti_entropy.deep_every));
        let pass = Pass { number, began: OffsetDateTime::now_utc(), depth, index };
        let writes = vec![PASSES.put_if(PASS, &pass, found.map(|record| record.version))?];
        match self.state.store.commit(Batch { writes, ..Batch::default() }).await {
            Ok(_) => Ok(pass),
            Err(error @ StoreError::Conflict { .. }) => self.last_pass().await?.ok_or(Error::Store(error)),
            Err(error) => Err(error.into()),
        }
    }

    /// The last pass, and how far each instance has come with it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn anti_entropy_status(&self) -> Result<AntiEntropyStatus, StoreError> {
        let config = &self.state.config.anti_entropy;
        let living: Vec<String> =
            self.state.peers.others().into_keys().chain([self.state.peers.me().to_owned()]).collect();
        let reports =
            REPORTS.list(&*self.state.store).await?.into_iter().filter(|(instance, _)| living.contains(instance));
        let reports: Vec<(String, Report)> = reports.map(|(instance, record)| (instance, record.value)).collect();
        let pass = self.last_pass().await?;
        let through = |instance: &String| {
            let done =
                |report: &Report| report.finished_at.is_some() && pass.as_ref().is_none_or(|p| report.pass >= p.number);
            reports.iter().any(|(other, report)| other == instance && done(report))
        };
        Ok(AntiEntropyStatus {
            enabled: config.enabled,
            auto_repair: config.auto_repair,
            interval_seconds: config.schedule.interval().as_secs(),
            finished: pass.is_some() && living.iter().all(through),
            pass: pass.as_ref().map(Pass::view),
            instances: reports.iter().map(|(instance, report)| report.view(instance)).collect(),
        })
    }
}
