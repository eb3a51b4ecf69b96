use std::collections::BTreeSet;

use super::super::rights::{Access, Indexes, RIGHTS};
use super::super::{Action, bearer};
use super::*;

const DENIED: Refusal = Refusal::InvalidKey;

fn rows() -> impl Iterator<Item = (&'static str, &'static str, &'static Access)> {
    RIGHTS.iter().flat_map(|resource| resource.methods.iter().map(|(m, access)| (*m, resource.path, access)))
}

#[test]
fn a_path_has_one_row_and_a_method_one_access() {
    let rows: Vec<_> = rows().map(|(method, path, _)| (method, path)).collect();
    let unique: BTreeSet<_> = rows.iter().collect();
    assert_eq!(unique.len(), rows.len());
    let open: Vec<&str> =
        super::rights::rows().filter(|(_, _, access)| **access == Access::Open).map(|(_, path, _)| path).collect();
    assert_eq!(open, ["/", "/health"]);
}

#[test]
fn names_of_parameters_do_not_matter_and_places_do() {
    assert!(access("GET", "/indexes/{index}/documents/{document_id}").is_some());
    assert_eq!(access("POST", "/tasks/{id}"), None);
    assert!(access("POST", "/tasks/cancel").is_some());
    assert_eq!(access("GET", "/tasks/cancel"), None, "a word is no parameter");
    assert_eq!(access("GET", "/indexes/{uid}/unheard-of"), None);
    assert_eq!(access("HEAD", "/indexes"), None);
    assert_eq!(access("GET", "/indexes/"), None);
}

#[test]
fn indexes_stand_in_the_path_exactly_where_a_row_says_so() {
    for (method, path, access) in rows() {
        if let Access::Needs(actions, indexes) = access {
            assert!(!actions.is_empty(), "{method} {path} needs nothing, hence nobody could call it");
            assert_eq!(*indexes == Indexes::InPath, path.starts_with("/indexes/{}"), "{method} {path}");
            let global = actions.iter().all(|action| action.is_global());
            assert_eq!(*indexes == Indexes::Global, global, "{method} {path}");
        }
    }
}

#[test]
fn every_single_action_opens_exactly_its_routes() {
    for action in Action::ALL {
        let registry = registry([key(1, json!([action]), json!(["*"]))]);
        for (method, path, access) in rows() {
            let Access::Needs(actions, _) = access else { continue };
            let expected = actions.iter().all(|needed| action.grants(*needed));
            let index = path.starts_with("/indexes/{}").then_some("a");
            assert_eq!(
                ask(&registry, &value_of(1), method, path, index).is_ok(),
                expected,
                "{action}: {method} {path}"
            );
        }
    }
}

#[test]
fn groups_grant_their_members_and_editing_takes_everything() {
    assert!(Action::DocumentsAll.grants(Action::DocumentsAdd));
    assert!(!Action::DocumentsAll.grants(Action::DocumentsAll), "editing by function");
    assert!(Action::All.grants(Action::DocumentsAll));
    assert!(!Action::ChatsAll.grants(Action::ChatsSettingsGet));
    assert!(!Action::Search.grants(Action::DocumentsGet));
    assert!(!Action::IndexesAll.grants(Action::DocumentsGet));
    let reads: Vec<&str> =
        Action::ALL.iter().filter(|wanted| Action::AllGet.grants(**wanted)).map(|action| action.name()).collect();
    let expected = [
        "search",
        "documents.get",
        "indexes.get",
        "tasks.get",
        "settings.get",
        "stats.get",
        "metrics.get",
        "version",
        "experimental.get",
        "export",
        "network.get",
        "chats.get",
        "chatsSettings.get",
        "webhooks.get",
        "fields.post",
        "dynamicSearchRules.get",
    ];
    assert_eq!(reads, expected);
}

