use proptest::prelude::*;

use super::*;

const NODES: &str = r#"
nodes:
  - { id: a, address: "http://127.0.0.1:7701" }
  - { id: b, address: "http://127.0.0.1:7702" }
"#;

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

fn load(yaml: &str, environment: &[(&str, &str)], overrides: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(yaml, pairs(environment).into_iter(), &pairs(overrides))
}

/// The message for `yaml` (beside two nodes), which must be one line.
fn refusal(yaml: &str) -> String {
    refusal_of(&format!("{NODES}{yaml}"), &[], &[])
}

fn refusal_of(yaml: &str, environment: &[(&str, &str)], overrides: &[(&str, &str)]) -> String {
    let message = load(yaml, environment, overrides).expect_err(yaml).to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn nodes_alone_are_enough() {
    let config = load(NODES, &[], &[]).expect("valid");
    assert_eq!(config.shards.get(), 64);
    assert_eq!(config.server.listen, "0.0.0.0:7700".parse().expect("an address"));
    assert_eq!(config.health.interval, Duration::from_secs(5));
    assert_eq!(config.write.node_timeout, Duration::from_secs(10));
    assert_eq!(config.server.max_ingest_bytes.get(), 268_435_456);
    assert_eq!(config.master_key, None);
    assert_eq!(config.nodes.len(), 2);
    assert_eq!(config.shape().members[1].address, "http://127.0.0.1:7702");
    assert!(config.anti_entropy.enabled);
}

#[test]
fn the_printed_defaults_load_as_the_defaults() {
    let yaml = Config::defaults_yaml();
    let nodes =
        &[("nodes", r#"[{id: a, address: "http://127.0.0.1:7701"}, {id: b, address: "http://127.0.0.1:7702"}]"#)];
    assert_eq!(load(&yaml, &[], nodes), load(NODES, &[], &[]), "{yaml}");
    assert!(load(&yaml, &[], nodes).is_ok());
    assert!(refusal_of(&yaml, &[], &[]).starts_with("nodes: is empty"));
}

#[test]
fn every_setting_has_a_meaning() {
    for entry in layers::entries() {
        assert!(entry.about.len() > 10, "{} says nothing", entry.path);
        assert!(!entry.about.contains(['|', '\n']), "{} breaks the table", entry.path);
    }
}

/// Rewrites the tables when `UPDATE_DOCS` is set.
#[test]
fn the_documentation_agrees_with_the_defaults() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let page = std::fs::read_to_string(path).expect("docs/configuration.md is there");
    let (begin, end) = ("<!-- reference: begin -->\n\n", "\n<!-- reference: end -->");
    let (head, rest) = page.split_once(begin).expect("the page marks where the reference begins");
    let (written, tail) = rest.split_once(end).expect("the page marks where the reference ends");
    let wanted = Config::reference_markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, format!("{head}{begin}{wanted}{end}{tail}")).expect("the page can be written");
    } else {
        assert_eq!(written, wanted, "run the tests with UPDATE_DOCS=1 to rewrite docs/configuration.md");
    }
}

#[test]
fn the_environment_overrides_the_file_and_flags_override_both() {
    let yaml = format!("{NODES}\nshards: 8\nhealth: {{ interval_ms: 4000 }}\nlog:\n");
    let environment = &[
        ("MIROIR__SHARDS", "16"),
        ("MIROIR__HEALTH__TIMEOUT_MS", "1000"),
        ("MIROIR__LOG__FORMAT", "text"),
        ("MIROIR_MASTER_KEY", "0123456789"),
        ("MIROIR__MASTER_KEY", "loses"),
        ("MIROIR_ADMIN_API_KEY", "true"),
        ("MIROIR__SERVER__PORT", ""),
        ("MIROIR_URL", "not ours"),
        ("PATH", "/bin"),
    ];
    let config = load(&yaml, environment, &[("shards", "32"), ("write.degraded", "refuse")]).expect("valid");
    assert_eq!(config.shards.get(), 32);
    assert_eq!(config.health.interval, Duration::from_secs(4));
    assert_eq!(config.health.timeout, Duration::from_secs(1));
    assert_eq!(config.log.format, LogFormat::Text);
    assert_eq!(config.master_key, Some(Secret::new("0123456789")), "digits of a key stay text");
    assert_eq!(config.admin.key(), Some(&Secret::new("true")));
    assert_eq!(config.server.listen.port(), 7700, "an empty variable is unset");
    assert_eq!(config.write.degraded, DegradedWrites::Refuse);
    let config = load(NODES, &[("MIROIR__SHARDS", "16")], &[]).expect("valid");
    assert_eq!(config.shards.get(), 16);
}

