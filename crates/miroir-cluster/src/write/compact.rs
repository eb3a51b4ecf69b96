//! `POST /indexes/{uid}/compact`: every node compacts its part.

use http::Method;
use miroir_core::base::id::IndexUid;
use miroir_core::write::task::TaskKind;
use miroir_node::Call;
use serde_json::json;

use crate::state::catalog::all_shards;
use crate::write::fan_out::{Accepted, Change, raw};
use crate::write::parts::Step;
use crate::{Error, Writer};

impl Writer {
    /// Compact an index on all nodes. The sizes before and after are each node's own, and not shown.
    ///
    /// # Errors
    /// As `Writer::change`; an unknown index is a task that fails.
    pub async fn compact_index(&self, uid: &IndexUid) -> Result<Accepted, Error> {
        let guard = self.lock_index(uid).await?;
        let change = Change { details: raw(&json!({})), ..Change::new(&guard, uid, TaskKind::IndexCompaction) };
        let Some(index) = self.state.catalog.get(uid) else {
            return self.conclude_at_once(change.without_index()).await;
        };
        let path = format!("/indexes/{}/compact", index.physical);
        let call = Call::bare("compact", Method::POST, path, self.state.write_timeout());
        let topology = self.state.ensure_placement(index.shards).await?;
        let parts = self.on_every_node(&topology, &[Step { call, shards: Vec::new() }]);
        self.change(&topology, &index, Change { touched: all_shards(&index), parts, ..change }).await
    }
}