#[test]
fn a_key_for_some_indexes_is_kept_to_them() {
    let registry = registry([key(1, json!(["*"]), json!(["b", "a*", "b"]))]);
    let shown = value_of(1);
    for (method, path, access) in rows() {
        match access {
            Access::Open => {}
            Access::Needs(_, Indexes::InPath) => {
                assert!(ask(&registry, &shown, method, path, Some("ab")).is_ok(), "{method} {path}");
                let refusal = ask(&registry, &shown, method, path, Some("c")).expect_err("foreign");
                let allowed = "The API key cannot acces the index `c`, authorized indexes are [\"a*\", \"b\"].";
                assert_eq!(
                    (refusal.body().code.as_str(), refusal.body().message.as_str()),
                    ("invalid_api_key", allowed)
                );
                assert!(
                    ask(&registry, &shown, method, path, None).is_err(),
                    "an index that was not found: {method} {path}"
                );
            }
            Access::Needs(_, Indexes::ByHandler) => {
                let grant = ask(&registry, &shown, method, path, None).expect("let in");
                assert!(grant.allows("a") && grant.allows("b") && !grant.allows("c") && !grant.allows_all());
                assert!(grant.sees_task_of(Some("b")) && !grant.sees_task_of(Some("c")) && !grant.sees_task_of(None));
            }
            Access::Needs(_, Indexes::Global) => {
                assert_eq!(ask(&registry, &shown, method, path, None).expect_err("global"), DENIED, "{method} {path}");
            }
        }
    }
}

#[test]
fn a_key_without_indexes_opens_nothing() {
    let registry = registry([key(1, json!(["*"]), json!([]))]);
    for (method, path, access) in rows().filter(|(_, _, access)| **access != Access::Open) {
        let index = matches!(access, Access::Needs(_, Indexes::InPath)).then_some("a");
        assert!(ask(&registry, &value_of(1), method, path, index).is_err(), "{method} {path}");
    }
}

#[test]
fn an_expired_key_opens_nothing() {
    let end = now() + Duration::SECOND;
    let registry = registry([Key { expires_at: Some(end), ..key(1, json!(["*"]), json!(["*"])) }]);
    let at = |now| {
        let access = access("GET", "/indexes").expect("a row");
        authorize(&registry, Some(&value_of(1)), access, None, now)
    };
    assert!(at(now()).is_ok());
    assert_eq!(at(end).expect_err("over"), DENIED);
}

#[test]
fn creating_indexes_is_a_right_of_its_own() {
    let registry = registry([
        key(1, json!(["documents.add"]), json!(["*"])),
        key(2, json!(["documents.add", "indexes.create"]), json!(["a*"])),
    ]);
    let add = |n| ask(&registry, &value_of(n), "POST", "/indexes/{uid}/documents", Some("ab")).expect("let in");
    assert!(!add(1).may_create("ab"));
    assert!(add(2).may_create("ab") && !add(2).may_create("b"));
    assert!(Grant::everything().may_create("b"));
}

#[test]
fn without_a_master_key_all_is_open_but_keys() {
    let registry = KeyRegistry::new(None, Key::defaults(now(), [1, 2, 3, 4].map(uid)));
    for (_, path, access) in rows() {
        let index = path.starts_with("/indexes/{}").then_some("a");
        for shown in [None, Some("x"), Some("a.b.c")] {
            let answer = authorize(&registry, shown, access, index, now());
            if path.starts_with("/keys") {
                assert_eq!(answer.expect_err("keys"), Refusal::MissingMasterKey);
            } else {
                assert!(answer.expect("open").allows_all());
            }
        }
    }
}

#[test]
fn what_is_shown_is_read_strictly() {
    let missing = Err(Refusal::MissingHeader);
    assert_eq!(bearer(None), Ok(None));
    assert_eq!(bearer(Some(b"Bearer k")), Ok(Some("k")));
    assert_eq!(bearer(Some(b"Bearer ")), Ok(Some("")));
    assert_eq!(bearer(Some(b"Bearer k x")), Ok(Some("k x")));
    assert_eq!(bearer(Some(b"Bearer")), Err(DENIED));
    for header in [&b"bearer k"[..], b"Basic k", b"", b"k", b"Bearer\tk", b"\xff"] {
        assert_eq!(bearer(Some(header)), missing);
    }
    let registry = registry([]);
    let access = access("GET", "/indexes").expect("a row");
    let answer = |shown| authorize(&registry, shown, access, None, now()).map(drop);
    assert_eq!(answer(None), Err(Refusal::MissingHeader));
    assert_eq!(answer(Some("")), Err(DENIED));
    assert_eq!(answer(Some(MASTER)), Ok(()));
    assert_eq!(answer(Some(&format!("{MASTER} "))), Err(DENIED));
}