#[test]
fn unknown_keys_are_named() {
    assert_eq!(refusal("helth: {}"), "helth: there is no such setting; did you mean `health`?");
    assert_eq!(
        refusal("health: { intervall_ms: 1 }"),
        "health.intervall_ms: there is no such setting; did you mean `interval_ms`?"
    );
    assert_eq!(
        refusal_of("nodes: [{ id: a, adress: x }]", &[], &[]),
        "nodes[0].adress: there is no such setting; did you mean `address`?"
    );
    assert_eq!(
        refusal_of(NODES, &[("MIROIR__HEALTH__INTERVAL", "1")], &[]),
        "MIROIR__HEALTH__INTERVAL: there is no such setting; did you mean `health.interval_ms`?"
    );
    assert_eq!(refusal_of(NODES, &[], &[("health", "1")]), "health: is a section; set one of its keys");
    assert!(refusal_of(NODES, &[], &[("nodes.id", "1")]).starts_with("nodes.id: there is no such setting"));
}

#[test]
fn values_of_another_kind_are_refused() {
    for (yaml, message) in [
        ("shards: many", "shards: expected a whole number, found \"many\""),
        ("shards: -1", "shards: expected a whole number, found -1"),
        ("shards: 1.5", "shards: expected a whole number, found 1.5"),
        ("shards:", "shards: expected a whole number, found nothing (give it a value or remove the line)"),
        ("shards: [1]", "shards: expected a whole number, found a list"),
        ("master_key: 12345678901234567", "master_key: expected text; put the value in quotes"),
        ("health: 5", "health: expected a section of keys, found 5"),
        ("scatter: { retry_on_timeout: yes }", "scatter.retry_on_timeout: expected true or false, found \"yes\""),
        ("placement: even", "placement: expected balanced or rendezvous, found \"even\""),
        ("environment: Production", "environment: expected development or production, found \"Production\""),
        ("log: { level: loud }", "log.level: expected error or warn or info or debug or trace, found \"loud\""),
        (
            "replica_selection: { error_weight: heavy }",
            "replica_selection.error_weight: expected a number, found \"heavy\"",
        ),
        ("replica_selection: { error_weight: .nan }", "the configuration is not valid YAML: non-finite float"),
    ] {
        let refused = refusal(yaml);
        assert!(refused.starts_with(message), "{yaml}: {refused}");
    }
    assert_eq!(
        refusal_of(NODES, &[("MIROIR__HEALTH__INTERVAL_MS", "soon")], &[]),
        "health.interval_ms: expected a whole number, found \"soon\""
    );
    assert_eq!(refusal_of("nodes: 3", &[], &[]), "nodes: expected a list, found 3");
}

