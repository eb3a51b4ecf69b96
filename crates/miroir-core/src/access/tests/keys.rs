use proptest::prelude::*;

use super::super::{Action, IndexPattern, KeyValue, patch_key};
use super::*;
use crate::base::error::ErrorBody;

fn refused(body: Value) -> (String, String) {
    let ErrorBody { code, message, .. } = read_key(&body, now(), uid(1)).expect_err("a refusal");
    (code, message)
}

#[test]
fn the_value_follows_from_the_master_key_and_the_uid() {
    // As one server with this master key answers for this uid.
    let uid = "74c9c733-3368-4738-bbe5-1d18a5fecb37".parse().expect("a uid");
    let value = KeyValue::derive("masterKeymasterKey1", uid);
    assert_eq!(value.to_string(), "134720c2a8c040d68e4d6b2f4f6153f2ceb163d4d3b1a9f91c27d28e6362c711");
    assert_eq!(KeyValue::parse(&value.to_string().to_uppercase()), Some(value.clone()));
    assert_eq!(format!("{value:?}"), "KeyValue(redacted)");
}

#[test]
fn what_is_missing_is_named_in_order_and_after_what_is_wrong() {
    let missing = |field: &str| format!("Missing field `{field}`");
    assert_eq!(refused(json!({})), ("missing_api_key_actions".into(), missing("actions")));
    assert_eq!(refused(json!({ "actions": [] })), ("missing_api_key_indexes".into(), missing("indexes")));
    let without_end = json!({ "actions": [], "indexes": [] });
    assert_eq!(refused(without_end), ("missing_api_key_expires_at".into(), missing("expiresAt")));
    assert_eq!(refused(json!({ "nam": 1 })).0, "bad_request");
    let both = json!({ "name": 1, "uid": 2 });
    let message = "Invalid value type at `.name`: expected a string, but found a positive integer: `1`";
    assert_eq!(refused(both), ("invalid_api_key_name".into(), message.into()));
}

#[test]
fn members_of_wrong_types_and_values_are_refused_as_one_server_does() {
    let with = |field: &str, value: Value| {
        let mut body = json!({ "actions": ["*"], "indexes": ["*"], "expiresAt": null });
        body[field] = value;
        refused(body)
    };
    let cases = [
        ("actions", json!("*"), "Invalid value type at `.actions`: expected an array, but found a string: `\"*\"`"),
        (
            "indexes",
            json!([1]),
            "Invalid value type at `.indexes[0]`: expected a string, but found a positive integer: `1`",
        ),
        (
            "indexes",
            json!(["a b"]),
            "Invalid value at `.indexes[0]`: `a b` is not a valid index uid pattern. Index uid patterns can be an integer or a string containing only alphanumeric characters, hyphens (-), underscores (_), and optionally end with a star (*).",
        ),
        (
            "expiresAt",
            json!(12),
            "Invalid value type at `.expiresAt`: expected a string, but found a positive integer: `12`",
        ),
        (
            "expiresAt",
            json!("2020-01-01"),
            "Invalid value at `.expiresAt`: `2020-01-01` is not a valid date. It should follow the RFC 3339 format to represents a date or datetime in the future or specified as a null value. e.g. 'YYYY-MM-DD' or 'YYYY-MM-DD HH:MM:SS'.\n",
        ),
        ("uid", json!(null), "Invalid value type at `.uid`: expected a string, but found null"),
        ("description", json!([]), "Invalid value type at `.description`: expected a string, but found an array: `[]`"),
    ];
    for (field, value, message) in cases {
        let snake = if field == "expiresAt" { "expires_at" } else { field };
        assert_eq!(with(field, value), (format!("invalid_api_key_{snake}"), message.into()));
    }
    assert_eq!(with("uid", json!("x")).0, "invalid_api_key_uid");
    let (code, message) = with("actions", json!(["document.add"]));
    assert_eq!(code, "invalid_api_key_actions");
    let begins = "Unknown value `document.add` at `.actions[0]`: did you mean `documents.add`? expected one of `*`, `search`, `documents.*`,";
    assert!(message.starts_with(begins), "{message}");
    let (code, message) = refused(json!([]));
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("bad_request", "Invalid value type: expected an object, but found an array: `[]`")
    );
    let unknown =
        "Unknown field `foo`: expected one of `description`, `name`, `uid`, `actions`, `indexes`, `expiresAt`";
    assert_eq!(with("foo", json!(1)), ("bad_request".into(), unknown.into()));
}

#[test]
fn dates_are_taken_in_four_forms() {
    for (text, read) in [
        ("2100-01-01T00:00:00+02:00", "2100-01-01T00:00:00+02:00"),
        ("2100-01-01T10:00:00", "2100-01-01T10:00:00Z"),
        ("2100-01-01 10:00:00", "2100-01-01T10:00:00Z"),
        ("2100-01-01", "2100-01-01T00:00:00Z"),
    ] {
        let body = json!({ "actions": [], "indexes": [], "expiresAt": text });
        let key = read_key(&body, now(), uid(1)).expect("a key");
        let view: Value = serde_json::from_str(&key.view(&KeyValue::derive(MASTER, key.uid))).expect("JSON");
        assert_eq!(view["expiresAt"], read);
    }
}

