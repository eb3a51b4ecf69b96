//! Reads of an index that is not there. A server says first what is wrong with the request itself, and that the index is
//! missing only of one that it could have answered.

use miroir_core::error::Code;
use miroir_core::id::IndexUid;
use miroir_core::settings::Floor;
use miroir_core::task::TaskKind;
use uuid::Uuid;

use super::versions::Reading;
use super::{Cluster, Error, Index};
use crate::node::Call;

impl Cluster {
    /// The index of a read; `request` gives the client's request for an index of the name given.
    ///
    /// # Errors
    /// What a server says of the request, or [`Error::IndexNotFound`]; as [`Cluster::begin_read`].
    pub(super) async fn index_to_read(
        &self,
        uid: &IndexUid,
        floor: Floor,
        request: impl FnOnce(&str) -> Call,
    ) -> Result<Reading, Error> {
        match self.find_index(uid).await {
            Err(missing) => {
                Err(self.said_before(request(&nowhere(uid, Uuid::new_v4())), missing, Code::IndexNotFound.name()).await)
            }
            Ok(index) => self.begin_read(index, floor).await,
        }
    }

    /// What a node has against the client's own request when it is something else than `otherwise`, whose code is given.
    pub(super) async fn said_before(&self, original: Call, otherwise: Error, code: &str) -> Error {
        let of_node = self.let_a_node_refuse(original).await;
        let says_more = matches!(&of_node, Error::Refused { body, .. } if body.code != code);
        if says_more { of_node } else { otherwise }
    }

    /// What it means that nobody answered for shards of these indexes: nodes delete an index before the catalog does.
    pub(super) async fn missing_or<'a>(&self, error: Error, indexes: impl Iterator<Item = &'a Index>) -> Error {
        for index in indexes {
            let deleted = match self.catalog.by_physical(&index.physical) {
                None => Ok(true),
                Some(known) => self.is_busy(std::slice::from_ref(&known.uid), Some(TaskKind::IndexDeletion)).await,
            };
            if matches!(deleted, Ok(true)) {
                return Error::IndexNotFound(index.uid.to_string());
            }
        }
        error
    }
}

/// A name that no node has anything under: that of the client may be the nodes' name of another index. It stands where
/// the client's would in the order of names, by which a server looks at the indexes of a federation.
pub(super) fn nowhere(uid: &IndexUid, suffix: Uuid) -> String {
    /// Leaves room within the length of a name.
    const KEPT: usize = 300;
    let kept: String = uid.as_str().chars().take(KEPT).collect();
    format!("{kept}-{suffix}")
}
