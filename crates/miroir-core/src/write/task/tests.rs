use serde_json::json;
use serde_json::value::to_raw_value;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::{NewTask, Task, TaskKind, TaskQuery, TaskStatus, TimeRange, duration};
use crate::base::error::{Code, ErrorBody};
use crate::base::id::TaskUid;

fn task() -> NewTask {
    NewTask {
        index_uid: "movies".parse().ok(),
        physical: "movies".parse().ok(),
        details: to_raw_value(&json!({"receivedDocuments": 2, "indexedDocuments": null})).ok(),
        ..NewTask::new(TaskKind::DocumentAdditionOrUpdate, datetime!(2026-11-21 05:20:52.366483483 UTC))
    }
}

#[test]
fn every_kind_and_status_is_parsed_in_any_case() {
    for kind in TaskKind::ALL {
        assert_eq!(kind.name().to_uppercase().parse(), Ok(*kind));
        assert_eq!(serde_json::to_value(kind).expect("plain"), json!(kind.name()));
    }
    for status in TaskStatus::ALL {
        assert_eq!(status.name().to_uppercase().parse(), Ok(*status));
        assert_eq!(serde_json::from_value::<TaskStatus>(json!(status.name())).expect("own name"), *status);
    }
}

#[test]
fn an_unknown_filter_value_lists_the_known_ones() {
    assert_eq!(
        "foo".parse::<TaskStatus>().expect_err("no status").to_string(),
        "`foo` is not a valid task status. Available statuses are `enqueued`, `processing`, `succeeded`, `failed`, `canceled`."
    );
    let kinds = "foo".parse::<TaskKind>().expect_err("no type").to_string();
    assert!(kinds.starts_with(
        "`foo` is not a valid task type. Available types are `documentAdditionOrUpdate`, `documentEdition`,"
    ));
    assert!(kinds.ends_with("`networkTopologyChange`, `dsrUpdate`, `dsrClear`."));
}

#[test]
fn a_waiting_task_is_shown_as_meilisearch_shows_it() {
    let task = task().numbered(TaskUid(0));
    assert_eq!(
        task.view(),
        r#"{"uid":0,"batchUid":null,"indexUid":"movies","status":"enqueued","type":"documentAdditionOrUpdate","canceledBy":null,"details":{"receivedDocuments":2,"indexedDocuments":null},"error":null,"duration":null,"enqueuedAt":"2026-11-21T05:20:52.366483483Z","startedAt":null,"finishedAt":null}"#
    );
    assert_eq!(
        task.summary(),
        r#"{"taskUid":0,"indexUid":"movies","status":"enqueued","type":"documentAdditionOrUpdate","enqueuedAt":"2026-11-21T05:20:52.366483483Z"}"#
    );
}

#[test]
fn a_failed_task_shows_its_error_its_batch_and_how_long_it_took() {
    let mut task = task().numbered(TaskUid(391));
    task.status = TaskStatus::Failed;
    task.error = Some(ErrorBody::new(Code::IndexNotFound, "Index `movies` not found."));
    task.details = None;
    task.started_at = Some(datetime!(2026-11-21 05:20:53.404814897 UTC));
    task.finished_at = Some(datetime!(2026-11-21 05:20:53.40775121 UTC));
    assert_eq!(
        task.view(),
        r#"{"uid":391,"batchUid":391,"indexUid":"movies","status":"failed","type":"documentAdditionOrUpdate","canceledBy":null,"error":{"message":"Index `movies` not found.","code":"index_not_found","type":"invalid_request","link":"https://docs.meilisearch.com/errors#index_not_found"},"duration":"PT0.002936313S","enqueuedAt":"2026-11-21T05:20:52.366483483Z","startedAt":"2026-11-21T05:20:53.404814897Z","finishedAt":"2026-11-21T05:20:53.40775121Z"}"#
    );
}

#[test]
fn a_summary_says_enqueued_even_when_the_task_ended_at_once() {
    let mut done = task();
    done.status = TaskStatus::Failed;
    assert!(done.numbered(TaskUid(1)).summary().contains(r#""status":"enqueued""#));
}

#[test]
fn durations_have_three_six_or_nine_decimals() {
    let cases = [
        (Duration::ZERO, "PT0S"),
        (Duration::milliseconds(12), "PT0.012S"),
        (Duration::microseconds(12_345), "PT0.012345S"),
        (Duration::nanoseconds(9_489_402), "PT0.009489402S"),
        (Duration::DAY, "P1D"),
        (Duration::DAY * 2 + Duration::milliseconds(1_500), "P2DT1.500S"),
        (Duration::seconds(3_600), "PT3600S"),
    ];
    for (given, expected) in cases {
        assert_eq!(duration(given).as_deref(), Some(expected));
    }
    assert_eq!(duration(Duration::NANOSECOND * -1), None);
}

#[test]
fn a_task_survives_json_and_old_records_have_no_effects() {
    let mut new = task();
    new.effects.details = to_raw_value(&json!({"b": 1.0, "a": 12345678901234567890_u64})).ok();
    let text = serde_json::to_string(&new.numbered(TaskUid(3))).expect("JSON");
    let back: Task = serde_json::from_str(&text).expect("own text");
    assert_eq!(back.effects.details.as_ref().map(|raw| raw.get()), Some(r#"{"b":1.0,"a":12345678901234567890}"#));
    assert_eq!(serde_json::to_string(&back).expect("JSON"), text);

    let plain = serde_json::to_string(&task().numbered(TaskUid(3))).expect("JSON");
    assert!(!plain.contains("effects"), "{plain}");
    let old: Task = serde_json::from_str(&plain).expect("own text");
    assert!(old.effects.is_none());
}

#[test]
fn a_bounded_range_leaves_out_its_bounds_and_what_has_no_time() {
    let at = datetime!(2026-01-01 00:00 UTC);
    let after = TimeRange { after: Some(at), before: None };
    assert!(!after.contains(Some(at)) && after.contains(Some(at + Duration::NANOSECOND)) && !after.contains(None));
    let before = TimeRange { after: None, before: Some(at) };
    assert!(!before.contains(Some(at)) && before.contains(Some(at - Duration::NANOSECOND)));
    assert!(TimeRange::default().contains(None));
}

#[test]
fn times_at_the_ends_of_the_calendar_do_not_panic() {
    let mut task = task().numbered(TaskUid(0));
    let (first, last) = (datetime!(-9999-01-01 0:00 +23:00), datetime!(9999-12-31 23:59 -23:00));
    task.enqueued_at = first;
    task.started_at = Some(first);
    task.finished_at = Some(last);
    assert!(task.view().contains(r#""enqueuedAt":"0000-01-01T00:00:00Z""#), "{}", task.view());
    let query = TaskQuery { enqueued: TimeRange { after: Some(first), before: Some(last) }, ..TaskQuery::default() };
    assert!(!query.matches(&task));
    task.enqueued_at = OffsetDateTime::UNIX_EPOCH;
    assert!(query.matches(&task));
}
