//! Documents by id.

use miroir_core::base::error::{Code, ErrorBody};
use miroir_core::base::hash::shard_of;
use miroir_core::base::id::IndexUid;
use miroir_core::base::strip;
use miroir_core::base::text::{SHOWN_VALUE, shown};
use miroir_core::document::id::is_valid;
use miroir_core::settings::Floor;
use miroir_node::Call;

use crate::read::refusal::Original;
use crate::{Answer, Error, Reads};

impl Reads {
    /// `GET /indexes/{uid}/documents/{id}`; `query` is passed on.
    ///
    /// # Errors
    /// As Meilisearch refuses, or when no replica of its shard can be asked.
    pub async fn document(&self, uid: &IndexUid, id: &str, query: &str, floor: Floor) -> Result<Answer, Error> {
        let id_of_path: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
        let original = Original::document(&id_of_path.replace('+', "%20"), query);
        let index = self.index_to_read(uid, floor, &original).await?;
        if !is_valid(id.as_bytes()) {
            // No document can have it, and any node says so, or what else is wrong with the request.
            let message = format!("Document `{}` not found.", shown(id, SHOWN_VALUE));
            let missing = Error::Invalid(ErrorBody::new(Code::DocumentNotFound, message));
            return Err(self.reworded(&index, &original, missing).await);
        }
        let shard = shard_of(id.as_bytes(), index.shards);
        let path = format!("/indexes/{}/documents/{id}{}", index.physical, with_question_mark(query));
        let timeout = self.state.read_timeout();
        let gathered = self.gather(&index, &[shard], 0, |_, _| Call::get("document", path.clone(), timeout)).await?;
        let part = gathered.parts.first().ok_or_else(|| Error::ShardUnavailable { shards: [shard].into() })?;
        let mut body = Vec::with_capacity(part.reply.body.len());
        strip::document(&part.reply.body, &mut body).map_err(|error| Error::answer(&part.assignment.node, error))?;
        Ok(Answer { body: body.into(), degraded: gathered.degraded })
    }
}

fn with_question_mark(query: &str) -> String {
    if query.is_empty() { String::new() } else { format!("?{query}") }
}