#[test]
fn impossible_values_are_refused() {
    for (yaml, message) in [
        ("shards: 0", "shards: is 0, must be from 1 to 4096"),
        ("shards: 4097", "shards: is 4097, must be from 1 to 4096"),
        ("replication_factor: 0", "replication_factor: is 0, must be from 1 to 2"),
        (
            "replication_factor: 3",
            "replication_factor: is 3, but replica group 0 has 2 nodes; a node holds a shard once",
        ),
        ("replica_groups: 0", "replica_groups: is 0, must be from 1 to 64"),
        ("replica_groups: 2", "replica_groups: is 2, but no node has replica_group: 1; every group needs a node"),
        (
            "server: { bind: localhost }",
            "server.bind: expected an IP address such as 0.0.0.0 or 127.0.0.1, found \"localhost\"",
        ),
        ("server: { port: 70000 }", "server.port: is 70000, must be from 0 to 65535"),
        ("metrics: { port: 7700 }", "metrics.port: is also server.port; give metrics a port of their own"),
        (
            "server: { max_ingest_bytes: 5 }",
            "server.max_ingest_bytes: is 5, must be at least server.max_body_bytes (100000000)",
        ),
        (
            "server: { max_connections: 595 }",
            "server.max_connections: is 595, must be at least 596: 64 more than server.max_concurrent_requests (500) and admin.max_concurrent_requests (32) together",
        ),
        (
            "server: { max_reply_bytes_in_flight: 5 }",
            "server.max_reply_bytes_in_flight: is 5, must be at least server.max_reply_bytes (268435456)",
        ),
        ("server: { max_head_bytes: 100 }", "server.max_head_bytes: is 100, must be from 8192 to 4294967296"),
        (
            "address_policy: { allowed_networks: [any, localhost] }",
            "address_policy.allowed_networks[1]: must be an address or a network such as 10.0.0.0/8 or fd00::/8, or `any`",
        ),
        ("server: { max_concurrent_requests: 0 }", "server.max_concurrent_requests: is 0, must be from 1 to 1000000"),
        (
            "server: { request_timeout_ms: 1000 }",
            "scatter.node_timeout_ms: is 5000, must be at most a third of server.request_timeout_ms (1000), which is 333",
        ),
        (
            "write: { node_timeout_ms: 10001 }",
            "write.node_timeout_ms: is 10001, must be at most a third of server.request_timeout_ms (30000), which is 10000",
        ),
        (
            "peer_discovery: { heartbeat_interval_s: 0 }",
            "peer_discovery.heartbeat_interval_s: is 0, must be from 1 to 60",
        ),
        ("peer_discovery: { mode: static }", "peer_discovery.addresses: is empty; name at least one instance"),
        (
            "peer_discovery: { mode: static, addresses: [\"10.0.0.1:7700\"] }",
            "peer_discovery.addresses[0]: must be like http://host:port",
        ),
        (
            "peer_discovery: { mode: dns_srv, dns_server: nobody }",
            "peer_discovery.dns_server: must be an address and a port, as 10.0.0.10:53",
        ),
        (
            "peer_discovery: { mode: dns_srv }\nmaster_key: key-of-clients",
            "peer_discovery.mode: is dns_srv, which asks the admin API: it is off while there is a master_key and no admin.api_key: set admin.api_key",
        ),
        ("admin: { port: 7700 }", "admin.port: is also server.port; 0 serves the admin API on the port of clients"),
        ("admin: { port: 9090 }", "admin.port: is also metrics.port; give the admin API a port of its own"),
        ("admin: { port: 70000 }", "admin.port: is 70000, must be from 0 to 65535"),
        (
            "peer_discovery: { mode: dns_srv }\nadmin: { enabled: false }",
            "peer_discovery.mode: is dns_srv, which asks the admin API: set admin.enabled to true",
        ),
        (
            "leader_election: { lease_ttl_s: 5 }",
            "leader_election.renew_interval_s: is 3, must be at most half of leader_election.lease_ttl_s (5)",
        ),
        (
            "leader_election: { lease_ttl_s: 1, renew_interval_s: 1 }",
            "leader_election.lease_ttl_s: is 1, must be from 2 to 3600",
        ),
        (
            "server: { request_timeout_ms: 5000 }\nscatter: { node_timeout_ms: 1000 }\nwrite: { node_timeout_ms: 1000 }",
            "health.timeout_ms: is 2000, must be at most a third of server.request_timeout_ms (5000), which is 1666",
        ),
        ("server: { stop_delay_ms: 86400001 }", "server.stop_delay_ms: is 86400001, must be from 0 to 86400000"),
        ("health: { timeout_ms: 5001 }", "health.timeout_ms: is 5001, must be at most health.interval_ms (5000)"),
        ("health: { interval_ms: 0 }", "health.interval_ms: is 0, must be from 1 to 86400000"),
        (
            "health: { interval_ms: 18446744073709551615 }",
            "health.interval_ms: is 18446744073709551615, must be from 1",
        ),
        (
            "connection_pool_per_node: { max_idle: 200 }",
            "connection_pool_per_node.max_idle: is 200, must be at most connection_pool_per_node.max_total (128)",
        ),
        (
            "replica_selection: { exploration_epsilon: 1.5 }",
            "replica_selection.exploration_epsilon: is 1.5, must be from 0 to 1",
        ),
        ("replica_selection: { latency_weight: -1 }", "replica_selection.latency_weight: is -1, must be from 0"),
        ("facets: { node_multiplier: 0 }", "facets.node_multiplier: is 0, must be from 1 to 1000"),
        ("task_store: { backend: redis }", "task_store.url: is empty; name the server, as in redis://127.0.0.1:6379/0"),
        ("task_store: { backend: redis, url: \"http://:hush@h\" }", "task_store.url: must be like redis://"),
        ("task_store: { backend: redis, url: \"redis:///0\" }", "task_store.url: must be like redis://"),
        ("task_store: { backend: redis, url: \"redis://h/x\" }", "task_store.url: must be like redis://"),
        ("task_store: { url: \"redis://h\" }", "task_store.url: is for task_store.backend redis"),
        ("task_registry: { redis_pool_max: 0 }", "task_registry.redis_pool_max: is 0, must be from 1 to 10000"),
        ("task_store: { path: \"\" }", "task_store.path: is empty; name a file, as in miroir.db"),
        ("task_registry: { retention_s: 0 }", "task_registry.retention_s: is 0, must be from 1"),
        ("master_key: \"two words\"", "master_key: must consist of visible ASCII characters without spaces"),
    ] {
        let refused = refusal(yaml);
        assert!(refused.starts_with(message), "{yaml}: {refused}");
        assert!(!refused.contains("hush"), "{refused}");
    }
}

