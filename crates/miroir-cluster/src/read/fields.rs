//! The fields of an index, as all its nodes know them.

use bytes::Bytes;
use http::Method;
use miroir_core::base::id::IndexUid;
use miroir_core::read::fields::FieldsRequest;
use miroir_core::settings::Floor;
use miroir_node::Call;

use crate::read::refusal::{Original, Read, Unread};
use crate::state::catalog::all_shards;
use crate::{Answer, Error, Reads};

impl Reads {
    /// `POST /indexes/{uid}/fields`.
    ///
    /// # Errors
    /// As Meilisearch refuses, or when shards are unavailable.
    pub async fn fields(&self, uid: &IndexUid, body: Bytes, floor: Floor) -> Result<Answer, Error> {
        let timeout = self.state.read_timeout();
        let original = Original::body(Read::Fields, &body);
        let index = self.index_to_read(uid, floor, &original).await?;
        let path = format!("/indexes/{}/fields", index.physical);
        let Ok(request) = FieldsRequest::from_body(&body) else {
            return Err(self.refuse_unread(Unread::read(&original, uid)).await);
        };
        let call =
            |_: &_, _: Option<&str>| Call::json("fields", Method::POST, path.clone(), request.node_body(), timeout);
        let gathered = self.gather(&index, &all_shards(&index), 0, call).await;
        let gathered = self.in_clients_words(&index, gathered, &original).await?;
        let answers: Vec<&Bytes> = gathered.parts.iter().map(|part| &part.reply.body).collect();
        let displayed = index.settings.displayed();
        let body = request.merge(displayed.as_deref(), &answers).map_err(|(answer, fault)| Error::Answer {
            node: gathered.parts.get(answer).map_or_else(String::new, |part| part.assignment.node.to_string()),
            why: fault.to_string(),
        })?;
        Ok(Answer { body: body.into(), degraded: gathered.degraded })
    }
}