#[test]
fn a_key_for_some_indexes_has_no_say_over_the_server() {
    for action in Action::ALL {
        let body = json!({ "actions": [action], "indexes": ["a*"], "expiresAt": null });
        let refusal = read_key(&body, now(), uid(1)).err().map(|error| error.code);
        let expected = action.is_global().then(|| "index_scoped_api_key_with_global_action".to_owned());
        assert_eq!(refusal, expected, "{action}");
        for indexes in [json!([]), json!(["a", "*"])] {
            let body = json!({ "actions": [action], "indexes": indexes, "expiresAt": null });
            read_key(&body, now(), uid(1)).expect("not for some indexes only");
        }
    }
    let global: Vec<&str> = Action::ALL.iter().filter(|a| a.is_global()).map(|a| a.name()).collect();
    assert_eq!(global.len(), 33, "{global:?}");
}

#[test]
fn only_name_and_description_change() {
    let key = Key { name: Some("n".into()), ..key(1, json!(["search"]), json!(["*"])) };
    let later = now() + Duration::HOUR;
    let unchanged = patch_key(&key, &json!({}), later).expect("nothing to change");
    assert_eq!(unchanged, Key { updated_at: later, ..key.clone() });
    let renamed = patch_key(&key, &json!({ "name": null, "description": "d" }), later).expect("changed");
    assert_eq!((renamed.name, renamed.description.as_deref()), (None, Some("d")));
    for (field, code) in [
        ("uid", "immutable_api_key_uid"),
        ("actions", "immutable_api_key_actions"),
        ("indexes", "immutable_api_key_indexes"),
        ("expiresAt", "immutable_api_key_expires_at"),
        ("createdAt", "immutable_api_key_created_at"),
        ("updatedAt", "immutable_api_key_updated_at"),
        ("key", "bad_request"),
    ] {
        assert_eq!(patch_key(&key, &json!({ field: 1 }), later).expect_err(field).code, code);
    }
    let refusal = patch_key(&key, &json!({ "key": 1 }), later).expect_err("unknown");
    assert_eq!(refusal.message, "Unknown field `key`: expected one of `description`, `name`");
}

#[test]
fn a_stored_key_is_read_back() {
    for key in Key::defaults(now(), [1, 2, 3, 4].map(uid)) {
        let text = serde_json::to_string(&key).expect("JSON");
        assert!(!text.contains(&value_of(key.uid.as_u128())), "the value is not stored");
        assert_eq!(serde_json::from_str::<Key>(&text).expect("a key"), key);
    }
}

#[test]
fn default_keys_are_listed_latest_first() {
    let registry = registry(Key::defaults(now(), [1, 2, 3, 4].map(uid)));
    let names: Vec<&str> = registry.listed().iter().filter_map(|key| key.name.as_deref()).collect();
    let expected =
        ["Default Search API Key", "Default Admin API Key", "Default Read-Only Admin API Key", "Default Chat API Key"];
    assert_eq!(names, expected);
}

#[test]
fn a_ring_finds_keys_by_value_until_they_go() {
    let mut registry = registry([key(1, json!(["search"]), json!(["*"])), key(2, json!([]), json!([]))]);
    assert_eq!(registry.uid_of(&value_of(1)), Some(uid(1)));
    assert_eq!(registry.uid_of(&value_of(1).to_uppercase()), Some(uid(1)));
    assert_eq!(registry.uid_of(&value_of(3)), None);
    assert_eq!(registry.uid_of("x"), None);
    registry.remove(uid(1));
    assert_eq!((registry.uid_of(&value_of(1)), registry.len()), (None, 1));
    assert!(registry.is_master_key(MASTER) && !registry.is_master_key("") && !KeyRegistry::default().is_master_key(""));
}

proptest! {
    #[test]
    fn a_pattern_matches_what_begins_like_it(prefix in "[a-c_-]{0,4}", index in "[a-c_-]{1,6}", open: bool) {
        let text = if open { format!("{prefix}*") } else { prefix.clone() };
        match text.parse::<IndexPattern>() {
            Ok(pattern) => {
                let expected = if open { index.starts_with(&prefix) } else { index == prefix };
                prop_assert_eq!(pattern.matches(&index), expected);
                prop_assert_eq!(pattern.is_all(), text == "*");
            }
            Err(_) => prop_assert!(text.is_empty()),
        }
    }

    #[test]
    fn reading_a_key_never_panics_and_keeps_what_it_takes(
        actions in prop::collection::vec(prop::sample::select(Action::NAMES), 0..5),
        name in prop::option::of(".*"),
        junk in ".*",
    ) {
        let body = json!({ "name": name, "actions": actions, "indexes": ["*"], "expiresAt": null });
        let key = read_key(&body, now(), uid(1)).expect("a key");
        prop_assert_eq!(key.actions.iter().map(|a| a.name()).collect::<Vec<_>>(), actions);
        prop_assert_eq!(key.name, name);
        for field in ["name", "uid", "actions", "indexes", "expiresAt", &junk] {
            let mut body = body.clone();
            body[field] = json!([junk]);
            let _ = read_key(&body, now(), uid(1));
            let _ = patch_key(&Key::defaults(now(), [1, 2, 3, 4].map(uid))[0], &body, now());
        }
    }
}
