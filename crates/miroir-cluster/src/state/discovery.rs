//! Finding the instances that share the store, where DNS or a list says where they are: each address is asked who it is.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use miroir_core::config::{PeerDiscovery, PeerDiscoveryConfig};
use miroir_node::{Call, NodeClient};
use tokio::time::Instant;

use crate::state::peers::Peer;

/// For an instance to say who it is.
const PATIENCE: Duration = Duration::from_secs(2);
/// Instances beyond this are not asked.
const MAX_ADDRESSES: usize = 256;

/// Where to look, and what was found there lately.
pub struct Discovery {
    whereabouts: Whereabouts,
    addresses: Vec<String>,
    looked: Option<Instant>,
    last_contact: BTreeMap<String, (Instant, Peer)>,
    /// Who has not answered for so long is gone.
    gone: Duration,
}

enum Whereabouts {
    List,
    Dns { service: String, resolver: Box<TokioResolver>, refresh: Duration },
}

impl Discovery {
    /// None: the store says who lives.
    ///
    /// # Errors
    /// When the system does not say whom to ask for names.
    pub fn new(config: &PeerDiscoveryConfig) -> Result<Option<Self>, NetError> {
        let (whereabouts, addresses) = match &config.mode {
            PeerDiscovery::Store => return Ok(None),
            PeerDiscovery::Static { addresses } => (Whereabouts::List, addresses.clone()),
            PeerDiscovery::DnsSrv { service, server, refresh } => {
                let resolver = Box::new(resolver(*server)?);
                (Whereabouts::Dns { service: service.clone(), resolver, refresh: *refresh }, Vec::new())
            }
        };
        Ok(Some(Self {
            whereabouts,
            addresses,
            looked: None,
            last_contact: BTreeMap::new(),
            gone: config.evicted_after(),
        }))
    }

    /// Ask every address which instance it is. An instance whose last answer is recent counts, although it does not
    /// answer now.
    pub async fn ask(&mut self, client: &NodeClient) -> BTreeMap<String, Peer> {
        self.look().await;
        let now = Instant::now();
        let answers = join_all(self.addresses.iter().map(|address| who_is(client, address))).await;
        self.last_contact.extend(answers.into_iter().flatten().map(|(id, peer)| (id, (now, peer))));
        self.last_contact.retain(|_, (last_contact, _)| last_contact.elapsed() < self.gone);
        self.last_contact.iter().map(|(id, (_, peer))| (id.clone(), peer.clone())).collect()
    }

    /// What cannot be looked up is where it was.
    async fn look(&mut self) {
        let Whereabouts::Dns { service, resolver, refresh } = &self.whereabouts else { return };
        if self.looked.is_some_and(|looked| looked.elapsed() < *refresh) {
            return;
        }
        match resolver.srv_lookup(service.as_str()).await {
            Ok(found) => {
                let addresses = found.answers().iter().filter_map(|record| {
                    let RData::SRV(srv) = &record.data else { return None };
                    let host = srv.target.to_utf8();
                    Some(format!("http://{}:{}", host.trim_end_matches('.'), srv.port))
                });
                self.addresses = addresses.take(MAX_ADDRESSES).collect();
                self.looked = Some(Instant::now());
            }
            Err(error) => tracing::warn!(%error, service, "the instances cannot be looked up"),
        }
    }
}

fn resolver(server: Option<SocketAddr>) -> Result<TokioResolver, NetError> {
    let Some(server) = server else { return TokioResolver::builder_tokio()?.build() };
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.port();
    }
    let server = NameServerConfig::new(server.ip(), true, connections);
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build()
}

async fn who_is(client: &NodeClient, address: &str) -> Option<(String, Peer)> {
    let reply = match client.call(address, Call::get("peers", "/_miroir/peers", PATIENCE)).await {
        Ok(reply) if reply.status == 200 => reply,
        Ok(reply) => {
            tracing::warn!(address, status = reply.status, "an instance does not say who it is");
            return None;
        }
        Err(error) => {
            tracing::debug!(address, %error, "an instance cannot be asked who it is");
            return None;
        }
    };
    let answer: miroir_api::Peers = serde_json::from_slice(&reply.body).ok()?;
    let own = answer.peers.into_iter().find(|peer| peer.own)?;
    Peer::read(&own).map(|peer| (own.id, peer))
}
