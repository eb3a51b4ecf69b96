//! Rules, read, changed and ordered.

use proptest::prelude::*;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::*;

fn pin(id: &str, position: u32) -> Value {
    json!({ "selector": { "id": id }, "action": { "type": "pin", "position": position } })
}

fn set(rules: &[(&str, Value)]) -> RuleSet {
    rules.iter().fold(RuleSet::default(), |set, (uid, rule)| {
        set.changed(&RuleChange::Update {
            uid: uid.parse().expect("a uid"),
            rule: RulePatch::read(rule).expect("a rule"),
        })
    })
}

fn order(set: &RuleSet, index: &str, query: &str, id: &str, position: u32) -> usize {
    let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).expect("a time");
    Pins { rules: set, primary_key: "id", now }.order(index, query, id, position)
}

#[test]
fn refusals_are_worded_as_by_meilisearch() {
    let conditions = "invalid_dynamic_search_rule_conditions";
    let actions = "invalid_dynamic_search_rule_actions";
    let with = |selector: Value, action: Value| json!({ "actions": [{ "selector": selector, "action": action }] });
    let (one, there) = (json!({ "id": "1" }), json!({ "type": "pin", "position": 1 }));
    let cases = [
        (json!([]), "bad_request", "Invalid value type: expected an object, but found an array: `[]`"),
        (
            json!({ "uid": "a" }),
            "bad_request",
            "Unknown field `uid`: expected one of `description`, `precedence`, `active`, `conditions`, `actions`",
        ),
        (
            json!({ "precedence": -1 }),
            "invalid_dynamic_search_rule_priority",
            "Invalid value type at `.precedence`: expected a positive integer, but found a negative integer: `-1`",
        ),
        (
            json!({ "conditions": { "x": 1 } }),
            conditions,
            "Unknown field `x` inside `.conditions`: expected one of `time`, `query`",
        ),
        (
            json!({ "conditions": { "query": { "isEmpty": true, "words": "a" } } }),
            "bad_request",
            "Invalid value at `.conditions.query`: either `isEmpty` or `words` can be used, not both at once",
        ),
        (
            json!({ "conditions": { "time": { "start": "2025-11-28T00:00:00Z", "end": "2024-11-28T00:00:00+02:00" } } }),
            "bad_request",
            "Invalid value at `.conditions.time`: `end` (`2024-11-28 0:00:00.0 +02:00:00`) should be later than `start` (`2025-11-28 0:00:00.0 +00:00:00`)",
        ),
        (json!({ "actions": [{}] }), actions, "Missing field `selector` inside `.actions[0]`"),
        (
            with(one.clone(), json!({ "type": "pon" })),
            actions,
            "Invalid value at `.actions[0].action`: Incorrect tag value",
        ),
        (
            with(one.clone(), json!({ "type": "pin", "position": 4_294_967_296u64 })),
            actions,
            "Invalid value at `.actions[0].action.position`: value: `4294967296` is too large to be deserialized, maximum value authorized is `4294967295`",
        ),
        (
            with(json!({ "id": 1 }), there.clone()),
            actions,
            "Invalid value type at `.actions[0].selector.id`: expected a string, but found a positive integer: `1`",
        ),
        (
            with(json!({ "id": "1", "x": 1 }), there),
            actions,
            "Unknown field `x` inside `.actions[0].selector`: expected one of `indexUid`, `id`",
        ),
    ];
    for (body, code, message) in cases {
        let refusal = RulePatch::read(&body).expect_err("refused");
        assert_eq!((refusal.code.as_str(), refusal.message.as_str()), (code, message));
    }
    let refusal = RuleListing::read(&json!({ "filter": { "active": "x" } })).expect_err("refused");
    assert_eq!(refusal.code, "invalid_dynamic_search_rule_filter_active");
    let refusal = RuleListing::read(&json!({ "limit": null })).expect_err("refused");
    assert_eq!(refusal.message, "Invalid value type at `.limit`: expected a positive integer, but found null");
}

#[test]
fn patches_show_what_they_change_and_change_nothing_else() {
    let first = json!({ "description": "d", "precedence": 3, "actions": [pin("1", 2)] });
    let rules = set(&[("a", first), ("a", json!({ "description": null, "active": false }))]);
    let view = json!({ "uid": "a", "precedence": 3, "active": false, "conditions": {}, "actions": [pin("1", 2)] });
    assert_eq!(rules.get("a").expect("there").view(), view);
    let patch = json!({ "conditions": { "time": { "start": "2025-11-28T00:00:00.120Z", "x": 1 }, "query": null } });
    let shown = RulePatch::read(&patch).expect("valid").view();
    assert_eq!(shown, json!({ "conditions": { "time": { "start": "2025-11-28T00:00:00.12Z" } } }));
}

#[test]
fn the_lowest_free_number_is_given() {
    let empty = json!({});
    let rules = set(&[("c", empty.clone()), ("a", empty.clone()), ("b", empty.clone())]);
    let rules = rules.changed(&RuleChange::Delete { uid: "a".parse().expect("a uid") });
    let rules = rules.changed(&RuleChange::Update { uid: "d".parse().expect("a uid"), rule: RulePatch::default() });
    let names: Vec<&str> = rules.by_number().iter().map(|rule| rule.uid.as_str()).collect();
    assert_eq!(names, ["c", "d", "b"]);
    let all = RuleListing { offset: 1, limit: 1, query: None, active: Some(true) };
    let (page, total) = rules.page(&all);
    assert_eq!((page.first().map(|rule| &rule["uid"]), total), (Some(&json!("d")), 3));
    assert!(rules.changed(&RuleChange::Clear).is_empty());
}

