//! The small values that settings are made of.

use std::fmt;
use std::net::Ipv6Addr;
use std::num::NonZeroU16;
use std::str::FromStr;

use thiserror::Error;

/// A key that must not appear in logs: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret from its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for comparing and sending.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Where a node listens: `http://host:port`, nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeUrl {
    /// A lower-case name, an IPv4 address, or an IPv6 address in brackets.
    host: String,
    port: NonZeroU16,
}

impl NodeUrl {
    /// The host as it stands in a URL (IPv6 in brackets).
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port.get()
    }

    /// `host:port`, as a `Host` header and a resolver take it.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

/// The text is not a node's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NodeUrlError {
    /// `https://...`
    #[error("https is not supported between Miroir and its nodes; use http://host:port on a private network")]
    Https,
    /// Neither `http://` nor `https://`.
    #[error("must begin with http://, as in http://10.0.0.5:7700")]
    Scheme,
    /// No port, or not a number from 1 to 65535.
    #[error("must end in a port from 1 to 65535, as in http://10.0.0.5:7700")]
    Port,
    /// The host is missing or has characters that no host has.
    #[error("must name a host, as in http://meili-0.internal:7700 or http://[::1]:7700")]
    Host,
    /// Something follows the port.
    #[error("must be http://host:port without a path, a query or a user")]
    Extra,
}

impl FromStr for NodeUrl {
    type Err = NodeUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        if lower.starts_with("https://") {
            return Err(NodeUrlError::Https);
        }
        let rest = lower.strip_prefix("http://").ok_or(NodeUrlError::Scheme)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return Err(NodeUrlError::Extra);
        }
        // An IPv6 address without its port also contains colons: the port is what follows the bracket.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            Some(_) | None => return Err(NodeUrlError::Port),
        };
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NodeUrlError::Port);
        }
        let port = port.parse().map_err(|_| NodeUrlError::Port)?;
        if is_host(host) { Ok(Self { host: host.into(), port }) } else { Err(NodeUrlError::Host) }
    }
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            (1..=253).contains(&host.len())
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        }
    }
}

/// Defines an enum whose variants are words in the configuration.
macro_rules! choices {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant),* }

        impl $name {
            /// Every variant.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// As it is written in the configuration.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }
    };
}

choices! {
    /// How strict the start is about keys.
    Environment {
        /// Keys may be missing.
        Development = "development",
        /// Missing and short keys stop the start.
        Production = "production",
    }
}

choices! {
    /// What a read answers when no replica of a shard can be asked.
    UnavailableShardPolicy {
        /// 200 without the shard, and `X-Miroir-Degraded` says so.
        Partial = "partial",
        /// 503 `miroir_shard_unavailable`.
        Error = "error",
    }
}

choices! {
    /// Whether a write that some group does not hold by quorum is accepted.
    DegradedWrites {
        /// 202 with `X-Miroir-Degraded`.
        Accept = "accept",
        /// 503 `miroir_no_quorum`, unless one group holds every shard.
        Refuse = "refuse",
    }
}

choices! {
    /// How one of several fresh replicas is chosen for a read.
    SelectionStrategy {
        /// By latency, load and errors; equal queries go to equal replicas.
        Adaptive = "adaptive",
        /// Each in turn.
        RoundRobin = "round_robin",
        /// Any.
        Random = "random",
    }
}

choices! {
    /// How a change of settings is brought to all nodes.
    BroadcastStrategy {
        /// Proposed to all nodes at once, verified, committed.
        TwoPhase = "two_phase",
        /// One node after the other, each verified.
        Sequential = "sequential",
    }
}

choices! {
    /// Where the shared state lives.
    StoreBackend {
        /// A file beside the one instance.
        Sqlite = "sqlite",
        /// A server that several instances share.
        Redis = "redis",
    }
}

choices! {
    /// How instances find each other.
    PeerMode {
        /// By what each writes into the shared store.
        Store = "store",
        /// By the SRV records of a name, as of a headless service.
        DnsSrv = "dns_srv",
        /// By a list of addresses.
        Static = "static",
    }
}

choices! {
    /// The least severe message that is logged.
    LogLevel {
        /// What needs a person.
        Error = "error",
        /// What may need one.
        Warn = "warn",
        /// What happened.
        Info = "info",
        /// Why it happened.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

choices! {
    /// How log lines look.
    LogFormat {
        /// One JSON object a line.
        Json = "json",
        /// For reading in a terminal.
        Text = "text",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn node_urls_are_host_and_port() {
        for (text, shown) in [
            ("http://127.0.0.1:7701", "http://127.0.0.1:7701"),
            ("HTTP://Meili-0.Internal:7700/", "http://meili-0.internal:7700"),
            ("http://[::1]:7700", "http://[::1]:7700"),
        ] {
            assert_eq!(text.parse::<NodeUrl>().map(|url| url.to_string()), Ok(shown.into()), "{text}");
        }
        assert_eq!("http://h:7700".parse::<NodeUrl>().map(|url| url.authority()), Ok("h:7700".into()));
    }

    #[test]
    fn other_addresses_are_refused_by_reason() {
        for (text, reason) in [
            ("https://meili:7700", NodeUrlError::Https),
            ("meili:7700", NodeUrlError::Scheme),
            ("", NodeUrlError::Scheme),
            ("http://meili", NodeUrlError::Port),
            ("http://meili:", NodeUrlError::Port),
            ("http://meili:0", NodeUrlError::Port),
            ("http://meili:65536", NodeUrlError::Port),
            ("http://meili:+1", NodeUrlError::Port),
            ("http://[::1]", NodeUrlError::Port),
            ("http://:7700", NodeUrlError::Host),
            ("http://a b:7700", NodeUrlError::Host),
            ("http://::1:7700", NodeUrlError::Host),
            ("http://[::z]:7700", NodeUrlError::Host),
            ("http://meili:7700/x", NodeUrlError::Extra),
            ("http://meili:7700?x", NodeUrlError::Extra),
            ("http://me@meili:7700", NodeUrlError::Extra),
        ] {
            assert_eq!(text.parse::<NodeUrl>(), Err(reason), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "(http://)?[\\[\\]a-f0-9:./@?é ]{0,20}") {
            if let Ok(url) = text.parse::<NodeUrl>() {
                prop_assert_eq!(url.to_string().parse::<NodeUrl>(), Ok(url));
            }
        }
    }

    #[test]
    fn secrets_do_not_show() {
        assert!(!format!("{:?}", Secret::new("hush")).contains("hush"));
    }
}
