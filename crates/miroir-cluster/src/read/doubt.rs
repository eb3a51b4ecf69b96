//! Nodes that refuse what others take: those that have never met an attribute, which are asked again without it, and those
//! that are wrong, whose settings are looked at.
//!
//! A read that no node refuses comes by here for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use miroir_core::base::id::NodeId;
use miroir_core::read::search::SearchRequest;
use miroir_core::read::unmet::{GEO, NOT_SEARCHABLE, NOT_SORTABLE, doubtful, met_by_nobody, unmet};
use miroir_node::{Call, Node, NodeError, Reply, ResponseError};
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::read::scatter::{JointPart, Share, Target, error_body};
use crate::{Index, Pair, Reads};

/// Fields of a node in one answer: more than an index may have.
const ALL: usize = 1 << 20;
/// Before a node is looked at once more for an index.
const AGAIN: Duration = Duration::from_secs(10);
/// Pairs that are remembered.
const SUSPECTS: usize = 1000;

/// The attributes that the requests about a target name and that a node may have never met. Looked at only when one refuses.
pub enum Named<'a> {
    /// The requests name no such attribute.
    Nothing,
    /// Those that alone are searched.
    SearchedOn(&'a (dyn Fn() -> Vec<String> + Sync)),
    /// Likewise, by any of several searches.
    SearchedOnBy(Vec<&'a SearchRequest>),
    /// The place of documents, by which they are ordered.
    Place,
}

/// What came of asking a node.
pub struct Asked {
    /// The node that was asked.
    pub node: NodeId,
    /// For what, and what it has never met.
    pub shares: Vec<Share>,
    /// What it said at last.
    pub reply: Result<Reply, NodeError>,
    /// What it said of attributes that it has never met.
    pub unmet: Option<Reply>,
}

#[derive(Deserialize)]
struct Fields {
    results: Vec<Field>,
}

#[derive(Deserialize)]
struct Field {
    name: String,
}

/// The refusal of an attribute that is unmet by all who answered for a target.
pub fn unmet_by_all<'a>(targets: usize, parts: &[JointPart], refusals: &'a [(NodeId, Reply)]) -> Option<&'a Reply> {
    let first = parts.iter().flat_map(|part| &part.shares).any(|share| !share.unmet.is_empty());
    let of = |target: usize| parts.iter().flat_map(|part| &part.shares).filter(move |share| share.target == target);
    let nobody = first && (0..targets).any(|target| met_by_nobody(of(target).map(|share| &share.unmet)).is_some());
    let is_about_it = |reply: &Reply| about_attributes(reply).is_some();
    refusals.iter().map(|(_, reply)| reply).find(|reply| is_about_it(reply)).filter(|_| nobody)
}

/// The code of a refusal that may be for an attribute that the node has never met.
fn about_attributes(reply: &Reply) -> Option<String> {
    // Most answers are none, and too long to be read for nothing.
    let code = (reply.status == 400).then(|| error_body(reply))??.code;
    matches!(code.as_str(), NOT_SEARCHABLE | NOT_SORTABLE).then_some(code)
}

impl Named<'_> {
    fn searched_on(&self) -> Vec<String> {
        match self {
            Self::Nothing | Self::Place => Vec::new(),
            Self::SearchedOn(names) => names(),
            Self::SearchedOnBy(searches) => searches.iter().flat_map(|search| search.searched_on()).collect(),
        }
    }
}

