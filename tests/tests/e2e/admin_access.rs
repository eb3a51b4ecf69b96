//! Who may use the admin API and read the metrics, and on which port.

use serde_json::json;

use miroir_tests::config::{ADMIN_KEY, CLIENT_KEY};
use miroir_tests::{Client, Cluster, ctl, ports};

fn key_with(client: &Client, action: &str) -> String {
    let key = client.post("/keys", &json!({ "actions": [action], "indexes": ["*"], "expiresAt": null })).expect(201);
    key.body["key"].as_str().unwrap_or_default().to_owned()
}

/// What the paths of operators answer with this key.
fn seen(base: &str, key: &str) -> [u16; 3] {
    let client = if key.is_empty() { Client::anonymous(base) } else { Client::new(base, key) };
    ["/_miroir/ready", "/_miroir/topology", "/_miroir/metrics"].map(|path| client.get(path).status)
}

#[test]
fn a_clients_key_without_one_for_operators_turns_the_admin_api_off() {
    let cluster = Cluster::builder().set("admin.api_key", json!("")).start();
    let (base, client) = (cluster.address(), cluster.client());
    assert_eq!(seen(&base, ""), [200, 404, 401]);
    assert_eq!(seen(&base, CLIENT_KEY), [200, 404, 200]);
    assert_eq!(seen(&base, ADMIN_KEY), [200, 404, 401]);
    assert_eq!(seen(&base, &key_with(&client, "metrics.get")), [200, 404, 200]);
    assert_eq!(seen(&base, &key_with(&client, "search")), [200, 404, 401]);
    let added = client.post("/_miroir/nodes", &json!({ "id": "mine", "address": "http://127.0.0.1:1" }));
    assert_eq!((added.status, added.text.as_str()), (404, ""));
    let printed = ctl::run(&base, ADMIN_KEY, &["status"]);
    assert!(printed.code == Some(1) && printed.err.contains("admin.api_key"), "{printed:?}");
    let log = cluster.proxy_log();
    assert!(log.contains("the admin API is off") && log.contains("admin.api_key"), "{log}");
}

#[test]
fn metrics_take_the_admin_key_or_a_clients_that_may_read_them() {
    let cluster = Cluster::builder().start();
    let (base, client) = (cluster.address(), cluster.client());
    assert_eq!(seen(&base, ""), [200, 401, 401]);
    assert_eq!(seen(&base, ADMIN_KEY), [200, 200, 200]);
    assert_eq!(seen(&base, CLIENT_KEY), [200, 401, 200]);
    assert_eq!(seen(&base, &key_with(&client, "metrics.get")), [200, 401, 200]);
    assert_eq!(seen(&base, &key_with(&client, "documents.get")), [200, 401, 401]);
    assert_eq!(cluster.metrics().get("/metrics").status, 200, "the metrics port is open");
}

#[test]
fn without_any_key_everybody_may_do_everything() {
    let cluster = Cluster::builder().set("admin.api_key", json!("")).set("master_key", json!("")).start();
    assert_eq!(seen(&cluster.address(), ""), [200, 200, 200]);
    assert!(cluster.proxy_log().contains("there is no key"), "{}", cluster.proxy_log());
}

#[test]
fn the_admin_api_may_have_a_port_of_its_own() {
    let port = ports::free();
    let cluster = Cluster::builder().set("admin.port", json!(port)).start();
    let own = format!("http://127.0.0.1:{port}");
    assert_eq!(seen(&cluster.address(), ADMIN_KEY), [200, 404, 404]);
    assert_eq!(seen(&own, ADMIN_KEY), [200, 200, 200]);
    assert_eq!(seen(&own, ""), [200, 401, 401]);
    for path in ["/health", "/indexes", "/"] {
        assert_eq!(Client::new(&own, CLIENT_KEY).get(path).status, 404, "{path} is for clients");
    }
    assert_eq!(cluster.metrics().get("/metrics").status, 200);
}
