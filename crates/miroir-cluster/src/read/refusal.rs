//! What a node has against a request, in Meilisearch's own words.
//!
//! Invariant: what Miroir could not read never reaches an index. It is sent to a node as an [`Unread`], in which every
//! name of an index is one that no index has: whatever the node makes of the rest, nothing is found, shown or changed. A
//! request about a real index is sent as the client wrote it only as an [`Original`], which can be a read alone, and only
//! once it has been read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use miroir_core::base::error::{Code, ErrorBody};
use miroir_core::base::id::{IndexUid, NodeId};
use miroir_core::read::multi_search::renamed;
use miroir_core::read::patience::Attempt;
use miroir_node::deadline;
use miroir_node::{Call, Node};
use uuid::Uuid;

use crate::read::scatter::refused;
use crate::{Error, Index, Reads};

/// Not a uid: nodes read all else of a request before they refuse it.
const NO_INDEX: &str = "no%20index";
/// What a node refuses such a request by when it has nothing else against it.
const NOT_A_UID: &str = "invalid_index_uid";

/// The reads of one index, as paths behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Read {
    Search,
    FacetSearch,
    Similar,
    Fields,
    Documents,
    Fetch,
    Stats,
}

impl Read {
    fn path(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::FacetSearch => "facet-search",
            Self::Similar => "similar",
            Self::Fields => "fields",
            Self::Documents => "documents",
            Self::Fetch => "documents/fetch",
            Self::Stats => "stats",
        }
    }

    fn operation(self) -> &'static str {
        match self {
            Self::Fetch | Self::Documents => "documents",
            Self::Search | Self::FacetSearch | Self::Similar | Self::Fields | Self::Stats => self.path(),
        }
    }
}

/// A client's request to read an index, as the client wrote it; the index's name is put in when it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Original {
    operation: &'static str,
    /// What stands behind the index's name.
    rest: String,
    /// None: it is a GET.
    body: Option<Bytes>,
}

impl Original {
    /// A GET.
    pub fn query(read: Read, query: &str) -> Self {
        Self { operation: read.operation(), rest: format!("/{}?{query}", read.path()), body: None }
    }

    /// A POST of JSON.
    pub fn body(read: Read, body: &Bytes) -> Self {
        Self { operation: read.operation(), rest: format!("/{}", read.path()), body: Some(body.clone()) }
    }

    /// A GET of one document; `id` and `query` as they stand in an address.
    pub fn document(id: &str, query: &str) -> Self {
        let question_mark = if query.is_empty() { "" } else { "?" };
        Self { operation: "document", rest: format!("/documents/{id}{question_mark}{query}"), body: None }
    }

    fn about(&self, index: &str, timeout: Duration) -> Call {
        let path = format!("/indexes/{index}{}", self.rest);
        match &self.body {
            None => Call::get(self.operation, path, timeout),
            Some(body) => Call::json(self.operation, Method::POST, path, body.clone(), timeout),
        }
    }
}

/// A client's request that Miroir could not read, and in which no index is named.
#[derive(Debug)]
pub(crate) struct Unread {
    call: Call,
    /// What a node refuses it by when it has nothing else against it.
    otherwise: &'static str,
    /// What stands behind each name of an index in it, so that none has it.
    suffix: Option<Uuid>,
}

impl Unread {
    /// A read of one index, whose name `uid` is. A server looks for the index after it has read the request, and would say
    /// that a name that is none is none, before it has read all.
    pub fn read(original: &Original, uid: &IndexUid) -> Self {
        let suffix = Uuid::new_v4();
        let call = original.about(&nowhere(uid, suffix), Duration::MAX);
        Self { call, otherwise: Code::IndexNotFound.name(), suffix: Some(suffix) }
    }

    /// A JSON body that would change an index; `path` as it stands behind the index's name.
    pub fn change(operation: &'static str, method: Method, path: &str, body: Bytes) -> Self {
        let call = Call::json(operation, method, format!("/indexes/{NO_INDEX}/{path}"), body, Duration::MAX);
        Self { call, otherwise: NOT_A_UID, suffix: None }
    }

    /// A GET of what is of no index.
    pub fn of_server(operation: &'static str, path: &str, query: &str) -> Self {
        let call = Call::get(operation, format!("/{path}?{query}"), Duration::MAX);
        Self { call, otherwise: Code::IndexNotFound.name(), suffix: None }
    }

