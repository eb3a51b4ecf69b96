//! What the decisions of a mirror are made of.

use std::sync::Arc;

use miroir_core::base::id::NodeId;
use miroir_core::replica::mirror::{MirrorFacts, Subject};

use crate::clock::{millis, now_ms};
use crate::{Error, Index, Replicas};

/// What is known of a mirror's replica at one moment.
pub(super) enum MirrorSituation {
    /// There is something to mirror.
    Stale(Arc<Index>, MirrorFacts),
    /// There is nothing to mirror any more: the index is gone, the replica is fresh, or is none.
    Superseded(&'static str),
}

impl Replicas {
    /// Look at what the next decision of a mirror needs to know, in the store where others write.
    ///
    /// # Errors
    /// [`Error::Store`] when that cannot be read.
    pub(super) async fn mirror_facts(&self, subject: &Subject) -> Result<MirrorSituation, Error> {
        let Subject { index: physical, shard, target } = subject;
        let Some(index) = self.state.catalog.by_physical(physical) else {
            return Ok(MirrorSituation::Superseded("the index is gone"));
        };
        // What is read later is newer: a change that is counted here may be seen as unfinished there, not the reverse.
        self.state.stale.refresh(physical).await?;
        let Some(stale) = self.state.stale.find(physical, *shard, target) else {
            return Ok(MirrorSituation::Superseded("it is known as stale no more"));
        };
        if !self.state.topology().takes_writes(index.shards, *shard, target) {
            return Ok(MirrorSituation::Superseded("the node does not take its writes any more"));
        }
        let conditional = self.writes.conditional(&index).await?;
        let facts = MirrorFacts {
            now: now_ms(),
            sources: self.sources(&index, subject),
            target_live: self.state.is_live(target),
            misses: stale.misses,
            quiet_at: stale.quiet_at.map(millis).unwrap_or_default(),
            conditional: conditional.changes,
            edits: conditional.edits,
            edits_unfinished: conditional.edits_unfinished,
            clients: self.state.client_priority.clients_active(),
        };
        Ok(MirrorSituation::Stale(index, facts))
    }

    /// The live replicas that hold every write, of any group; those that are asked least first.
    fn sources(&self, index: &Index, subject: &Subject) -> Vec<NodeId> {
        let weights = self.state.weights();
        let replicas = self.state.fresh_nodes(index, subject.shard);
        let mut sources: Vec<(bool, f64, NodeId)> = replicas
            .into_iter()
            .filter(|id| *id != subject.target)
            .filter_map(|id| Some((index.lagging.contains_key(&id), self.state.node(&id)?.cost(&weights), id)))
            .collect();
        // One that lacks settings may not be able to tell shards apart.
        sources.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        sources.into_iter().map(|(_, _, node)| node).collect()
    }
}
