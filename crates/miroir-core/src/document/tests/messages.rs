//! Codes and messages are those that a Meilisearch 1.50 server gives for the same request.

use super::*;

fn refusal(payload: impl AsRef<[u8]>, format: Format, request: &SplitRequest<'_>) -> (bool, String, String) {
    let payload = payload.as_ref();
    let error = split(payload, format, request).expect_err(&String::from_utf8_lossy(payload));
    let body = error.body();
    (matches!(error, SplitError::Document(_)), body.code, body.message)
}

fn refused_at_once(payload: impl AsRef<[u8]>, format: Format, code: &str, message: &str) {
    let shown = String::from_utf8_lossy(payload.as_ref()).into_owned();
    assert_eq!(refusal(payload, format, &request("id")), (false, code.into(), message.into()), "{shown}");
}

fn malformed_json(payload: impl AsRef<[u8]>, reason: &str) {
    let message = format!("The `json` payload provided is malformed. `Couldn't serialize document value: {reason}`.");
    refused_at_once(payload, Format::Json, "malformed_payload", &message);
}

fn malformed_ndjson(payload: impl AsRef<[u8]>, reason: &str) {
    let message = format!("The `ndjson` payload provided is malformed. `Couldn't serialize document value: {reason}`.");
    refused_at_once(payload, Format::Ndjson, "malformed_payload", &message);
}

fn malformed_csv(payload: impl AsRef<[u8]>, reason: &str) {
    let message = format!("The `csv` payload provided is malformed: `{reason}`.");
    refused_at_once(payload, CSV, "malformed_payload", &message);
}

fn fails_in_task(payload: &str, format: Format, request: &SplitRequest<'_>, code: &str, message: &str) {
    assert_eq!(refusal(payload, format, request), (true, code.into(), message.into()), "{payload}");
}

#[test]
fn an_empty_payload_is_missing() {
    for format in [Format::Json, Format::Ndjson, CSV] {
        refused_at_once("", format, "missing_payload", &format!("A {format} payload is missing."));
        assert_eq!(infer_primary_key(b"", format), Err(PayloadError::Missing(format).into()));
    }
}

#[test]
fn malformed_json_says_why_and_where() {
    for (payload, reason) in [
        ("  ", "EOF while parsing a value at line 1 column 2"),
        ("[", "EOF while parsing a list at line 1 column 1"),
        ("\"a\"", "data are neither an object nor a list of objects"),
        ("1", "data are neither an object nor a list of objects"),
        ("{\"id\":1} trailing", "trailing characters at line 1 column 10"),
        ("[{\"id\":1}", "EOF while parsing a list at line 1 column 9"),
        ("[{\"id\":1},]", "trailing comma at line 1 column 11"),
        ("[{\"id\":1}x", "expected `,` or `]` at line 1 column 10"),
        ("{\"id\":1", "EOF while parsing an object at line 1 column 7"),
        ("{\"id\":1,\"a\":1e999}", "number out of range at line 1 column 17"),
        ("{\"id\":1,\"a\":\"\\ud800\"}", "unexpected end of hex escape at line 1 column 20"),
        ("[{\"id\":\"a\nb\"}]", "control character (\\u0000-\\u001F) found while parsing a string at line 1 column 9"),
        ("\u{feff}[{\"id\":1}]", "expected value at line 1 column 1"),
        ("[{\"id\":1,\"\\ud800\":1}]", "unexpected end of hex escape at line 1 column 16"),
        ("[{\"id\":1,\"a\":\"\\u12\"}]", "invalid escape at line 1 column 20"),
    ] {
        malformed_json(payload, reason);
    }
    malformed_ndjson("{\"id\":1} x", "expected value at line 1 column 10");
    malformed_ndjson("{\"id\":1}\n{\"id\":2", "EOF while parsing an object at line 2 column 7");
    malformed_ndjson("{\"id\":1},{\"id\":2}", "expected value at line 1 column 9");
    malformed_ndjson("{\"id\":1,\"\\ud800\":1}", "unexpected end of hex escape at line 1 column 16");
    malformed_ndjson(b"{\"id\":1}\n\xff", "expected value at line 2 column 1");
}

#[test]
fn text_that_is_not_utf_8_is_malformed() {
    for (payload, format) in
        [(&b"[{\"id\":1,\"a\":\"\xff\"}]"[..], Format::Json), (b"{\"id\":1,\"\xff\":1}", Format::Ndjson)]
    {
        let (in_task, code, message) = refusal(payload, format, &request("id"));
        assert_eq!((in_task, code.as_str()), (false, "malformed_payload"));
        assert!(message.contains("invalid unicode code point at line 1 column "), "{message}");
    }
}

