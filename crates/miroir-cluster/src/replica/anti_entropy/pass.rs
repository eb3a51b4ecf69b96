//! A pass of this instance over the shards that it owns.

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt, stream};
use miroir_core::base::id::{IndexUid, ShardId};
use miroir_core::replica::anti_entropy::select;
use miroir_store::Batch;
use time::OffsetDateTime;

use super::{Pass, PassFindings, REPORTS, Report};
use crate::state::catalog::all_shards;
use crate::{Index, Replicas};

/// Reports of instances that are gone are kept for so long at least.
const KEEP: std::time::Duration = std::time::Duration::from_secs(3600);

/// The shard behind which the next pass begins, where a pass does not take all of them.
#[derive(Clone, Debug, Default)]
pub struct PassCursor(Option<(IndexUid, ShardId)>);

impl Replicas {
    /// Compare the shards of this instance, and say in the store what was found.
    pub async fn make_pass(&self, pass: &Pass, cursor: &mut PassCursor) {
        let wanted = |index: &Arc<Index>| pass.index.as_ref().is_none_or(|uid| *uid == index.uid);
        let indexes: Vec<Arc<Index>> = self.state.indexes().into_iter().filter(wanted).collect();
        let owned = indexes.iter().flat_map(|index| {
            let shards = all_shards(index).into_iter().filter(|shard| self.state.owns_shard(&index.physical, *shard));
            shards.map(|shard| (index.physical.clone(), shard))
        });
        let most = if pass.index.is_some() { 0 } else { self.state.config.anti_entropy.shards_per_pass };
        let selection = select(owned.collect(), cursor.0.as_ref(), most);
        let mut report = Report {
            pass: pass.number,
            started_at: OffsetDateTime::now_utc(),
            finished_at: None,
            shards: selection.shards.len(),
            found: PassFindings::default(),
        };
        self.tell_of(&report).await;
        let depth = pass.depth;
        let compared =
            selection.shards.into_iter().map(|(index, shard)| self.compare_shard(index, shard, depth).boxed());
        let mut compared =
            stream::iter(compared).buffer_unordered(self.state.config.anti_entropy.max_read_concurrency.get());
        while let Some(found) = compared.next().await {
            self.record_found(&mut report, &found);
            self.tell_of(&report).await;
        }
        for index in indexes.iter().filter(|index| self.owns_orphans(index)) {
            let found = self.remove_orphans(index).await;
            self.record_found(&mut report, &found);
        }
        cursor.0 = selection.cursor;
        report.finished_at = Some(OffsetDateTime::now_utc());
        self.state.metrics.antientropy_finished(OffsetDateTime::now_utc().unix_timestamp());
        self.tell_of(&report).await;
        let found = &report.found;
        tracing::info!(
            pass = pass.number,
            shards = found.shards,
            documents = found.documents,
            mismatches = found.mismatches,
            repaired = found.repaired,
            "replicas were compared"
        );
    }

    fn owns_orphans(&self, index: &Index) -> bool {
        self.state.peers.owns(&format!("{}/orphans", index.physical))
    }

    fn record_found(&self, report: &mut Report, found: &PassFindings) {
        report.found += found;
        self.state.metrics.antientropy(found.shards, found.mismatches, found.repaired);
    }

    /// That nobody is told is no reason not to go on.
    async fn tell_of(&self, report: &Report) {
        let keep = KEEP.max(self.state.config.anti_entropy.schedule.interval() * 2);
        let write = REPORTS.put_for(self.state.peers.me(), report, keep);
        let told = match write {
            Ok(write) => self.state.store.commit(Batch { writes: vec![write], ..Batch::default() }).await.map(|_| ()),
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            tracing::debug!(%error, "what a comparison found could not be recorded");
        }
    }
}
