//! Batches that are taken, and what becomes of them.

use super::*;

fn taken(payload: &str, format: Format, request: &SplitRequest<'_>) -> Split {
    split(payload.as_bytes(), format, request).unwrap_or_else(|error| panic!("{error}: {payload}"))
}

/// All documents without our fields, as text, in order of shards.
fn documents(split: &Split) -> Vec<String> {
    let bodies: String = split.shards.iter().map(|body| String::from_utf8(body.clone()).unwrap()).collect();
    let end = format!(",\"{}\":\"", inert::SHARD_FIELD);
    let mut documents = Vec::new();
    let mut rest = bodies.as_str();
    while let Some((document, tail)) = rest.split_once(&end) {
        documents.push(format!("{document}}}"));
        rest = tail.split_once("}\n").unwrap().1;
    }
    documents
}

fn one(payload: &str, format: Format, key: &str) -> String {
    let split = taken(payload, format, &request(key));
    assert_eq!((split.received, split.unique), (1, 1));
    documents(&split).pop().unwrap()
}

#[test]
fn documents_are_copied_byte_for_byte() {
    let document = "{ \"id\" : 1,\n \"a\\u0062\": [1.0, 1e2 , \"\\/é\"],\r\n\t\"b\":{}\n}";
    assert_eq!(one(&format!("[ {document}\n]"), Format::Json, "id"), document);
    assert_eq!(one(document, Format::Json, "id"), document);
    assert_eq!(one(document, Format::Ndjson, "id"), document);
}

#[test]
fn our_fields_come_last() {
    let split_with = |stamp| taken("[{\"id\":1}]", Format::Json, &SplitRequest { stamp, ..request("id") });
    let shard = hash::shard_of(b"1", request("id").shards);
    let text = inert::encode_shard(shard);
    let body = &split_with(None).shards[shard.0 as usize];
    assert_eq!(String::from_utf8_lossy(body), format!("{{\"id\":1,\"_miroir_shard\":\"{text}\"}}\n"));
    let body = &split_with(Some(77)).shards[shard.0 as usize];
    let stamp = inert::encode_millis(77);
    let expected = format!("{{\"id\":1,\"_miroir_shard\":\"{text}\",\"_miroir_updated_at\":\"{stamp}\"}}\n");
    assert_eq!(String::from_utf8_lossy(body), expected);
}

#[test]
fn integers_and_their_texts_are_one_id() {
    let split = taken(
        "[{\"id\":42},{\"id\":\"42\"},{\"id\":\"\\u0034\\u0032\"},{\"id\":\"042\"}]",
        Format::Json,
        &request("id"),
    );
    assert_eq!((split.received, split.unique), (4, 2));
    let shard = hash::shard_of(b"42", request("id").shards).0 as usize;
    assert!(String::from_utf8_lossy(&split.shards[shard]).starts_with("{\"id\":42,"));
}

#[test]
fn empty_batches_are_taken() {
    for (payload, format) in [
        ("[]", Format::Json),
        (" [ ] x", Format::Json),
        (" \n", Format::Ndjson),
        ("id", CSV),
        ("id\n", CSV),
        ("\n", CSV),
    ] {
        let split = taken(payload, format, &request("id"));
        assert_eq!((split.received, split.unique, split.shards.len()), (0, 0, 7), "{payload}");
        assert!(split.shards.iter().all(Vec::is_empty));
    }
}

#[test]
fn what_follows_an_array_is_ignored() {
    assert_eq!(taken("[{\"id\":1}] trailing", Format::Json, &request("id")).received, 1);
    assert_eq!(split(b"[{\"id\":1}] \xff", Format::Json, &request("id")).unwrap().received, 1);
}

#[test]
fn ndjson_needs_no_line_breaks() {
    assert_eq!(taken("{\"id\":1}{\"id\":2}\n\n {\"id\":\n3}", Format::Ndjson, &request("id")).received, 3);
}

#[test]
fn of_duplicate_members_in_json_the_last_counts() {
    assert_eq!(one("[{\"id\":1,\"a\":1,\"\\u0069d\":2,\"a\":3}]", Format::Json, "id"), "{\"id\":2,\"a\":3}");
    assert_eq!(one("[{\"id\":null,\"id\":2}]", Format::Json, "id"), "{\"id\":2}");
    assert_eq!(one("[{\"a\":{\"b\":1},\"a\":{\"b\":2}}]", Format::Json, "a.b"), "{\"a\":{\"b\":2}}");
    // Duplicates elsewhere are the nodes' business, which read them in the same way.
    assert_eq!(one("[{\"id\":1,\"a\":1,\"a\":3}]", Format::Json, "id"), "{\"id\":1,\"a\":1,\"a\":3}");
}

#[test]
fn a_dotted_primary_key_is_followed() {
    for (document, key, id) in [
        ("{\"a\":{\"b\":1}}", "a.b", "1"),
        ("{\"a.b\":1}", "a.b", "1"),
        ("{\"a\":5,\"a.b\":2}", "a.b", "2"),
        ("{\"a\":{\"b\":{\"c\":3}}}", "a.b.c", "3"),
        ("{\"a\":{\"b.c\":4}}", "a.b.c", "4"),
        ("{\"a.b\":{\"c\":\"x\"}}", "a.b.c", "x"),
        ("{\"a\":{\"x\":1},\"a.b\":{\"c\":6}}", "a.b.c", "6"),
        ("{\"\":{\"a\":1},\".a\":4}", ".a", "4"),
        ("{\"a.\":6}", "a.", "6"),
        ("{\" id\":7,\"id\":1}", " id", "7"),
    ] {
        let split = taken(&format!("[{document}]"), Format::Json, &request(key));
        let shard = hash::shard_of(id.as_bytes(), request(key).shards).0 as usize;
        assert!(!split.shards[shard].is_empty(), "{document} {key}");
    }
}