#[test]
fn other_values_than_objects_are_an_internal_error() {
    for (payload, format, message) in [
        ("[1]", Format::Json, "invalid type: integer `1`, expected a map at line 1 column 1"),
        ("[{\"id\":1},2]", Format::Json, "invalid type: integer `2`, expected a map at line 1 column 1"),
        ("[[{\"id\":1}]]", Format::Json, "invalid type: sequence, expected a map at line 1 column 0"),
        ("[]", Format::Ndjson, "invalid type: sequence, expected a map at line 1 column 0"),
        ("{\"id\":1}\n[1]", Format::Ndjson, "invalid type: sequence, expected a map at line 1 column 0"),
        ("1", Format::Ndjson, "invalid type: integer `1`, expected a map at line 1 column 1"),
    ] {
        refused_at_once(payload, format, "internal", message);
    }
}

#[test]
fn malformed_csv_says_why_and_where() {
    malformed_csv(
        "id,name\n1\n",
        "CSV error: record 1 (line: 2, byte: 8): found record with 1 fields, but the previous record has 2 fields",
    );
    malformed_csv("id,n:number\n1,abc", "Error parsing number \"abc\" at line 1: invalid float literal");
    malformed_csv(
        "id,n:boolean\n1,yes",
        "Error parsing boolean \"yes\" at line 1: provided string was not `true` or `false`",
    );
    malformed_csv(
        b"id,a\n1,\xff",
        "CSV parse error: record 1 (line 2, field: 1, byte: 5): invalid utf-8: invalid UTF-8 in field 1 near byte index 0",
    );
}

#[test]
fn a_malformed_payload_is_refused_whatever_else_is_wrong_with_it() {
    malformed_json("[{\"x\":1},{\"id\":1}", "EOF while parsing a list at line 1 column 17");
    malformed_json("[{\"_miroir_shard\":1},", "EOF while parsing a value at line 1 column 21");
    malformed_csv("id,n:number\na b,1\n1,x", "Error parsing number \"x\" at line 2: invalid float literal");
    let error = infer_primary_key(b"[{\"x\":1},", Format::Json).unwrap_err();
    assert_eq!(error.body().code, "malformed_payload");
}

#[test]
fn a_document_without_a_usable_id_fails_the_task() {
    let invalid = |id: &str| {
        format!(
            "Document identifier `{id}` is invalid. A document identifier can be of type integer or string, only composed of alphanumeric characters (a-z A-Z 0-9), hyphens (-) and underscores (_), and can not be more than 511 bytes."
        )
    };
    let id = request("id");
    for (payload, shown) in
        [("[{\"id\":1.0}]", "1.0"), ("[{\"id\":1e2}]", "100.0"), ("[{\"id\":{\"a\":1}}]", "{\"a\":1}")]
    {
        fails_in_task(payload, Format::Json, &id, "invalid_document_id", &invalid(shown));
    }
    fails_in_task("id,a\n,x", CSV, &id, "invalid_document_id", &invalid("null"));
    fails_in_task("id:number\n1.5", CSV, &id, "invalid_document_id", &invalid("1.5"));
    for (payload, format, key, shown) in [
        ("{}", Format::Json, "id", "{}"),
        ("[{}]", Format::Json, "id", "{}"),
        (
            "[{\"id\":1},{\"x\":\"é\\u00e9\",\"y\":1.0,\"z\":[1, 2]}]",
            Format::Json,
            "id",
            "{\"x\":\"éé\",\"y\":1.0,\"z\":[1,2]}",
        ),
        ("id;a\n1;2", CSV, "id", "{\"id;a\":\"1;2\"}"),
        ("[{\"\":1}]", Format::Json, "", "{\"\":1}"),
        ("[{\"a\":1}]", Format::Json, "a.b", "{\"a\":1}"),
        ("[{\"a\":[{\"b\":1}]}]", Format::Json, "a.b", "{\"a\":[{\"b\":1}]}"),
    ] {
        let message = format!("Document doesn't have a `{key}` attribute: `{shown}`.");
        fails_in_task(payload, format, &request(key), "missing_document_id", &message);
    }
    for (payload, format, key, shown) in [
        ("{\"id\":1,\"id\":2}", Format::Ndjson, "id", "{\"id\":2}"),
        ("[{\"a.b\":1,\"a\":{\"b\":2}}]", Format::Json, "a.b", "{\"a.b\":1,\"a\":{\"b\":2}}"),
        ("[{\"a\":{\"b\":1,\"b\":2}}]", Format::Json, "a.b", "{\"a\":{\"b\":2}}"),
        ("{\"a\":{\"b\":1},\"a\":{\"b\":2}}", Format::Ndjson, "a.b", "{\"a\":{\"b\":2}}"),
    ] {
        let message = format!("Document have too many matching `{key}` attribute: `{shown}`.");
        fails_in_task(payload, format, &request(key), "invalid_document_id", &message);
    }
}

