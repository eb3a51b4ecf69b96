//! Templates that any node can render, since they are about no index.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::Method;
use miroir_node::Call;

use crate::read::refusal::says_no;
use crate::read::scatter::refused;
use crate::{Answer, Error, Reads};

impl Reads {
    /// `POST /render-template` with the template and the document in the request.
    ///
    /// # Errors
    /// As Meilisearch refuses, or when no node can be reached.
    pub async fn render(&self, body: Bytes) -> Result<Answer, Error> {
        let call = Call::json("render", Method::POST, "/render-template", body, self.state.read_timeout());
        for _ in 0..self.state.nodes().len() {
            let Some(node) = self.any_live_node() else { break };
            match node.call(call.clone()).await {
                Ok(reply) if reply.status == 200 => return Ok(Answer::whole(reply.body)),
                Ok(reply) if says_no(reply.status) => return Err(refused(&reply)),
                Ok(_) | Err(_) => {}
            }
        }
        Err(Error::ShardUnavailable { shards: BTreeSet::new() })
    }
}
