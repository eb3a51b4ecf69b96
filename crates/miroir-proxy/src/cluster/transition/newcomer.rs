//! A node that is to join, asked at its address: it is not a member yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use miroir_core::id::IndexUid;
use miroir_core::recovery::{Expected, ExpectedIndex, Found, FoundIndex, OLDEST, Standing, check};
use miroir_core::topology::Member;
use miroir_core::transition::{Refused, fit};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::Cluster;
use crate::node::{Call, Node};

/// Indexes asked for in one request.
const PAGE: usize = 1000;
/// Pages looked at: a node with more indexes than that is no node of ours.
const PAGES: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    pkg_version: String,
}

#[derive(Deserialize)]
struct Indexes {
    results: Vec<IndexOfNode>,
}

#[derive(Deserialize)]
pub(super) struct IndexOfNode {
    pub uid: String,
}

/// Why a node that is no member does not tell what it was asked.
pub(super) enum Silent {
    NoAnswer,
    NotOurKey,
}

impl Silent {
    fn refuses(self, member: &Member) -> Refused {
        match self {
            Self::NoAnswer => Refused::NoAnswer(member.id.clone()),
            Self::NotOurKey => Refused::NotOurKey(member.id.clone()),
        }
    }
}

impl Cluster {
    /// Whether a node can join: it answers, takes our key, is new enough, and holds no index that would be taken for one
    /// of ours.
    ///
    /// # Errors
    /// Why it cannot.
    pub(super) async fn look_at_newcomer(&self, member: &Member) -> Result<(), Refused> {
        let node = self.outsider(member);
        let silent = |silent: Silent| silent.refuses(member);
        let version: Version = self.ask_outsider(&node, "version", "/version").await.map_err(silent)?;
        let found = self.list_indexes(&node).await.map_err(silent)?;
        let indexes =
            self.catalog.all().iter().map(|index| (index.physical.clone(), ExpectedIndex::default())).collect();
        let expected = Expected { oldest: OLDEST, newest_task: None, indexes, given_up: BTreeSet::new() };
        let named = found.into_iter().filter_map(|index| Some((index.uid.parse().ok()?, FoundIndex::default())));
        let indexes: BTreeMap<IndexUid, FoundIndex> = named.collect();
        let found = Found { version: version.pkg_version, newest_task: None, indexes };
        fit(member, &check(Standing::Joining, &expected, &found))
    }

    /// All indexes of a node.
    pub(super) async fn list_indexes(&self, node: &Arc<Node>) -> Result<Vec<IndexOfNode>, Silent> {
        let mut found = Vec::new();
        for page in 0..PAGES {
            let path = format!("/indexes?limit={PAGE}&offset={}", page * PAGE);
            let told: Indexes = self.ask_outsider(node, "indexes", &path).await?;
            let last = told.results.len() < PAGE;
            found.extend(told.results);
            if last {
                break;
            }
        }
        Ok(found)
    }

    async fn ask_outsider<T: DeserializeOwned>(
        &self,
        node: &Arc<Node>,
        operation: &'static str,
        path: &str,
    ) -> Result<T, Silent> {
        match node.call(Call::get(operation, path, self.read_timeout())).await {
            Ok(reply) if reply.status == 200 => serde_json::from_slice(&reply.body).map_err(|_| Silent::NoAnswer),
            Ok(reply) if matches!(reply.status, 401 | 403) => Err(Silent::NotOurKey),
            Ok(_) | Err(_) => Err(Silent::NoAnswer),
        }
    }
}
