use serde_json::{Value, json};

use crate::settings::drift::{Drift, DriftFacts, check};

fn pair<'a>(committed: &'a Value, read: &'a Value) -> DriftFacts<'a> {
    DriftFacts { committed: Some(committed), version: 4, recorded: Some(4), read, broadcast: false, auto_repair: true }
}

#[test]
fn a_node_is_judged_by_what_it_reads_back() {
    let (committed, other) = (json!({"stopWords": ["a", "b"]}), json!({"stopWords": ["a"]}));
    let reordered = json!({"stopWords": ["b", "a"], "distinctAttribute": null});
    let good = pair(&committed, &reordered);
    let bad = pair(&committed, &other);
    for (pair, wanted) in [
        (good, Drift::None),
        (DriftFacts { recorded: None, ..good }, Drift::Record(4)),
        (DriftFacts { recorded: Some(3), ..good }, Drift::Record(4)),
        (DriftFacts { auto_repair: false, recorded: Some(3), ..good }, Drift::Record(4)),
        (bad, Drift::Repair),
        (DriftFacts { auto_repair: false, ..bad }, Drift::Report),
        (DriftFacts { recorded: Some(3), ..bad }, Drift::CatchUp),
        (DriftFacts { recorded: None, auto_repair: false, ..bad }, Drift::CatchUp),
        (DriftFacts { committed: None, ..bad }, Drift::None),
    ] {
        assert_eq!(check(&pair), wanted, "{pair:?}");
        assert_eq!(check(&DriftFacts { broadcast: true, ..pair }), Drift::Wait, "{pair:?}");
    }
}

#[test]
fn a_setting_that_a_node_does_not_show_is_no_drift() {
    let committed = json!({"foreignKeys": [], "chat": {"description": "d"}, "stopWords": ["a"]});
    let read = json!({"stopWords": ["a"]});
    assert_eq!(check(&pair(&committed, &read)), Drift::None);
}