    /// The body of a multi-search; `None` when its indexes cannot be told from the rest.
    pub fn searches(body: &[u8]) -> Option<Self> {
        let suffix = Uuid::new_v4();
        // What can be no index's name is for the node to refuse.
        let name = |known: &str| Some(nowhere(&known.parse().ok()?, suffix));
        let body = renamed(body, name).ok()?;
        let call = Call::json("multi-search", Method::POST, "/multi-search", body, Duration::MAX);
        Some(Self { call, otherwise: Code::IndexNotFound.name(), suffix: Some(suffix) })
    }
}

/// What a node has to say of a request.
enum Said {
    /// What it has against it.
    Refusal(Error),
    /// A node has nothing against the request.
    Accepted,
    /// No node could be asked.
    Nobody,
}

impl Reads {
    /// The refusal of a request that Miroir could not read, in the words that nodes have for it. What a node would accept
    /// is refused as well.
    pub(crate) async fn refuse_unread(&self, Unread { call, otherwise, suffix }: Unread) -> Error {
        let timeout = self.state.read_timeout();
        match self.ask_anybody(Call { timeout, ..call }).await {
            Said::Refusal(refusal) if refusal.is(otherwise) => unreadable(),
            Said::Refusal(refusal) => suffix.into_iter().fold(refusal, with_clients_names),
            Said::Accepted => unreadable(),
            Said::Nobody => Error::ShardUnavailable { shards: BTreeSet::new() },
        }
    }

    /// What nodes have against JSON that would change an index, were it sent to one. It changes none.
    ///
    /// # Errors
    /// Their refusal, or `unasked` when no node could be asked.
    pub(crate) async fn check_change(&self, change: Unread, unasked: Error) -> Result<(), Error> {
        let Unread { call, otherwise, .. } = change;
        match self.ask_anybody(Call { timeout: self.state.read_timeout(), ..call }).await {
            Said::Refusal(refusal) if refusal.is(otherwise) => Ok(()),
            Said::Refusal(refusal) => Err(refusal),
            // A node that accepts what is for no index has read nothing of it.
            Said::Accepted | Said::Nobody => Err(unasked),
        }
    }

    /// What came of a read; a refusal about the request as nodes were sent it is one of the client's own.
    pub(crate) async fn in_clients_words<T>(
        &self,
        index: &Index,
        outcome: Result<T, Error>,
        original: &Original,
    ) -> Result<T, Error> {
        match outcome {
            Err(refusal @ Error::Refused { .. }) => Err(self.reworded(index, original, refusal).await),
            outcome => outcome,
        }
    }

    /// A refusal about the request as nodes were sent it, in the words that a node has for the client's own.
    pub(crate) async fn reworded(&self, index: &Index, original: &Original, refusal: Error) -> Error {
        match self.ask_anybody(original.about(index.physical.as_str(), self.state.read_timeout())).await {
            Said::Refusal(reworded @ Error::Refused { .. }) => reworded.naming(index),
            // What the client sent alone would be accepted: what confines it was refused.
            Said::Refusal(_) | Said::Accepted | Said::Nobody => refusal,
        }
    }

    /// What a node has against the client's own request when it is something else than `otherwise`, whose code is given.
    pub(crate) async fn said_before(&self, index: &Index, original: &Original, otherwise: Error, code: &str) -> Error {
        let said = self.ask_anybody(original.about(index.physical.as_str(), self.state.read_timeout())).await;
        said.unless(code, otherwise).naming(index)
    }

    /// Likewise for a read of an index that is not there.
    pub(crate) async fn said_before_missing(&self, uid: &IndexUid, original: &Original, missing: Error) -> Error {
        let Unread { call, otherwise, suffix } = Unread::read(original, uid);
        let said = self.ask_anybody(Call { timeout: self.state.read_timeout(), ..call }).await;
        suffix.into_iter().fold(said.unless(otherwise, missing), with_clients_names)
    }

    /// What a node has against a multi-search, its indexes being called as nodes call them.
    pub(crate) async fn refusal_of_searches(&self, body: Vec<u8>) -> Option<Error> {
        match self.ask_anybody(self.multi_search_call(body)).await {
            Said::Refusal(refusal @ Error::Refused { .. }) => Some(refusal),
            Said::Refusal(_) | Said::Accepted | Said::Nobody => None,
        }
    }

