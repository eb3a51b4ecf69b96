//! API keys and tenant tokens. What one server answers was taken down from Meilisearch 1.50 and stands in the tables
//! here; with `MEILISEARCH_BIN` the reference is asked as well, and has to agree.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use miroir_tests::{Answer, Client, Cluster, Twin, binaries, jwt};

pub(super) const INVALID: &str = "The provided API key is invalid.";
const DATE: &str = "2100-01-01T00:00:00Z";

/// A server under test: its address and a client with its master key.
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) admin: Client,
}

impl Server {
    /// A client that shows this key or token.
    pub(super) fn with(&self, key: &str) -> Client {
        Client::new(self.admin.base(), key)
    }

    /// A new key; its JSON.
    #[track_caller]
    pub(super) fn key(&self, body: Value) -> Value {
        self.admin.post("/keys", &body).expect(201).body
    }

    /// A client with a new key.
    #[track_caller]
    pub(super) fn keyed(&self, actions: &[&str], indexes: &[&str]) -> Client {
        let key = self.key(json!({ "actions": actions, "indexes": indexes, "expiresAt": null }));
        self.with(text(&key["key"]))
    }

    /// A new searching key, and a client with a token signed by it.
    #[track_caller]
    pub(super) fn token(&self, indexes: &[&str], claims: Value) -> (Value, Client) {
        let key = self.key(json!({ "actions": ["search"], "indexes": indexes, "expiresAt": null }));
        let token = signed(&key, claims);
        (key, self.with(&token))
    }
}

