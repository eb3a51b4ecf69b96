//! Documents put and deleted without an index write lock: whoever calls this knows which writes of clients that may undo.

use bytes::Bytes;
use http::Method;
use miroir_core::base::id::ShardId;
use miroir_core::base::inert::shard_filter;
use miroir_node::{Call, Chunks, ResponseError};
use serde_json::json;

use super::{Failed, OnNode, Replica, unreadable};

impl Replica {
    /// Put these documents as they are: each replaces the one of its id. Returns the node's task.
    ///
    /// A node makes an index that it does not have; the caller looks whether the index is still to be there, before and
    /// after.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn put(&self, documents: impl IntoIterator<Item = Bytes>) -> Result<u64, Failed> {
        let mut body = Chunks::default();
        for document in documents {
            body.push(document);
            body.push(Bytes::from_static(b"\n"));
        }
        let key: String = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(self.on.index.key().into_iter().map(|key| ("primaryKey", key)))
            .finish();
        let path = self.on.path(&format!("/documents?{key}"));
        let call = Call::json("replica_put", Method::POST, path, body, self.on.long);
        self.on.tell(Call { content_type: Some("application/x-ndjson"), ..call }).await
    }

    /// Delete these documents. Returns the node's task.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn delete(&self, ids: &[String]) -> Result<u64, Failed> {
        let body = serde_json::to_vec(ids).map_err(unreadable)?;
        let path = self.on.path("/documents/delete-batch");
        self.on.tell(Call::json("replica_delete", Method::POST, path, body, self.on.long)).await
    }
}

impl OnNode {
    /// The deletion of all documents of these shards, for whoever [has the right to it](crate::write::erase).
    pub(crate) fn shards_deletion(&self, shards: &[ShardId]) -> Call {
        let body = json!({ "filter": [shard_filter(shards)] }).to_string().into_bytes();
        Call::json("replica_delete", Method::POST, self.path("/documents/delete"), body, self.long)
    }

    /// The task by which the node does it.
    pub(crate) async fn tell(&self, call: Call) -> Result<u64, Failed> {
        let before = self.node.newest_task();
        match self.node.enqueue(call).await {
            Ok(task) if self.node.accepted(task, before) => Ok(task),
            Ok(_) => Err(Failed::Unanswered("it has forgotten tasks".into())),
            Err(ResponseError::Unanswered(error)) => Err(Failed::Unanswered(error.to_string())),
            Err(error) if error.is_refusal() => Err(Failed::Refused(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }
}