#[test]
fn a_redis_is_named_by_a_url_that_is_never_shown() {
    let yaml = format!("{NODES}\ntask_store: {{ backend: redis, url: \"rediss://me:hush@h:6380/3\" }}");
    let config = load(&yaml, &[], &[]).expect("valid");
    assert_eq!(config.task_store, TaskStoreConfig::Redis { url: Secret::new("rediss://me:hush@h:6380/3") });
    assert_eq!(config.task_registry.redis_pool_max.get(), 50);
    assert!(!format!("{config:?}").contains("hush"));
    let environment = &[("MIROIR__TASK_STORE__URL", "redis://h"), ("MIROIR__TASK_STORE__BACKEND", "redis")];
    let config = load(NODES, environment, &[]).expect("valid");
    assert_eq!(config.task_store, TaskStoreConfig::Redis { url: Secret::new("redis://h") });
}

#[test]
fn impossible_nodes_are_refused() {
    let node = |id: &str, address: &str, group: u32| {
        format!("{{ id: \"{id}\", address: \"{address}\", replica_group: {group} }}")
    };
    let a = node("a", "http://a:1", 0);
    for (nodes, message) in [
        (String::new(), "nodes: is empty"),
        (format!("{a}, {}", node("a", "http://b:1", 0)), "nodes[1].id: \"a\" is already the id of nodes[0]"),
        (
            format!("{a}, {}", node("b", "http://A:1/", 0)),
            "nodes[1].address: http://a:1 is already the address of node a",
        ),
        (node("", "http://a:1", 0), "nodes[0].id: is empty"),
        (node("a b", "http://a:1", 0), "nodes[0].id: \"a b\" is not"),
        (node("a", "https://a:1", 0), "nodes[0].address: \"https://a:1\": https is not supported"),
        (node("a", "http://a", 0), "nodes[0].address: \"http://a\": must end in a port"),
        (node("a", "http://a:1", 1), "nodes[0].replica_group: is 1, but replica_groups is 1: groups count from 0"),
        ("{ id: a }".into(), "nodes[0].address: \"\": must begin with http://"),
        ("a".into(), "nodes[0]: expected a section of keys"),
    ] {
        let refused = refusal_of(&format!("nodes: [{nodes}]"), &[], &[]);
        assert!(refused.starts_with(message), "{nodes}: {refused}");
    }
}

#[test]
fn a_group_smaller_than_the_replication_factor_is_named() {
    let yaml = r#"
replica_groups: 2
replication_factor: 2
nodes:
  - { id: a, address: "http://a:1", replica_group: 0 }
  - { id: b, address: "http://b:1", replica_group: 0 }
  - { id: c, address: "http://c:1", replica_group: 1 }
"#;
    assert_eq!(
        refusal_of(yaml, &[], &[]),
        "replication_factor: is 2, but replica group 1 has 1 node; a node holds a shard once"
    );
    assert!(load(yaml, &[], &[("replication_factor", "1")]).is_ok());
}

#[test]
fn production_demands_keys() {
    let keys = [
        ("MIROIR_MASTER_KEY", "master-key-of-16+"),
        ("MIROIR_NODE_MASTER_KEY", "node-key-of-16-b"),
        ("MIROIR_ADMIN_API_KEY", "admin-key-16-byt"),
    ];
    let yaml = format!("{NODES}environment: production");
    let config = load(&yaml, &keys, &[]).expect("valid");
    assert_eq!(config.environment, Environment::Production);
    for (missing, (variable, path)) in ENVIRONMENT_KEYS.iter().enumerate() {
        let mut some = keys.to_vec();
        some.remove(missing);
        let refused = refusal_of(&yaml, &some, &[]);
        assert_eq!(refused, format!("{path}: is empty, which environment: production does not allow"));
        some.push((variable, "fifteen-bytes-x"));
        let refused = refusal_of(&yaml, &some, &[]);
        assert_eq!(refused, format!("{path}: has 15 bytes, environment: production demands 16"));
    }
    assert!(load(&yaml, &keys[..2], &[("admin.enabled", "false")]).is_ok(), "no admin API needs no admin key");
}

