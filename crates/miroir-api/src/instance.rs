//! The instances of Miroir: what one says of itself, and of the others.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// What `GET /_miroir/ready` is asked for.
#[derive(Clone, Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReadinessQuery {
    /// `true`: not only of the instance, but also whether every shard of every index can be answered for. Any other value
    /// is as none.
    #[param(example = "true")]
    pub cluster: Option<String>,
}

/// Answer to `GET /_miroir/ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Whether traffic may be sent.
    pub ready: bool,
    /// Why it is not ready, for people; not there when it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// Answer to `GET /_miroir/version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// The release of the instance that answers.
    #[schema(example = "0.1.0")]
    pub version: String,
    /// The commit that it was built from; null where the build was not told.
    #[schema(required = true)]
    pub commit: Option<String>,
}

/// Answer to `GET /_miroir/peers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Peers {
    /// The instances that are alive, the one that answers first.
    pub peers: Vec<Peer>,
}

/// An instance of Miroir, as it says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Peer {
    /// Tells it from the others; a new one with each start.
    pub id: String,
    /// Whether it is the one that answers.
    #[serde(rename = "self")]
    pub own: bool,
    /// Where it listens.
    pub address: String,
    /// The version of the topology that it acts on, with nothing under way that it began on an older one.
    pub epoch: u64,
    /// Its release.
    pub version: String,
    /// When it started.
    #[schema(format = DateTime)]
    pub since: String,
}