#[test]
fn what_only_indexing_cannot_read_fails_the_task() {
    let deep = format!("[{{\"id\":1,\"a\":{}{}}}]", "[".repeat(128), "]".repeat(128));
    for (payload, format, message) in [
        ("[{\"id\":1,\"a\":\"\\ud800\"}]", Format::Json, "internal: unexpected end of hex escape at line 1 column 8."),
        ("{\"id\":1,\"a\":1e999}", Format::Ndjson, "internal: number out of range at line 1 column 5."),
        (&deep, Format::Json, "internal: recursion limit exceeded at line 1 column 128."),
    ] {
        fails_in_task(payload, format, &request("id"), "internal", message);
    }
    let SplitError::Document(error) = split(deep.as_bytes(), Format::Json, &request("id")).unwrap_err() else {
        panic!("not a fault of a document");
    };
    assert_eq!(error.task_body("p52").message, "Index `p52`: internal: recursion limit exceeded at line 1 column 128.");
}

#[test]
fn documents_may_nest_as_deep_as_on_one_server() {
    let nested = |depth: usize| format!("{{\"id\":1,\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(split(format!("[{}]", nested(127)).as_bytes(), Format::Json, &request("id")).is_ok());
    assert!(split(nested(126).as_bytes(), Format::Json, &request("id")).is_ok());
    let reason = format!("recursion limit exceeded at line 1 column {}", 12 + 127);
    malformed_json(nested(127), &reason);
}

#[test]
fn long_reasons_and_documents_are_shortened() {
    let reason = PayloadError::Malformed { format: Format::Json, reason: "é".repeat(500) }.to_string();
    assert!(reason.len() < 300 && reason.contains("..."));
    let long = format!("[{{\"x\":\"{}\"}}]", "é".repeat(100_000));
    let message = refusal(&long, Format::Json, &request("id")).2;
    assert!(message.len() < 17_000 && message.ends_with("...`."));
}

#[test]
fn reserved_fields_are_refused() {
    let strict = SplitRequest { reserved: ReservedFields { updated_at: true }, ..request("id") };
    for (payload, format) in [
        ("[{\"id\":1,\"_miroir_shard\":1}]", Format::Json),
        ("{\"id\":1}{\"\\u005fmiroir_shard\":null,\"id\":2}", Format::Ndjson),
        ("id,_miroir_shard\n1,", CSV),
        ("id,_miroir_shard:number\n1,5", CSV),
    ] {
        let (in_task, code, message) = refusal(payload, format, &request("id"));
        assert_eq!((in_task, code.as_str()), (false, "miroir_reserved_field"), "{payload}");
        assert!(message.contains("`_miroir_shard`"), "{message}");
    }
    let stamped = "[{\"id\":1,\"_miroir_updated_at\":5,\"_miroir_expires_at\":6,\"x\":{\"_miroir_shard\":1}}]";
    assert!(split(stamped.as_bytes(), Format::Json, &request("id")).is_ok());
    assert_eq!(refusal(stamped, Format::Json, &strict).1, "miroir_reserved_field");
}

#[test]
fn the_primary_key_is_inferred_as_one_server_infers_it() {
    let inferred = |payload: &str, format| infer_primary_key(payload.as_bytes(), format).map_err(|e| e.body());
    for (payload, format, key) in [
        ("[{\"PAID\":1}]", Format::Json, Some("PAID")),
        ("[{\"xid\":1},{\"id\":3}]", Format::Json, Some("xid")),
        ("[{\"id\":1,\"id\":2}]", Format::Json, Some("id")),
        ("{\"a\":{\"id\":1},\"\\u0069d\":2}", Format::Json, Some("id")),
        (" [ ]", Format::Json, None),
        ("\n", Format::Ndjson, None),
        ("{\"uid\":1} {}", Format::Ndjson, Some("uid")),
        ("id:number,x\n1,2", CSV, Some("id")),
        ("id,x", CSV, None),
    ] {
        assert_eq!(inferred(payload, format), Ok(key.map(String::from)), "{payload}");
    }
    for (payload, format) in [("[{\"x\":1,\"o\":{\"id\":2}}]", Format::Json), ("{}", Format::Ndjson), ("a,b\n1,2", CSV)]
    {
        let body = inferred(payload, format).unwrap_err();
        assert_eq!(body.code, "index_primary_key_no_candidate_found", "{payload}");
        assert_eq!(
            body.message,
            "The primary key inference failed as the engine did not find any field ending with `id` in its name. Please specify the primary key manually using the `primaryKey` query parameter."
        );
    }
    let body = inferred("[{\"uid\":2,\"paid\":3,\"id\":1}]", Format::Json).unwrap_err();
    assert_eq!(body.code, "index_primary_key_multiple_candidates_found");
    assert_eq!(
        body.message,
        "The primary key inference failed as the engine found 3 fields ending with `id` in their names: 'id' and 'paid'. Please specify the primary key manually using the `primaryKey` query parameter."
    );
}