#[test]
fn the_admin_api_is_open_to_nobody_whom_the_clients_key_does_not_let_in() {
    let access = |keys: &[(&str, &str)]| load(NODES, &[], keys).expect("valid").admin.access;
    assert_eq!(access(&[]), AdminAccess::Everybody);
    assert_eq!(access(&[("master_key", "m")]), AdminAccess::Keyless);
    assert_eq!(access(&[("master_key", "m"), ("admin.api_key", "a")]), AdminAccess::Key(Secret::new("a")));
    assert_eq!(access(&[("admin.api_key", "a")]), AdminAccess::Key(Secret::new("a")));
    assert_eq!(access(&[("admin.api_key", "a"), ("admin.enabled", "false")]), AdminAccess::Disabled);
    let listen =
        |port| load(NODES, &[], &[("admin.port", port), ("server.bind", "127.0.0.1")]).expect("valid").admin.listen;
    assert_eq!(listen("0"), None);
    assert_eq!(listen("7701").map(|listen| listen.to_string()).as_deref(), Some("127.0.0.1:7701"));
}

#[test]
fn broken_yaml_says_where() {
    let message = refusal_of("shards: 4\nnodes: [", &[], &[]);
    assert!(message.starts_with("the configuration is not valid YAML: ") && message.contains("line"), "{message}");
    assert!(refusal_of("shards: 4\nshards: 5\n", &[], &[]).contains("line 2"));
    assert!(refusal_of("just text", &[], &[]).contains("expected keys and values"));
    assert!(refusal_of("- a\n- b", &[], &[]).contains("expected keys and values"));
    for empty in ["", "\n\n", "# nothing\n", "---\n"] {
        assert!(refusal_of(empty, &[], &[]).starts_with("nodes: is empty"), "{empty:?}");
    }
}

#[test]
fn secrets_do_not_leak() {
    let secret = "s3cret-s3cret-s3cret";
    let config =
        load(&format!("{NODES}master_key: {secret}"), &[("MIROIR_ADMIN_API_KEY", secret)], &[]).expect("valid");
    assert!(!format!("{config:?}").contains(secret));
    for bad in [format!("{secret} {secret}"), "8".repeat(15)] {
        for refused in [
            refusal(&format!("environment: production\nmaster_key: {bad}")),
            refusal_of(&format!("{NODES}environment: production"), &[("MIROIR_MASTER_KEY", &bad)], &[]),
        ] {
            assert!(!refused.contains(&bad) && !refused.contains(secret), "{refused}");
        }
    }
}

proptest! {
    #[test]
    fn any_text_loads_or_is_refused_in_one_line(
        yaml in "([a-z_]{1,8}: ?[\\[\\]{}&*!|>\"'%@`a-z0-9 ,:#\n-]{0,20}\n){0,6}",
        name in "MIROIR__[A-Z_]{0,20}",
        text in "\\PC{0,20}",
    ) {
        for result in [
            load(&yaml, &[], &[]),
            load(NODES, &[(&name, &text)], &[]),
            load(NODES, &[], &[("nodes", &text)]),
            load(NODES, &[], &[(&text, &text)]),
        ] {
            if let Err(error) = result {
                prop_assert!(!error.to_string().contains('\n'), "{}", error);
            }
        }
    }
}

#[test]
fn broadcasts_of_settings_are_bounded() {
    let config = load(NODES, &[], &[]).expect("valid");
    let broadcast = &config.settings_broadcast;
    assert_eq!((broadcast.strategy, broadcast.max_repair_retries), (BroadcastStrategy::TwoPhase, 3));
    assert_eq!((broadcast.verify_timeout, broadcast.freeze_writes_on_unrepairable), (Duration::from_secs(60), true));
    assert_eq!(config.settings_drift_check.interval, Duration::from_secs(300));
    assert!(config.settings_drift_check.auto_repair);
    for (yaml, message) in [
        ("settings_broadcast: { strategy: all }", "settings_broadcast.strategy: expected two_phase or sequential"),
        ("settings_broadcast: { verify_timeout_s: 0 }", "settings_broadcast.verify_timeout_s: is 0, must be from 1"),
        (
            "settings_broadcast: { max_repair_retries: 101 }",
            "settings_broadcast.max_repair_retries: is 101, must be from 0 to 100",
        ),
        ("settings_drift_check: { interval_s: 0 }", "settings_drift_check.interval_s: is 0, must be from 1"),
    ] {
        let refusal = refusal(yaml);
        assert!(refusal.starts_with(message), "{refusal}");
    }
}
