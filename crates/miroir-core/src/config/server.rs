//! The endpoint that clients use, what bounds them, and whom they may name.

use std::time::Duration;

use super::error::ConfigError;
use super::file::{AddressPolicyFile, AdminFile, ServerFile};
use super::resolve::{DAY_MS, MAX_BYTES, listen, millis, size, within};
use super::{AddressPolicyConfig, ConnectionLimits, ServerConfig};
use crate::base::address::{AddressPolicy, InvalidNetwork, Network};

/// Connections beyond those whose requests may be at work: there is always one to make room.
const SPARE_CONNECTIONS: u64 = 64;
/// The least that a head is read with.
const MIN_HEAD_BYTES: u64 = 8192;
/// The longest target that HTTP is read with here.
const MAX_URI_BYTES: u64 = 65_534;

pub(super) fn server(file: &ServerFile, admin: &AdminFile) -> Result<ServerConfig, ConfigError> {
    let max_body_bytes = size("server.max_body_bytes", file.max_body_bytes, MAX_BYTES)?;
    let max_ingest_bytes = size("server.max_ingest_bytes", file.max_ingest_bytes, MAX_BYTES * 16)?;
    at_least("server.max_ingest_bytes", file.max_ingest_bytes, "server.max_body_bytes", file.max_body_bytes)?;
    let max_reply_bytes = size("server.max_reply_bytes", file.max_reply_bytes, MAX_BYTES)?;
    let in_flight = "server.max_reply_bytes_in_flight";
    let max_reply_bytes_in_flight = size(in_flight, file.max_reply_bytes_in_flight, MAX_BYTES * 16)?;
    at_least(in_flight, file.max_reply_bytes_in_flight, "server.max_reply_bytes", file.max_reply_bytes)?;
    Ok(ServerConfig {
        listen: listen("server", &file.bind, file.port)?,
        max_body_bytes,
        max_ingest_bytes,
        max_concurrent_requests: size("server.max_concurrent_requests", file.max_concurrent_requests, 1_000_000)?,
        request_timeout: millis("server.request_timeout_ms", file.request_timeout_ms)?,
        stop_delay: Duration::from_millis(within("server.stop_delay_ms", file.stop_delay_ms, 0, DAY_MS)?),
        compress_responses: file.compress_responses,
        body_timeout: millis("server.body_timeout_ms", file.body_timeout_ms)?,
        min_body_bytes_per_s: within("server.min_body_bytes_per_s", file.min_body_bytes_per_s, 0, MAX_BYTES)?,
        max_reply_bytes,
        max_reply_bytes_in_flight,
        connections: connections(file, admin)?,
    })
}

fn connections(file: &ServerFile, admin: &AdminFile) -> Result<ConnectionLimits, ConfigError> {
    let at_work = file.max_concurrent_requests.saturating_add(admin.max_concurrent_requests);
    let least = at_work.saturating_add(SPARE_CONNECTIONS);
    let max_connections = size("server.max_connections", file.max_connections, 10_000_000)?;
    if file.max_connections < least {
        let problem = format!(
            "is {max_connections}, must be at least {least}: {SPARE_CONNECTIONS} more than server.max_concurrent_requests ({}) and admin.max_concurrent_requests ({}) together",
            file.max_concurrent_requests, admin.max_concurrent_requests
        );
        return Err(ConfigError::invalid("server.max_connections", problem));
    }
    within("server.max_head_bytes", file.max_head_bytes, MIN_HEAD_BYTES, MAX_BYTES)?;
    within("server.max_uri_bytes", file.max_uri_bytes, 1, MAX_URI_BYTES)?;
    Ok(ConnectionLimits {
        max_connections,
        head_timeout: millis("server.head_timeout_ms", file.head_timeout_ms)?,
        idle_timeout: millis("server.idle_timeout_ms", file.idle_timeout_ms)?,
        write_timeout: millis("server.write_timeout_ms", file.write_timeout_ms)?,
        max_head_bytes: size("server.max_head_bytes", file.max_head_bytes, MAX_BYTES)?,
        max_head_lines: size("server.max_head_lines", file.max_head_lines, 10_000)?,
        max_uri_bytes: size("server.max_uri_bytes", file.max_uri_bytes, MAX_URI_BYTES)?,
    })
}

pub(super) fn address_policy(file: &AddressPolicyFile) -> Result<AddressPolicyConfig, ConfigError> {
    let is_any = |text: &String| text == "any";
    let networks = |key: &str, texts: &[String]| -> Result<Vec<Network>, ConfigError> {
        let network = |(i, text): (usize, &String)| {
            let path = format!("address_policy.{key}[{i}]");
            text.parse().map_err(|error: InvalidNetwork| ConfigError::invalid(path, error.to_string()))
        };
        texts.iter().enumerate().filter(|(_, text)| !is_any(text)).map(network).collect()
    };
    let allowed = networks("allowed_networks", &file.allowed_networks)?;
    let of_nodes = networks("node_networks", &file.node_networks)?;
    let webhooks = match file.allowed_networks.iter().any(is_any) {
        true => AddressPolicy::Any,
        false => AddressPolicy::PublicAnd(allowed),
    };
    let nodes = match file.node_networks.is_empty() || file.node_networks.iter().any(is_any) {
        true => AddressPolicy::Any,
        false => AddressPolicy::Only(of_nodes),
    };
    Ok(AddressPolicyConfig { webhooks, nodes })
}

/// Refuses what is less than something else.
fn at_least(path: &str, value: u64, other: &str, least: u64) -> Result<(), ConfigError> {
    if value < least {
        return Err(ConfigError::invalid(path, format!("is {value}, must be at least {other} ({least})")));
    }
    Ok(())
}