impl Reads {
    /// Ask a node for its shares; once more, without the attributes that it has never met, when it refuses for these.
    pub(crate) async fn ask_for(
        &self,
        node: NodeId,
        mut shares: Vec<Share>,
        targets: &[Target<'_>],
        call: &impl Fn(&[Share]) -> Call,
        patience: &impl Fn(&NodeId, &Call, &[Share]) -> Duration,
    ) -> Asked {
        let timed = |shares: &[Share]| {
            let call = call(shares);
            Call { timeout: patience(&node, &call, shares), ..call }
        };
        let reply = self.ask(&node, timed(&shares)).await;
        let code: Option<String> = reply.as_ref().ok().and_then(about_attributes);
        let Some(code) = code else { return Asked { node, shares, reply, unmet: None } };
        match self.find_unmet(&node, &mut shares, targets, &code).await {
            Ok(true) => {
                let again = self.ask(&node, timed(&shares)).await;
                Asked { node, shares, reply: again, unmet: reply.ok() }
            }
            Ok(false) => Asked { node, shares, reply, unmet: None },
            Err(ResponseError::Unanswered(error)) => Asked { node, shares, reply: Err(error), unmet: None },
            Err(error) => {
                tracing::warn!(%node, %error, "a node does not tell its fields");
                Asked { node, shares, reply, unmet: None }
            }
        }
    }

    /// Note with the shares what their node has never met. Returns whether that is anything.
    async fn find_unmet(
        &self,
        id: &NodeId,
        shares: &mut [Share],
        targets: &[Target<'_>],
        code: &str,
    ) -> Result<bool, ResponseError> {
        let mut found = false;
        for share in shares {
            let Some(target) = targets.get(share.target) else { continue };
            match &target.named {
                Named::SearchedOn(_) | Named::SearchedOnBy(_) if code == NOT_SEARCHABLE => {
                    let (names, searchable) = (target.named.searched_on(), target.index.settings.searchable());
                    let doubtful = doubtful(&names, searchable.as_deref());
                    if let Some(node) = self.state.node(id).filter(|_| !doubtful.is_empty()) {
                        let known = self.searchable_on(&node, target.index, &doubtful).await?;
                        share.unmet = unmet(&doubtful, &known).into_iter().map(str::to_owned).collect();
                    }
                }
                Named::Place if code == NOT_SORTABLE && target.index.settings.sorts_by_place() => {
                    share.unmet.insert(GEO.to_owned());
                }
                Named::Nothing | Named::SearchedOn(_) | Named::SearchedOnBy(_) | Named::Place => {}
            }
            found |= !share.unmet.is_empty();
        }
        Ok(found)
    }

    /// The searchable attributes like these that a node has met.
    async fn searchable_on(&self, node: &Node, index: &Index, like: &[&str]) -> Result<Vec<String>, ResponseError> {
        let filter = serde_json::json!({ "attributePatterns": like, "searchable": true });
        let body = serde_json::json!({ "offset": 0, "limit": ALL, "filter": filter }).to_string().into_bytes();
        let path = format!("/indexes/{}/fields", index.physical);
        let fields: Fields =
            node.read(Call::json("fields", Method::POST, path, body, self.state.read_timeout())).await?;
        Ok(fields.results.into_iter().map(|field| field.name).collect())
    }

    /// Nodes have refused what others took: they are wrong, and are looked at.
    pub(crate) fn record_overruled(
        &self,
        targets: &[Target<'_>],
        alone: &BTreeSet<(usize, NodeId)>,
        refusals: &[(NodeId, Reply)],
    ) {
        let nodes: BTreeSet<&NodeId> = alone.iter().map(|(_, node)| node).collect();
        for node in nodes {
            let said = refusals.iter().find(|(refusing, _)| refusing == node).map(|(_, reply)| reply.shown());
            tracing::warn!(%node, said, "a node refuses what others take");
            self.state.metrics.refusal_overruled();
        }
        for (target, node) in alone {
            if let Some(target) = targets.get(*target) {
                self.suspects.add((target.index.physical.clone(), node.clone()));
            }
        }
    }
}

/// Nodes that refused what others took, by index.
#[derive(Default)]
pub struct Suspects {
    pairs: Mutex<BTreeMap<Pair, Suspected>>,
    news: Notify,
}

struct Suspected {
    since: Instant,
    is_new: bool,
}

impl Suspects {
    /// A node is to be looked at for an index, unless it was a moment ago.
    fn add(&self, pair: Pair) {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        pairs.retain(|_, suspected| suspected.is_new || suspected.since.elapsed() < AGAIN);
        if pairs.len() < SUSPECTS && !pairs.contains_key(&pair) {
            pairs.insert(pair, Suspected { since: Instant::now(), is_new: true });
            self.news.notify_one();
        }
    }

    /// Those that are to be looked at now.
    pub(crate) async fn next(&self) -> Vec<Pair> {
        self.news.notified().await;
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let news = pairs.iter_mut().filter(|(_, suspected)| suspected.is_new);
        let news = news.map(|(pair, suspected)| {
            suspected.is_new = false;
            pair.clone()
        });
        news.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(index: &str) -> Pair {
        (index.parse().expect("a uid"), NodeId::new("a"))
    }

    #[tokio::test]
    async fn a_suspect_is_looked_at_once_in_a_while() {
        let suspects = Suspects::default();
        for index in ["a", "b", "a"] {
            suspects.add(pair(index));
        }
        assert_eq!(suspects.next().await, [pair("a"), pair("b")]);
        suspects.add(pair("a"));
        assert!(tokio::time::timeout(Duration::from_millis(20), suspects.next()).await.is_err());
        let long_ago = Instant::now().checked_sub(AGAIN).expect("this machine runs for longer");
        let all = |pairs: &mut BTreeMap<Pair, Suspected>| pairs.values_mut().for_each(|known| known.since = long_ago);
        all(&mut suspects.pairs.lock().unwrap_or_else(PoisonError::into_inner));
        suspects.add(pair("a"));
        assert_eq!(suspects.next().await, [pair("a")]);
    }
}
