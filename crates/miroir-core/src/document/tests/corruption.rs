//! Damaged and arbitrary payloads: never a panic, never half a batch, accepted exactly when they are sound.

use proptest::prelude::*;

use super::*;

/// Two documents, of which no damage to one byte turns another key into the primary key.
const BATCH: &str = r#"[ {"id": 12, "title": "a\n\"b\" \u00e9\ud83d\ude00 é", "list": [1.5, -2e3, true, null, {}]},
  {"text":{"a":[[]],"b":"\\"},"id":"x_-9" , "n":0} ]"#;

fn damaged(batch: &[u8], format: Format) {
    let request = request("id");
    for at in 0..batch.len() {
        invariants::check(&batch[..at], format, &request);
        let mut damaged = batch.to_vec();
        for byte in 0..=u8::MAX {
            damaged[at] = byte;
            invariants::check(&damaged, format, &request);
        }
        let mut shorter = batch.to_vec();
        shorter.remove(at);
        invariants::check(&shorter, format, &request);
    }
}

#[test]
fn a_batch_damaged_at_any_byte_is_judged_as_serde_json_judges_it() {
    damaged(BATCH.as_bytes(), Format::Json);
}

#[test]
fn ndjson_damaged_at_any_byte_is_judged_as_serde_json_judges_it() {
    let lines = BATCH.trim_matches(['[', ']', ' ']).replace("},\n", "}\n");
    assert_eq!(split(lines.as_bytes(), Format::Ndjson, &request("id")).unwrap().received, 2);
    damaged(lines.as_bytes(), Format::Ndjson);
}

#[test]
fn one_document_damaged_at_any_byte_is_judged_as_serde_json_judges_it() {
    damaged(br#" {"id": "a1", "n": [1e3, {"m": "\u0041"}], "_x": false} "#, Format::Json);
}

#[test]
fn csv_damaged_at_any_byte_does_no_harm() {
    let batch = b"id,name:string,price:number,sold:boolean\n1,\"a \"\"b\"\", c\",2.5,true\r\nx-2,\xc3\xa9,,\n";
    damaged(batch, CSV);
}

fn document() -> impl Strategy<Value = String> {
    let id = prop_oneof![
        4 => (0..20u32).prop_map(|id| id.to_string()),
        2 => (0..20u32).prop_map(|id| format!("\"{id}\"")),
        2 => "\"[a-z_-]{1,6}\"",
        1 => any::<i64>().prop_map(|id| id.to_string()),
        1 => prop::sample::select(vec!["1.0", "null", "\"\"", "\"a b\"", "-0", "[]", "\"\\u0061\""]).prop_map(String::from),
    ];
    let value = prop::sample::select(vec![
        "1",
        "\"text \\\" \\\\\"",
        "[1, {\"id\": 2}]",
        "{\"a\":\n{}}",
        "null",
        "1e5",
        "\"é\"",
    ]);
    let key = prop::sample::select(vec!["a", "b", "_geo", "title", "\\u0069e", "id2", "_miroir_updated_at"]);
    let fields = prop::collection::vec((key, value), 0..5);
    (fields, id, 0..6usize, prop::sample::select(vec!["", " ", "\n"])).prop_map(|(fields, id, place, space)| {
        let mut fields: Vec<_> = fields.into_iter().map(|(key, value)| format!("\"{key}\":{space}{value}")).collect();
        fields.insert(place.min(fields.len()), format!("\"id\"{space}:{id}"));
        format!("{{{space}{}{space}}}", fields.join(&format!("{space},")))
    })
}

proptest! {
    #[test]
    fn every_document_reaches_its_shard(
        documents in prop::collection::vec(document(), 0..12), shards in 1..40u32, stamp: bool, strict: bool,
    ) {
        let request = SplitRequest {
            shards: NonZeroU32::new(shards).unwrap(),
            // Without the strict rule the field is the client's own and must not meet ours.
            stamp: (stamp && strict).then_some(1_700_000_000_000),
            reserved: ReservedFields { updated_at: strict },
            ..request("id")
        };
        invariants::check(format!("[{}]", documents.join(",")).as_bytes(), Format::Json, &request);
        invariants::check(documents.join("\n").as_bytes(), Format::Ndjson, &request);
    }

    #[test]
    fn any_bytes_do_no_harm(payload in prop::collection::vec(any::<u8>(), 0..80), key in "[a.]{0,4}") {
        for format in [Format::Json, Format::Ndjson, CSV] {
            invariants::check(&payload, format, &request("id"));
            let checks = all_checks();
            let _ = split(&payload, format, &SplitRequest { checks: &checks, ..request(&key) });
            let _ = infer_primary_key(&payload, format);
        }
    }

    #[test]
    fn any_text_is_judged_as_serde_json_judges_it(text in "(\\{\"id\":1)?[\\[\\]{},:\"\\\\ \nid0-9.eu]{0,20}") {
        for format in [Format::Json, Format::Ndjson] {
            invariants::check(text.as_bytes(), format, &request("id"));
        }
    }
}
