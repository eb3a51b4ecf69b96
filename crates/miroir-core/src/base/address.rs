//! Which addresses Miroir connects to when somebody else names them.
//!
//! Invariant: an address that is not of the public internet is reached only where the operator has allowed its network.
//! It is the address itself that is judged, after names have been looked up.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// A network: an address, and how many of its bits are the network's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// The text names no network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("must be an address or a network such as 10.0.0.0/8 or fd00::/8, or `any`")]
pub struct InvalidNetwork;

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| InvalidNetwork)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most { Err(InvalidNetwork) } else { Ok(Self { address, bits }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Network {
    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => same(network.to_bits(), address.to_bits(), self.bits, 32),
            (IpAddr::V6(network), IpAddr::V6(address)) => same128(network.to_bits(), address.to_bits(), self.bits),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

fn same(a: u32, b: u32, bits: u8, width: u8) -> bool {
    (a ^ b).checked_shr(u32::from(width - bits.min(width))).unwrap_or(0) == 0
}

fn same128(a: u128, b: u128, bits: u8) -> bool {
    (a ^ b).checked_shr(u32::from(128 - bits.min(128))).unwrap_or(0) == 0
}

/// What is no part of the public internet, by the registries of special addresses.
const NOT_PUBLIC_V4: &[(Ipv4Addr, u8)] = &[
    // this network, private ones, those shared by carriers
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    // this machine, this link
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    // protocols, documentation, benchmarks
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    // groups, what is reserved, everybody
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

const NOT_PUBLIC_V6: &[(Ipv6Addr, u8)] = &[
    // nobody, this machine, translated and discarded
    (Ipv6Addr::UNSPECIFIED, 128),
    (Ipv6Addr::LOCALHOST, 128),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64),
    // protocols, documentation, tunnels, segments
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16),
    // unique local, link local, site local, groups
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
];

/// The network whose addresses hold one of the fourth version, to which they are translated.
const TRANSLATED: Network = Network { address: IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0)), bits: 96 };

/// Whether an address is one of the public internet. One that holds another is as that one.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            !NOT_PUBLIC_V4.iter().any(|(network, bits)| same(network.to_bits(), address.to_bits(), *bits, 32))
        }
        IpAddr::V6(address) if TRANSLATED.contains(IpAddr::V6(address)) => {
            let [.., a, b, c, d] = address.octets();
            is_public(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        // What is left of the addresses that hold one of the fourth version has no use of its own.
        IpAddr::V6(address) if address.to_ipv4().is_some() => false,
        IpAddr::V6(address) => {
            !NOT_PUBLIC_V6.iter().any(|(network, bits)| same128(network.to_bits(), address.to_bits(), *bits))
        }
    }
}

/// Which addresses may be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressPolicy {
    /// Every one.
    Any,
    /// Those of the public internet, and those of these networks.
    PublicAnd(Vec<Network>),
    /// Those of these networks alone.
    Only(Vec<Network>),
}

impl AddressPolicy {
    /// Whether this address may be connected to.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let listed = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        match self {
            Self::Any => true,
            Self::PublicAnd(networks) => is_public(address) || listed(networks),
            Self::Only(networks) => listed(networks),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn what_is_not_of_the_public_internet_is_known() {
        for text in [
            "0.0.0.0",
            "10.0.0.2",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(address(text)), "{text}");
        }
        for text in [
            "1.1.1.1",
            "100.128.0.1",
            "172.32.0.1",
            "192.1.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2606:4700::1111",
            "2a00:1450:4001::1",
        ] {
            assert!(is_public(address(text)), "{text}");
        }
    }

    #[test]
    fn networks_are_allowed_beside_the_public_internet_or_alone() {
        let networks: Vec<Network> =
            ["10.1.0.0/16", "192.168.0.7", "fd00::/8"].map(|text| text.parse().expect("a network")).into();
        let beside = AddressPolicy::PublicAnd(networks.clone());
        let alone = AddressPolicy::Only(networks);
        for (text, expected) in [
            ("10.1.255.1", (true, true)),
            ("::ffff:10.1.0.1", (true, true)),
            ("10.2.0.1", (false, false)),
            ("192.168.0.7", (true, true)),
            ("192.168.0.8", (false, false)),
            ("fd12::1", (true, true)),
            ("127.0.0.1", (false, false)),
            ("8.8.8.8", (true, false)),
        ] {
            assert_eq!((beside.allows(address(text)), alone.allows(address(text))), expected, "{text}");
        }
        assert!(AddressPolicy::Any.allows(address("127.0.0.1")));
        let all: Network = "0.0.0.0/0".parse().expect("a network");
        assert!(all.contains(address("255.1.2.3")) && !all.contains(address("::1")));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "localhost", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0/8", "/8", "10.0.0.0/8/8"] {
            assert_eq!(text.parse::<Network>(), Err(InvalidNetwork), "{text}");
        }
        assert_eq!("10.0.0.0/8".parse::<Network>().map(|network| network.to_string()), Ok("10.0.0.0/8".to_owned()));
    }
}
