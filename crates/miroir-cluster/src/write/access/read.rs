//! Documents as a node holds them.

use bytes::Bytes;
use http::Method;
use miroir_core::base::inert::{UPDATED_AT_FIELD, shard_filter};
use miroir_core::base::json;
use miroir_core::replica::digest::{Copied, Depth};
use miroir_core::replica::mirror::Window;
use miroir_node::Call;
use serde_json::{Value, json};

use super::{FEW, Failed, MAX_PAGE, Replica, unreadable};

/// A document that a node returned.
#[derive(Clone, Debug)]
pub struct Document {
    /// What is compared of it.
    pub copied: Copied,
    /// The whole of it, at the depth of content; else what was asked for. It shares the memory of its page.
    pub raw: Bytes,
}

impl Replica {
    /// A page of the shard's documents, in the node's own order, and its bytes.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn page(&self, window: Window, depth: Depth) -> Result<(Vec<Document>, u64), Failed> {
        let body = json!({
            "filter": [shard_filter(&[self.shard])],
            "offset": window.offset,
            "limit": window.limit,
        });
        self.documents(body, window.limit, depth).await
    }

    /// These documents, as far as the node holds them, at the depth of content, and the bytes of the answer.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn fetch(&self, ids: &[String]) -> Result<(Vec<Document>, u64), Failed> {
        let limit = ids.len() as u64;
        let body = json!({ "filter": [shard_filter(&[self.shard])], "ids": ids, "offset": 0, "limit": limit });
        self.documents(body, limit, Depth::Content).await
    }

    async fn documents(&self, mut body: Value, limit: u64, depth: Depth) -> Result<(Vec<Document>, u64), Failed> {
        // An index without one has no documents, as far as that is known yet; others cannot be read.
        let primary_key = self.on.index.key().cloned().unwrap_or_default();
        let operation = match depth {
            Depth::Stamps => {
                let id = Some(primary_key.as_str()).filter(|key| !key.is_empty());
                body["fields"] = id.into_iter().chain([UPDATED_AT_FIELD]).collect();
                "replica_list"
            }
            Depth::Content => {
                body["retrieveVectors"] = true.into();
                "replica_read"
            }
        };
        let body = body.to_string().into_bytes();
        let call = Call::json(operation, Method::POST, self.on.path("/documents/fetch"), body, self.on.long);
        let call = if limit > FEW { call.within(MAX_PAGE) } else { call };
        let reply = self.on.node.ask(call).await?.body;
        // A page may be large, and hashing it take a while: requests of clients are not to wait for that.
        let read = tokio::task::spawn_blocking(move || read(&reply, &primary_key, depth)).await;
        read.map_err(unreadable)?
    }
}

fn read(reply: &Bytes, primary_key: &str, depth: Depth) -> Result<(Vec<Document>, u64), Failed> {
    std::str::from_utf8(reply).map_err(unreadable)?;
    let results = json::get(reply, "results").map_err(unreadable)?.ok_or_else(|| unreadable("no results"))?;
    let documents = json::elements(results).map_err(unreadable)?.map(|raw| {
        let raw = raw.map_err(unreadable)?;
        let copied = Copied::read(raw, primary_key, depth).map_err(unreadable)?;
        Ok(Document { copied, raw: reply.slice_ref(raw) })
    });
    Ok((documents.collect::<Result<_, Failed>>()?, results.len() as u64))
}

#[cfg(test)]
mod tests {
    use miroir_core::base::inert::encode_millis;

    use super::*;

    #[test]
    fn a_page_is_read_without_being_copied() {
        let stamp = encode_millis(7);
        let text = format!(r#"{{"results":[{{"id":1,"_miroir_updated_at":"{stamp}"}},{{"id":"x"}}],"total":2}}"#);
        let reply = Bytes::from(text);
        let (documents, bytes) = read(&reply, "id", Depth::Content).expect("a page");
        assert_eq!(documents.iter().map(|it| it.copied.id.as_str()).collect::<Vec<_>>(), ["1", "x"]);
        assert_eq!(documents.first().and_then(|it| it.copied.version.stamp), Some(7));
        assert_eq!(documents.last().map(|it| it.raw.as_ref()), Some(br#"{"id":"x"}"#.as_slice()));
        assert!(bytes > 0);
    }

    #[test]
    fn what_is_no_page_is_no_answer() {
        for text in ["", "[]", "{}", r#"{"results":{}}"#, r#"{"results":[1]}"#, r#"{"results":[{"a":1}]}"#] {
            let failed = read(&Bytes::from(text), "id", Depth::Stamps);
            assert!(matches!(failed, Err(Failed::Unanswered(_))), "{text}");
        }
    }
}