#[test]
fn csv_cells_become_typed_values() {
    for (csv, json) in [
        ("id,name\n1,a", r#"{"id":"1","name":"a"}"#),
        ("id,n:number,b:boolean\n1,2,true", r#"{"id":"1","n":2,"b":true}"#),
        ("id,n:number,b:boolean\n1, 2.0 , false ", r#"{"id":"1","n":2.0,"b":false}"#),
        ("id,n:number,b:boolean,t\n1,,,", r#"{"id":"1","n":null,"b":null,"t":null}"#),
        ("id,n:number\n1,1e2", r#"{"id":"1","n":100.0}"#),
        ("id,n:number\n1,+5", r#"{"id":"1","n":5}"#),
        ("id,n:number\n1,-0", r#"{"id":"1","n":0}"#),
        ("id,n:number\n1,.5", r#"{"id":"1","n":0.5}"#),
        ("id,n:number\n1,inf", r#"{"id":"1","n":null}"#),
        ("id,n:number\n1,1e400", r#"{"id":"1","n":null}"#),
        ("id:number\n7", r#"{"id":7}"#),
        ("id,name:string,a:b\n1,\"x, \"\"y\"\"\nz\",\n", r#"{"id":"1","name":"x, \"y\"\nz","a:b":null}"#),
        ("id,id\n1,2", r#"{"id":"2"}"#),
        ("id,a,a:number\n1,x,3", r#"{"id":"1","a":3}"#),
        ("\u{feff}id,a\n1,2", r#"{"id":"1","a":"2"}"#),
        ("id,a\n1,\"unclosed", r#"{"id":"1","a":"unclosed"}"#),
        ("id,a\n1,\"x\"y", r#"{"id":"1","a":"xy"}"#),
        ("id,a\n1, ", r#"{"id":"1","a":" "}"#),
        ("id,:number\n1,3", r#"{"id":"1","":3}"#),
        ("id,\"q\"\"\"\n1,\t\u{1}", r#"{"id":"1","q\"":"\t\u0001"}"#),
    ] {
        assert_eq!(one(csv, CSV, "id"), json, "{csv}");
    }
    assert_eq!(one("id;a\n1;2", Format::Csv { delimiter: b';' }, "id"), r#"{"id":"1","a":"2"}"#);
    assert_eq!(taken("id,a\r\n1,b\r\n\r\n2,c", CSV, &request("id")).received, 2);
}

#[test]
fn big_integers_in_csv_become_floats() {
    let document = one("id,n:number\n1,18446744073709551615", CSV, "id");
    let value: serde_json::Value = serde_json::from_str(&document).unwrap();
    assert_eq!(value["n"].as_f64(), Some(18_446_744_073_709_551_615.0));
    assert!(value["n"].is_f64());
}

#[test]
fn a_bad_point_counts_unless_a_later_document_takes_its_place() {
    let checks = Checks { geo: true, ..Checks::default() };
    let replace = SplitRequest { checks: &checks, ..request("id") };
    let update = SplitRequest { method: Method::Update, ..replace };
    let bad = |payload: &str, request: &SplitRequest<'_>| match split(payload.as_bytes(), Format::Json, request) {
        Ok(_) => false,
        Err(SplitError::Document(DocumentError::InvalidGeo(_))) => true,
        Err(error) => panic!("{error}"),
    };
    for request in [&replace, &update] {
        assert!(bad("[{\"id\":1,\"_geo\":1}]", request));
        assert!(bad("[{\"id\":1,\"_geo\":1},{\"id\":2,\"_geo\":null}]", request));
        assert!(bad("[{\"id\":1,\"_geo\":null},{\"id\":1,\"_geo\":1}]", request));
        assert!(!bad("[{\"id\":1,\"_geo\":1},{\"id\":1,\"_geo\":null}]", request));
        assert!(!bad("[{\"id\":1,\"_geo\":3,\"\\u005fgeo\":{\"lat\":1,\"lng\":\"2\"}}]", request));
    }
    assert!(!bad("[{\"id\":1,\"_geo\":1},{\"id\":1}]", &replace));
    assert!(bad("[{\"id\":1,\"_geo\":1},{\"id\":1}]", &update));
    assert!(!bad("[{\"id\":1,\"_geo\":1}]", &request("id")));
    let error = split(b"[{\"id\":1,\"_geo\":1},{\"x\":1}]", Format::Json, &replace).unwrap_err();
    assert_eq!(error.body().code, "missing_document_id");
}

#[test]
fn memory_stays_near_the_payload() {
    let document = format!("{{\"id\":ID,\"text\":\"{}\"}}\n", "a".repeat(500));
    let payload: String = (0..20_000).map(|id| document.replace("ID", &id.to_string())).collect();
    let split = taken(&payload, Format::Ndjson, &SplitRequest { stamp: Some(1), ..request("id") });
    assert_eq!(split.unique, 20_000);
    let reserved: usize = split.shards.iter().map(Vec::capacity).sum();
    assert!(reserved < payload.len() * 3 / 2, "{reserved} for {}", payload.len());
}