pub(super) fn signed(key: &Value, mut claims: Value) -> String {
    claims["apiKeyUid"] = key["uid"].clone();
    jwt::sign(&claims, text(&key["key"]))
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// The cluster, and the reference when it has keys.
pub(super) fn servers() -> Vec<Server> {
    let twin = Twin::shared();
    let mut servers = vec![Server { name: "cluster", admin: twin.cluster.client() }];
    if binaries::meilisearch().is_some() {
        servers.push(Server { name: "reference", admin: twin.reference.client() });
    }
    servers
}

/// Two indexes of a name, one document each, filterable by `tenant`; only `{name}-b` holds the word `secret`.
pub(super) fn load(server: &Server, name: &str) -> [String; 2] {
    let indexes = ["a", "b"].map(|side| format!("{name}-{side}"));
    for (index, word) in indexes.iter().zip(["plain", "secret"]) {
        let documents: Value = (1..=6)
            .map(|id| json!({ "id": id, "word": word, "tenant": if id % 2 == 0 { "x" } else { "y" } }))
            .collect();
        server.admin.load(index, &documents);
        server.admin.configure(index, &json!({ "filterableAttributes": ["tenant", "word"] }));
    }
    indexes
}

#[track_caller]
pub(super) fn refused(server: &Server, what: &str, answer: &Answer, status: u16, code: &str, message: &str) {
    assert_eq!(answer.verdict(), (status, code.to_owned()), "{}: {what}: {}", server.name, answer.text);
    assert_eq!(answer.body["message"], message, "{}: {what}", server.name);
}

#[test]
fn default_keys_are_there_from_the_first_start() {
    // A server of its own: other tests add keys.
    let mut cluster = Cluster::builder().nodes(1).rf(1).shards(1).start();
    let client = cluster.client();
    let page = client.get("/keys").expect(200).body;
    assert_eq!((&page["offset"], &page["limit"], &page["total"]), (&json!(0), &json!(20), &json!(4)), "{page}");
    let shown: Vec<Value> = page["results"].as_array().into_iter().flatten().cloned().collect();
    let facts: Vec<Value> = shown.iter().map(|key| json!([key["name"], key["actions"], key["indexes"]])).collect();
    let expected = [
        json!(["Default Search API Key", ["search"], ["*"]]),
        json!(["Default Admin API Key", ["*"], ["*"]]),
        json!(["Default Read-Only Admin API Key", ["*.get", "keys.get"], ["*"]]),
        json!(["Default Chat API Key", ["chatCompletions", "search"], ["*"]]),
    ];
    assert_eq!(facts, expected);
    let names: BTreeSet<&String> = shown[0].as_object().into_iter().flat_map(|key| key.keys()).collect();
    let members = ["actions", "createdAt", "description", "expiresAt", "indexes", "key", "name", "uid", "updatedAt"];
    assert!(names.into_iter().eq(members.iter()), "{}", shown[0]);
    let second = client.get("/keys?limit=1&offset=1").expect(200).body;
    assert_eq!(second["results"], json!([shown[1]]));

    // Keys outlive the process, the deleted stay away.
    let search = Client::new(client.base(), text(&shown[0]["key"]));
    let mine =
        client.post("/keys", &json!({ "actions": ["stats.get"], "indexes": ["*"], "expiresAt": DATE })).expect(201);
    assert_eq!(client.delete(&format!("/keys/{}", text(&shown[3]["key"]))).status, 204);
    cluster.kill_proxy();
    cluster.restart_proxy();
    let kept = client.get("/keys").expect(200).body;
    assert_eq!(kept["results"], json!([mine.body, shown[0], shown[1], shown[2]]));
    assert_eq!(Client::new(client.base(), text(&mine.body["key"])).get("/stats").status, 200);
    assert_eq!(search.post("/multi-search-or-not", &json!({})).status, 404);
    assert_eq!(search.get("/stats").verdict(), (403, "invalid_api_key".to_owned()));

    // Nodes have their own keys, which no client's key opens.
    let node = Client::new(&cluster.nodes()[0].address(), text(&shown[1]["key"]));
    assert_ne!(node.get("/indexes").status, 200);
}

#[test]
fn keys_are_created_shown_changed_and_deleted() {
    for server in servers() {
        let admin = &server.admin;
        let uid = "6062abda-a5aa-4414-ac91-ecd7944c0f8d";
        admin.delete(&format!("/keys/{uid}"));
        let body = json!({ "uid": uid, "name": "n", "actions": ["search", "search"], "indexes": ["a", "b*", "a"], "expiresAt": "2100-01-01" });
        let key = server.key(body.clone());
        assert_eq!(
            json!([key["name"], key["description"], key["actions"], key["indexes"], key["expiresAt"]]),
            json!(["n", null, ["search", "search"], ["a", "b*", "a"], DATE])
        );
        assert_eq!(text(&key["key"]).len(), 64);
        let taken = format!("`uid` field value `{uid}` is already an existing API key.");
        refused(&server, "taken", &admin.post("/keys", &body), 409, "api_key_already_exists", &taken);
        assert_eq!(admin.get("/keys").expect(200).body["results"][0], key);
        for path in [uid.to_owned(), uid.to_uppercase().replace('-', ""), text(&key["key"]).to_owned()] {
            assert_eq!(admin.get(&format!("/keys/{path}")).expect(200).body, key);
        }
        let changed =
            admin.patch(&format!("/keys/{uid}"), &json!({ "name": null, "description": "d" })).expect(200).body;
        assert_eq!(json!([changed["name"], changed["description"]]), json!([null, "d"]));
        assert_eq!((&changed["createdAt"], &changed["key"]), (&key["createdAt"], &key["key"]));
        assert_ne!(changed["updatedAt"], key["updatedAt"]);
        let gone = admin.delete(&format!("/keys/{}", text(&key["key"])));
        assert_eq!((gone.status, gone.text.as_str()), (204, ""));
        let missing = format!("API key `{uid}` not found.");
        for answer in [
            admin.get(&format!("/keys/{uid}")),
            admin.patch(&format!("/keys/{uid}"), &json!({})),
            admin.delete(&format!("/keys/{uid}")),
        ] {
            refused(&server, "gone", &answer, 404, "api_key_not_found", &missing);
        }
        refused(&server, "x", &admin.get("/keys/x"), 404, "api_key_not_found", "API key `x` not found.");
    }
}

#[test]
fn bad_requests_for_keys_are_refused_alike() {
    let sound = json!({ "actions": ["search"], "indexes": ["*"], "expiresAt": null });
    let with = |field: &str, value: Value| {
        let mut body = sound.clone();
        body[field] = value;
        body
    };
    let created = [
        (json!({}), "missing_api_key_actions", "Missing field `actions`"),
        (json!({ "actions": [] }), "missing_api_key_indexes", "Missing field `indexes`"),
        (json!({ "actions": [], "indexes": [] }), "missing_api_key_expires_at", "Missing field `expiresAt`"),
        (
            with("actions", json!("*")),
            "invalid_api_key_actions",
            "Invalid value type at `.actions`: expected an array, but found a string: `\"*\"`",
        ),
        (
            with("indexes", json!(["a*b"])),
            "invalid_api_key_indexes",
            "Invalid value at `.indexes[0]`: `a*b` is not a valid index uid pattern. Index uid patterns can be an integer or a string containing only alphanumeric characters, hyphens (-), underscores (_), and optionally end with a star (*).",
        ),
        (
            with("expiresAt", json!("2020-01-01")),
            "invalid_api_key_expires_at",
            "Invalid value at `.expiresAt`: `2020-01-01` is not a valid date. It should follow the RFC 3339 format to represents a date or datetime in the future or specified as a null value. e.g. 'YYYY-MM-DD' or 'YYYY-MM-DD HH:MM:SS'.\n",
        ),
        (
            with("name", json!(1)),
            "invalid_api_key_name",
            "Invalid value type at `.name`: expected a string, but found a positive integer: `1`",
        ),
        (
            with("description", json!(-1.5)),
            "invalid_api_key_description",
            "Invalid value type at `.description`: expected a string, but found a number: `-1.5`",
        ),
        (
            with("uid", json!(null)),
            "invalid_api_key_uid",
            "Invalid value type at `.uid`: expected a string, but found null",
        ),
        (with("uid", json!("x")), "invalid_api_key_uid", "Invalid value at `.uid`: invalid character: found `x` at 0"),
        (
            with("key", json!("x")),
            "bad_request",
            "Unknown field `key`: expected one of `description`, `name`, `uid`, `actions`, `indexes`, `expiresAt`",
        ),
        (json!([]), "bad_request", "Invalid value type: expected an object, but found an array: `[]`"),
        (
            json!({ "actions": ["search", "version"], "indexes": ["a"], "expiresAt": null }),
            "index_scoped_api_key_with_global_action",
            "cannot create index-scoped API key with global action `\"version\"`\n  - Hint: remove action `\"version\"` from the action list, or remove `indexes` to make the key global",
        ),
    ];
    let patched = [
        ("uid", "immutable_api_key_uid", "Immutable field `uid`: expected one of `description`, `name`"),
        (
            "expiresAt",
            "immutable_api_key_expires_at",
            "Immutable field `expiresAt`: expected one of `description`, `name`",
        ),
        ("key", "bad_request", "Unknown field `key`: expected one of `description`, `name`"),
        (
            "name",
            "invalid_api_key_name",
            "Invalid value type at `.name`: expected a string, but found a positive integer: `1`",
        ),
    ];
    for server in servers() {
        let admin = &server.admin;
        for (body, code, message) in &created {
            refused(&server, &body.to_string(), &admin.post("/keys", body), 400, code, message);
        }
        for (field, code, message) in patched {
            refused(&server, field, &admin.patch("/keys/nobody", &json!({ field: 1 })), 400, code, message);
        }
        let json = [("content-type", "application/json")];
        refused(
            &server,
            "",
            &admin.send("POST", "/keys", Some(b""), &json),
            400,
            "missing_payload",
            "A json payload is missing.",
        );
        assert_eq!(admin.send("POST", "/keys", Some(b"{"), &json).verdict(), (400, "malformed_payload".to_owned()));
        assert_eq!(admin.send("POST", "/keys", Some(b"{}"), &[]).status, 415);
        let positive =
            |name: &str| format!("Invalid value in parameter `{name}`: could not parse `x` as a positive integer");
        refused(&server, "limit", &admin.get("/keys?limit=x"), 400, "invalid_api_key_limit", &positive("limit"));
        refused(&server, "offset", &admin.get("/keys?offset=x"), 400, "invalid_api_key_offset", &positive("offset"));
        let unknown = "Unknown parameter `page`: expected one of `offset`, `limit`";
        refused(&server, "page", &admin.get("/keys?page=1"), 400, "bad_request", unknown);
        assert_eq!(admin.put("/keys", &json!({})).status, 405);
    }
}

#[test]
fn what_is_not_a_key_opens_nothing() {
    let missing = "The Authorization header is missing. It must use the bearer authorization method.";
    for server in servers() {
        let nobody = Client::anonymous(server.admin.base());
        for path in ["/indexes", "/keys", "/version", "/indexes/a/search", "/tasks"] {
            refused(&server, path, &nobody.get(path), 401, "missing_authorization_header", missing);
            for header in ["Basic x", "bearer x", "x"] {
                let client = nobody.with_header("authorization", header);
                refused(&server, header, &client.get(path), 401, "missing_authorization_header", missing);
            }
            for key in ["x", "a.b", "00", " "] {
                refused(&server, key, &server.with(key).get(path), 403, "invalid_api_key", INVALID);
            }
        }
        let message = "Could not decode tenant token, Base64 error: Invalid input length: 1.";
        refused(&server, "a.b.c", &server.with("a.b.c").get("/indexes/a/search"), 403, "invalid_api_key", message);
        refused(&server, "a.b.c", &server.with("a.b.c").get("/indexes"), 403, "invalid_api_key", INVALID);
        assert_eq!(nobody.get("/health").status, 200);
        assert_eq!(server.with("x").get("/health").status, 200);
    }
}

#[test]
fn a_key_for_one_index_finds_nothing_in_another() {
    for server in servers() {
        let [a, b] = load(&server, "scoped");
        let client = server.keyed(&["*"], &[&a]);
        let foreign = format!("The API key cannot acces the index `{b}`, authorized indexes are [\"{a}\"].");
        let nothing = json!({});
        let requests = [
            ("GET", "", None),
            ("GET", "/search?q=secret", None),
            ("POST", "/search", Some(&nothing)),
            ("GET", "/documents", None),
            ("GET", "/documents/1", None),
            ("POST", "/documents/fetch", Some(&nothing)),
            ("POST", "/documents", Some(&nothing)),
            ("PUT", "/documents", Some(&nothing)),
            ("POST", "/documents/delete", Some(&nothing)),
            ("POST", "/documents/delete-batch", Some(&nothing)),
            ("DELETE", "/documents", None),
            ("DELETE", "/documents/1", None),
            ("GET", "/stats", None),
            ("GET", "/settings", None),
            ("PATCH", "/settings", Some(&nothing)),
            ("DELETE", "/settings", None),
            ("GET", "/settings/synonyms", None),
            ("PUT", "/settings/synonyms", Some(&nothing)),
            ("PATCH", "/settings/faceting", Some(&nothing)),
            ("DELETE", "/settings/synonyms", None),
            ("PATCH", "", Some(&nothing)),
            ("DELETE", "", None),
        ];
        for (method, path, body) in requests {
            let path = format!("/indexes/{b}{path}");
            let body = body.map(|body| body.to_string().into_bytes());
            let answer = client.send(method, &path, body.as_deref(), &[("content-type", "application/json")]);
            refused(&server, &format!("{method} {path}"), &answer, 403, "invalid_api_key", &foreign);
        }
        let listed = client.get("/indexes?limit=1").expect(200).body;
        assert_eq!((&listed["results"][0]["uid"], &listed["total"]), (&json!(a), &json!(1)), "{listed}");
        let stats = client.get("/stats").expect(200).body;
        assert!(stats["indexes"].as_object().is_some_and(|indexes| indexes.keys().eq([&a])), "{stats}");
        let found = client.search(&a, &json!({ "q": "plain" })).expect(200);
        assert_eq!(found.body["hits"].as_array().map(Vec::len), Some(6), "{}", found.text);
        for path in ["/version", "/keys", "/keys/x"] {
            refused(&server, path, &client.get(path), 403, "invalid_api_key", INVALID);
        }
        refused(&server, "create", &client.post("/indexes", &json!({ "uid": b })), 403, "invalid_api_key", INVALID);
        // The other index is as it was.
        assert_eq!(server.admin.search(&b, &json!({ "q": "secret" })).expect(200).body["estimatedTotalHits"], 6);
    }
}

#[test]
fn tasks_of_other_indexes_are_not_shown_and_still_counted() {
    for server in servers() {
        let [a, b] = load(&server, "tasks");
        let client = server.keyed(&["tasks.get"], &[&a]);
        let seen = |path: &str| {
            let page = client.get(path).expect(200).body;
            let results = page["results"].as_array().into_iter().flatten();
            let uids: BTreeSet<String> = results.map(|task| text(&task["indexUid"]).to_owned()).collect();
            (uids, page["total"].as_u64().unwrap_or(0), page["next"].clone())
        };
        let own = [a.clone()].into();
        assert_eq!(seen(&format!("/tasks?limit=500&indexUids={a},{b}")), (own, 4, Value::Null), "{}", server.name);
        // The page is cut before it is filtered, one longer than asked: the last two tasks are foreign.
        assert_eq!(seen(&format!("/tasks?limit=1&indexUids={a},{b}")), (BTreeSet::new(), 4, Value::Null));
        assert_eq!(seen(&format!("/tasks?limit=1&indexUids={a}")).2.as_u64().map(|_| ()), Some(()));
        assert_eq!(seen(&format!("/tasks?indexUids={b}")), (BTreeSet::new(), 2, Value::Null));
        let all = server.admin.get(&format!("/tasks?indexUids={b}")).expect(200).body;
        let uid = all["results"][0]["uid"].as_u64().unwrap_or_default();
        let hidden = format!("Task `{uid}` not found.");
        refused(&server, "foreign", &client.get(&format!("/tasks/{uid}")), 404, "task_not_found", &hidden);
        let all = server.admin.get(&format!("/tasks?indexUids={a}")).expect(200).body;
        client.get(&format!("/tasks/{}", all["results"][0]["uid"])).expect(200);
    }
}

#[test]
fn an_index_is_created_only_by_who_may_create_it() {
    for server in servers() {
        let writer = server.keyed(&["documents.add", "settings.update", "tasks.get"], &["made*"]);
        let maker = server.keyed(&["documents.add", "settings.update", "tasks.get", "indexes.create"], &["made*"]);
        let task = writer.ended(&writer.add("made-a", &json!([{ "id": 1 }, { "id": 2 }])));
        assert_eq!(task["error"]["code"], "index_not_found", "{task}");
        assert_eq!(task["details"], json!({ "receivedDocuments": 2, "indexedDocuments": 0 }));
        let settings = json!({ "sortableAttributes": ["n"] });
        let task = writer.ended(&writer.patch("/indexes/made-a/settings", &settings));
        assert_eq!((&task["error"]["code"], &task["details"]), (&json!("index_not_found"), &settings), "{task}");
        let task = writer.ended(&writer.put("/indexes/made-a/settings/sortable-attributes", &json!(["n"])));
        assert_eq!(task["error"]["code"], "index_not_found", "{task}");
        assert_eq!(server.admin.get("/indexes/made-a").status, 404, "{}", server.name);
        refused(
            &server,
            "create",
            &writer.post("/indexes", &json!({ "uid": "made-a" })),
            403,
            "invalid_api_key",
            INVALID,
        );
        refused(&server, "other", &maker.post("/indexes", &json!({ "uid": "other" })), 403, "invalid_api_key", INVALID);
        maker.done(&maker.add("made-a", &json!([{ "id": 1 }])));
        writer.done(&writer.add("made-a", &json!([{ "id": 2 }])));
        maker.done(&maker.patch("/indexes/made-b/settings", &settings));
        maker.done(&maker.post("/indexes", &json!({ "uid": "made-c" })));
    }
}

#[test]
fn a_key_opens_what_its_actions_say_and_no_more() {
    for server in servers() {
        let [a, _] = load(&server, "actions");
        let search = server.keyed(&["search"], &["*"]);
        search.search(&a, &json!({})).expect(200);
        let reader = server.keyed(&["*.get"], &["*"]);
        let documents = server.keyed(&["documents.*"], &["*"]);
        for path in ["/indexes", "/stats", "/tasks", "/version", &format!("/indexes/{a}/documents")] {
            refused(&server, path, &search.get(path), 403, "invalid_api_key", INVALID);
            reader.get(path).expect(200);
        }
        reader.search(&a, &json!({})).expect(200);
        refused(&server, "keys", &reader.get("/keys"), 403, "invalid_api_key", INVALID);
        let writing = reader.add(&a, &json!([]));
        refused(&server, "add", &writing, 403, "invalid_api_key", INVALID);
        documents.get(&format!("/indexes/{a}/documents/1")).expect(200);
        documents.add(&a, &json!([])).expect(202);
        refused(&server, "search", &documents.search(&a, &json!({})), 403, "invalid_api_key", INVALID);
        let managing = server.keyed(&["keys.get", "keys.create"], &["*"]);
        managing.get("/keys").expect(200);
        let new = json!({ "actions": [], "indexes": [], "expiresAt": null });
        let made = managing.post("/keys", &new).expect(201);
        let path = format!("/keys/{}", text(&made.body["uid"]));
        refused(&server, "delete", &managing.delete(&path), 403, "invalid_api_key", INVALID);
        // A key without indexes is for none.
        let none = server.keyed(&["*"], &[]);
        refused(&server, "none", &none.get("/indexes"), 403, "invalid_api_key", INVALID);
        let foreign = format!("The API key cannot acces the index `{a}`, authorized indexes are [].");
        refused(&server, "none", &none.search(&a, &json!({})), 403, "invalid_api_key", &foreign);
    }
}

#[test]
fn without_a_master_key_all_is_open_but_keys() {
    let cluster = Cluster::builder().nodes(1).rf(1).shards(1).set("master_key", json!("")).start();
    let nobody = Client::anonymous(&cluster.address());
    for client in [nobody.clone(), nobody.with_header("authorization", "Bearer x")] {
        client.get("/indexes").expect(200);
        client.get("/version").expect(200);
        for (method, path) in [("GET", "/keys"), ("POST", "/keys"), ("GET", "/keys/x"), ("DELETE", "/keys/x")] {
            let answer = client.send(method, path, None, &[]);
            assert_eq!(answer.verdict(), (401, "missing_master_key".to_owned()), "{}", answer.text);
        }
    }
    let basic = nobody.with_header("authorization", "Basic x").get("/indexes");
    assert_eq!(basic.verdict(), (401, "missing_authorization_header".to_owned()));
    let empty = nobody.with_header("authorization", "Bearer").get("/indexes");
    assert_eq!(empty.verdict(), (403, "invalid_api_key".to_owned()));
}
