//! The configuration file of an orchestrator under test.

use serde_json::{Value, json};

/// What clients of a cluster send.
pub const CLIENT_KEY: &str = "key-between-client-and-orchestrator";

/// What operators of a cluster send.
pub const ADMIN_KEY: &str = "key-between-operator-and-orchestrator";

/// Sets `path` (dotted) in a configuration, making the sections on the way.
pub fn set(config: &mut Value, path: &str, value: Value) {
    let mut place = config;
    for key in path.split('.') {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[key];
    }
    *place = value;
}

/// A configuration with health checks and heartbeats quick enough for tests. JSON, which is YAML too.
pub fn base(port: u16, metrics_port: u16, store: &Value, node_key: &str) -> Value {
    json!({
        "master_key": CLIENT_KEY,
        "node_master_key": node_key,
        "environment": "development",
        "server": { "bind": "127.0.0.1", "port": port },
        "metrics": { "bind": "127.0.0.1", "port": metrics_port },
        "admin": { "api_key": ADMIN_KEY },
        "task_store": store,
        "health": { "interval_ms": 250, "timeout_ms": 250, "unhealthy_threshold": 2, "recovery_threshold": 2 },
        "peer_discovery": { "heartbeat_interval_s": 1 },
    })
}