#[test]
fn pins_are_ordered_by_precedence_then_number_then_as_written() {
    let rules = set(&[
        ("last", json!({ "actions": [pin("1", 0)] })),
        ("second", json!({ "precedence": 7, "actions": [pin("2", 0), pin("3", 0)] })),
        ("first", json!({ "precedence": 1, "actions": [pin("4", 0)] })),
        ("off", json!({ "precedence": 0, "active": false, "actions": [pin("1", 0)] })),
    ]);
    let orders: Vec<usize> = ["4", "2", "3", "1"].iter().map(|id| order(&rules, "i", "", id, 0)).collect();
    assert_eq!(orders, [0, 1, 2, 3]);
    assert_eq!(order(&rules, "i", "", "unknown", 0), usize::MAX);
}

#[test]
fn a_document_of_several_rules_is_told_apart_by_their_conditions() {
    let elsewhere =
        json!({ "selector": { "id": "1", "indexUid": "other" }, "action": { "type": "pin", "position": 0 } });
    let rules = set(&[
        ("a", json!({ "precedence": 1, "actions": [elsewhere] })),
        ("b", json!({ "precedence": 2, "conditions": { "query": { "words": "red hat" } }, "actions": [pin("1", 0)] })),
        ("c", json!({ "precedence": 3, "conditions": { "query": { "isEmpty": true } }, "actions": [pin("1", 0)] })),
        (
            "d",
            json!({ "precedence": 4, "conditions": { "time": { "end": "2001-01-01T00:00:00Z" } }, "actions": [pin("1", 0)] }),
        ),
        ("e", json!({ "precedence": 5, "actions": [pin("1", 0), pin("1", 4)] })),
    ]);
    let of = |query| order(&rules, "i", query, "1", 0);
    assert_eq!((of("Hat, RED!"), of(" "), of("hat")), (1, 2, 4));
    assert_eq!(order(&rules, "i", "hat", "1", 4), 5);
    assert_eq!(order(&rules, "other", "hat", "1", 0), 0);
}

#[test]
fn nodes_are_told_their_own_names_of_indexes() {
    let of = |index: &str| json!({ "selector": { "id": "1", "indexUid": index }, "action": { "type": "pin", "position": 0 } });
    let rules = set(&[("a", json!({ "actions": [of("x"), of("gone"), pin("2", 1)] }))]);
    let physical = |uid: &IndexUid| (uid.as_str() == "x").then(|| "x-2".parse().expect("a uid"));
    let told = rules.get("a").expect("there").for_nodes(physical);
    assert_eq!(told.view()["actions"], json!([of("x-2"), pin("2", 1)]));
    assert_eq!(told.fields.view(), json!({ "actions": [of("x-2"), pin("2", 1)] }));
    let vague = set(&[("a", json!({ "precedence": null, "active": null, "conditions": null }))]);
    let told = vague.get("a").expect("there").for_nodes(physical).fields.view();
    assert_eq!(told, json!({ "precedence": null, "active": true, "conditions": {} }));
}

/// One server's placement, as it is told by its sources: written here once more, index by index.
fn placed(pins: &[(u32, usize)], others: usize, end: usize) -> Vec<Option<usize>> {
    let mut pins = pins.to_vec();
    pins.sort_by_key(|(position, _)| *position);
    let (mut pins, mut others, mut list) = (pins.iter().peekable(), others, Vec::new());
    while list.len() < end {
        match pins.peek() {
            Some((position, name)) if *position as usize <= list.len() || others == 0 => {
                list.push(Some(*name));
                pins.next();
            }
            _ if others > 0 => {
                list.push(None);
                others -= 1;
            }
            _ => break,
        }
    }
    list
}

proptest! {
    /// However pins and other hits are spread over nodes, each of which places its own, the merged list is one server's,
    /// from as many hits of each as the rules ask for.
    #[test]
    fn nodes_give_enough_for_one_servers_list(
        spread in proptest::collection::vec((0u32..12, 0usize..3), 0..8),
        others in proptest::collection::vec(0usize..3, 0..30),
        end in 0usize..15,
    ) {
        let pins: Vec<(u32, usize)> = spread.iter().enumerate().map(|(name, (position, _))| (*position, name)).collect();
        let whole = placed(&pins, others.len(), end);
        let actions: Vec<Value> = pins.iter().map(|(position, name)| pin(&name.to_string(), *position)).collect();
        let rules = set(&[("a", json!({ "actions": actions }))]);
        let depth = Pins { rules: &rules, primary_key: "id", now: OffsetDateTime::UNIX_EPOCH }.depth(end);
        let mut found_pins = Vec::new();
        let mut found_others = [0usize; 3];
        for (node, found_others) in found_others.iter_mut().enumerate() {
            let own: Vec<(u32, usize)> = pins.iter().filter(|(_, name)| spread[*name].1 == node).copied().collect();
            let count = others.iter().filter(|of| **of == node).count();
            for hit in placed(&own, count, depth) {
                match hit {
                    Some(name) => found_pins.push(Pinned { order: name, position: pins[name].0, hit: name }),
                    None => *found_others += 1,
                }
            }
        }
        // The others rank in the order of their list, whoever holds them; a node gives its first ones.
        let mut queue = Queue::new(found_pins);
        let mut left = others.iter();
        let mut list = Vec::new();
        let mut next = left.next();
        while list.len() < end {
            if let Some(name) = queue.at(list.len(), next.is_some()) {
                list.push(Some(name));
            } else if let Some(node) = next {
                prop_assert!(found_others[*node] > 0, "node {} did not give enough", node);
                found_others[*node] -= 1;
                list.push(None);
                next = left.next();
            } else {
                break;
            }
        }
        prop_assert_eq!(list, whole);
    }
}
