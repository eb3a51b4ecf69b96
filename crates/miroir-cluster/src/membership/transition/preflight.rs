//! Preflight of a candidate node: it is asked at its address, and is not a member yet.

use std::collections::{BTreeMap, BTreeSet};

use miroir_core::base::address::AddressPolicy;
use miroir_core::base::id::IndexUid;
use miroir_core::membership::topology::Member;
use miroir_core::membership::transition::{Refused, fit};
use miroir_core::replica::recovery::{
    Expected, ExpectedIndex, FoundIndex, MembershipStatus, NodeInventory, OLDEST, check,
};
use miroir_node::ResponseError;

use crate::Membership;
use crate::outbound::allowed;

/// The refusal of a node that gave no usable response.
fn silent(member: &Member, error: &ResponseError) -> Refused {
    match error.is_about_the_key() {
        true => Refused::NotOurKey(member.id.clone()),
        false => Refused::NoAnswer(member.id.clone()),
    }
}

impl Membership {
    /// Whether a candidate node can join: it answers, takes our key, is new enough, and holds no index that would be
    /// taken for one of ours.
    ///
    /// # Errors
    /// Why it cannot.
    pub(super) async fn preflight(&self, member: &Member) -> Result<(), Refused> {
        self.may_be_a_node(member).await?;
        let node = self.state.unregistered_node(member);
        let silent = |error: ResponseError| silent(member, &error);
        let version = node.version(self.state.read_timeout()).await.map_err(silent)?;
        let found = node.indexes(self.state.read_timeout()).await.map_err(silent)?;
        let indexes =
            self.state.catalog.all().iter().map(|index| (index.physical.clone(), ExpectedIndex::default())).collect();
        let expected = Expected { oldest: OLDEST, newest_task: None, indexes, given_up: BTreeSet::new() };
        let named = found.into_iter().filter_map(|index| Some((index.uid.parse().ok()?, FoundIndex::default())));
        let indexes: BTreeMap<IndexUid, FoundIndex> = named.collect();
        let found = NodeInventory { version, newest_task: None, indexes };
        fit(member, &check(MembershipStatus::Joining, &expected, &found))
    }

    /// Whether nodes may be at the address of a candidate.
    async fn may_be_a_node(&self, member: &Member) -> Result<(), Refused> {
        let policy = &self.state.config.address_policy.nodes;
        if *policy == AddressPolicy::Any {
            return Ok(());
        }
        let elsewhere = || Refused::Elsewhere(member.id.clone());
        let uri: http::Uri = member.address.parse().map_err(|_| elsewhere())?;
        let port = uri.port_u16().unwrap_or(80);
        match allowed(policy, uri.host().unwrap_or_default(), port).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(elsewhere()),
            Err(_) => Err(Refused::NoAnswer(member.id.clone())),
        }
    }
}