    /// What this very node says against a request; `otherwise` when it has nothing against it.
    pub(crate) async fn refused_by(
        &self,
        node: &NodeId,
        index: &Index,
        original: &Original,
        otherwise: Error,
    ) -> Error {
        let Some(node) = self.state.node(node) else { return otherwise };
        match node.call(original.about(index.physical.as_str(), self.state.read_timeout())).await {
            Ok(reply) if says_no(reply.status) => refused(&reply).naming(index),
            Ok(_) | Err(_) => otherwise.naming(index),
        }
    }

    async fn ask_anybody(&self, call: Call) -> Said {
        let mut asked = deadline::given_up();
        while let Some(node) = self.node_to_refuse(&asked) {
            asked.insert(node.member.id.clone());
            // One that is silent leaves time for the next.
            let call = Call { timeout: turn_of_one(call.timeout), ..call.clone() };
            match node.call(call).await {
                Ok(reply) if says_no(reply.status) => return Said::Refusal(refused(&reply)),
                Ok(reply) if reply.status < 400 => return Said::Accepted,
                Ok(_) | Err(_) => deadline::give_up(&node.member.id),
            }
        }
        Said::Nobody
    }

    /// Any live node but those asked; one that holds the settings of all indexes as long as there is one, since refusals are
    /// about settings, too.
    fn node_to_refuse(&self, asked: &BTreeSet<NodeId>) -> Option<Arc<Node>> {
        let mut lagging = asked.clone();
        lagging.extend(self.state.indexes().iter().flat_map(|index| index.lagging.keys().cloned()));
        self.any_live_node_but(&lagging).or_else(|| self.any_live_node_but(asked))
    }
}

/// A refusal may repeat the names that it was sent, in quotes or as places in the request.
fn with_clients_names(mut refusal: Error, suffix: Uuid) -> Error {
    if let Error::Refused { body, .. } = &mut refusal {
        body.message = body.message.replace(&format!("-{suffix}"), "");
    }
    refusal
}

impl Said {
    fn unless(self, code: &str, otherwise: Error) -> Error {
        match self {
            Self::Refusal(refusal @ Error::Refused { .. }) if !refusal.is(code) => refusal,
            Self::Refusal(_) | Self::Accepted | Self::Nobody => otherwise,
        }
    }
}

/// How long one of several nodes that can all answer is waited for.
fn turn_of_one(one: Duration) -> Duration {
    let left = deadline::left().unwrap_or(one);
    Attempt { left, one, searches: 1, usual: Duration::ZERO, others: 1 }.patience()
}

/// Whether a node has something against a request, and not against who asks or when.
pub(crate) fn says_no(status: u16) -> bool {
    (400..500).contains(&status) && !matches!(status, 401 | 403 | 408 | 429)
}

/// What Miroir cannot read although a node could.
pub(crate) fn unreadable() -> Error {
    let message = "Miroir cannot read this request, and sends nodes only what it has read.";
    Error::Invalid(ErrorBody::new(Code::BadRequest, message))
}

/// A name that no node has anything under: that of the client may be the nodes' name of another index. It stands where
/// the client's would in the order of names, by which a server looks at the indexes of a federation.
pub(crate) fn nowhere(uid: &IndexUid, suffix: Uuid) -> String {
    /// Leaves room within the length of a name.
    const KEPT: usize = 300;
    let kept: String = uid.as_str().chars().take(KEPT).collect();
    format!("{kept}-{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Meilisearch 1.50.0 names places in a request so.
    #[test]
    fn a_refusal_of_what_could_not_be_read_calls_indexes_as_clients_do() {
        let body = br#"{"federation":{"facetsByIndex":{"books":[null]}},"queries":[{"indexUid":"films"}]}"#;
        let unread = Unread::searches(body).expect("its indexes can be told");
        let suffix = unread.suffix.expect("they are called otherwise");
        let message = |books: &str| {
            format!("Invalid value type at `.federation.facetsByIndex.{books}[0]`: expected a string, but found null")
        };
        let body = ErrorBody::new(Code::BadRequest, message(&format!("books-{suffix}")));
        let refusal = with_clients_names(Error::Refused { status: 400, body }, suffix);
        assert!(matches!(&refusal, Error::Refused { body, .. } if body.message == message("books")), "{refusal:?}");
    }
}
