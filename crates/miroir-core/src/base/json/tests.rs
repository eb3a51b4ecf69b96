use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

use super::*;

/// What `serde_json` says of the first value in `text`: its length, or nothing. Values deeper than it can read are no
/// concern of these tests, which stay below its limit.
fn oracle(text: &[u8]) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
    // A number or name at the end of a stream needs a delimiter behind it; the oracle for its end is the raw value.
    match values.next() {
        Some(Ok(_)) => Some(values.byte_offset()),
        _ => {
            let range = value_range(text, 0).ok()?;
            serde_json::from_slice::<Value>(text.get(..range.end)?).ok().map(|_| range.end)
        }
    }
}

fn agrees(text: &[u8]) {
    let Ok(utf8) = std::str::from_utf8(text) else {
        return;
    };
    let ours = value_range(text, 0).ok();
    assert_eq!(ours.as_ref().map(|range| range.end), oracle(text), "{utf8:?}");
    if let Some(range) = ours {
        let raw: &RawValue = serde_json::from_slice(&text[..range.end]).unwrap();
        assert_eq!(raw.get().as_bytes(), &text[range], "{utf8:?}");
    }
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z\"\\\\\\x00-\\x1fé]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec(("[a-c\"é\\n]{0,3}", inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = serde_json::Map<String, Value>> {
    prop::collection::vec(("[a-d\"\\\\é]{0,2}", json()), 0..8).prop_map(|members| members.into_iter().collect())
}

proptest! {
    #[test]
    fn any_text_is_judged_as_serde_json_judges_it(text in "[\\[\\]{},:\"\\\\ \n\tutrefalsn0-9.eE+\\-dD]{0,24}") {
        agrees(text.as_bytes());
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..64), pos in 0..70usize) {
        agrees(&bytes);
        let _ = value_range(&bytes, pos);
        let _ = members(&bytes).map(Iterator::count);
        let _ = elements(&bytes).map(Iterator::count);
        let _ = unquote(&bytes);
    }

    #[test]
    fn valid_json_is_accepted_and_stays_so_judged_after_a_mutation(
        value in json(), pretty: bool, at: prop::sample::Index, byte in any::<u8>(), how in 0..3,
    ) {
        let mut text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        prop_assert_eq!(value_range(&text, 0), Ok(0..text.len()));
        let at = at.index(text.len());
        match how {
            0 => text[at] = byte,
            1 => _ = text.remove(at),
            _ => text.insert(at, byte),
        }
        agrees(&text);
    }

    #[test]
    fn members_are_those_of_the_object(object in object(), pretty: bool) {
        let text = if pretty { serde_json::to_vec_pretty(&object) } else { serde_json::to_vec(&object) }.unwrap();
        let whole = &text;
        let found: Vec<_> = members(whole).unwrap().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(found.len(), object.len());
        for (member, (key, value)) in found.iter().zip(&object) {
            let text = member.key_text();
            prop_assert_eq!(text.as_ref(), key.as_str());
            prop_assert!(member.key_is(key));
            prop_assert_eq!(&serde_json::from_slice::<Value>(member.value).unwrap(), value);
            prop_assert!(whole[member.span.clone()].ends_with(member.value));
            prop_assert_eq!(get(whole, key).unwrap(), Some(member.value));
        }
    }

    #[test]
    fn copy_without_drops_what_it_is_told(object in object(), pretty: bool, mask in any::<u8>()) {
        let text = if pretty { serde_json::to_vec_pretty(&object) } else { serde_json::to_vec(&object) }.unwrap();
        let mut out = b"before".to_vec();
        let mut index = 0;
        let dropped = copy_without(&text, &mut out, |_| { index += 1; mask >> (index - 1) & 1 == 1 }).unwrap();
        let kept: serde_json::Map<_, _> =
            object.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 0).map(|(_, (k, v))| (k.clone(), v.clone())).collect();
        prop_assert_eq!(&out[..6], b"before");
        prop_assert_eq!(&serde_json::from_slice::<serde_json::Map<_, _>>(&out[6..]).unwrap(), &kept);
        prop_assert_eq!(dropped, kept.len() < object.len());
        if !dropped {
            prop_assert_eq!(&out[6..], &text[..]);
        }
    }

    #[test]
    fn quoting_and_unquoting_are_inverse(text in any::<String>()) {
        let mut quoted = Vec::new();
        quote_into(&text, &mut quoted);
        prop_assert_eq!(&serde_json::from_slice::<String>(&quoted).unwrap(), &text);
        let unquoted = unquote(&quoted);
        prop_assert_eq!(unquoted.as_deref(), Some(text.as_str()));
    }

    #[test]
    fn escapes_read_as_serde_json_reads_them(units in prop::collection::vec(any::<u16>(), 0..6)) {
        let text: String = units.iter().map(|unit| format!("\\u{unit:04X}")).collect();
        let text = format!("\"{text}\"");
        prop_assert_eq!(unquote(text.as_bytes()).map(|t| t.into_owned()), serde_json::from_str::<String>(&text).ok());
    }
}

#[test]
fn strings_end_at_any_alignment() {
    for length in 0..40 {
        for end in ["\"", "\\n\"", "\u{1}\"", "é\"", "\u{7f}\"", ""] {
            agrees(format!("\"{}{end}", "a".repeat(length)).as_bytes());
        }
    }
}

#[test]
fn numbers_are_judged_as_serde_json_judges_them() {
    for number in
        ["0", "-0", "01", "-", "1.", ".1", "1e", "1e+", "1E-7", "1e308", "1e309", "-1e999", "0e999", "+1", "1.5e3x"]
    {
        agrees(number.as_bytes());
        agrees(format!("[{number}]").as_bytes());
    }
    for length in [300, 308, 309, 310, 400] {
        agrees("9".repeat(length).as_bytes());
        agrees(format!("0.{}", "9".repeat(length)).as_bytes());
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    assert!(value_range(&nested(MAX_DEPTH), 0).is_ok());
    assert!(value_range(&nested(MAX_DEPTH + 1), 0).is_err());
    assert!(value_range(&[b'['; 1_000_000], 0).is_err());
    let mixed = format!("{}1{}", "{\"a\":[".repeat(128), "]}".repeat(128));
    assert!(value_range(mixed.as_bytes(), 0).is_ok());
    assert!(value_range(mixed.replacen("]}", "}]", 1).as_bytes(), 0).is_err());
}

#[test]
fn what_follows_an_object_or_array_is_refused() {
    assert!(members(b"{} x").unwrap().any(|member| member.is_err()));
    assert!(elements(b"[1] x").unwrap().any(|element| element.is_err()));
    assert_eq!(
        elements(b" [1, {\"a\":2} ] ").unwrap().collect::<Result<Vec<_>, _>>(),
        Ok(vec![&b"1"[..], b"{\"a\":2}"])
    );
    assert!(members(b"[]").is_err());
    assert!(elements(b"{}").is_err());
}

#[test]
fn the_last_of_duplicate_members_wins() {
    assert_eq!(get(br#"{"a":1,"\u0061":2,"b":3}"#, "a"), Ok(Some(&b"2"[..])));
    assert_eq!(get(br#"{"b":3}"#, "a"), Ok(None));
    assert!(get(br#"{"a":1,"b":}"#, "a").is_err());
}

#[test]
fn copy_without_leaves_nothing_behind_on_an_error() {
    let mut out = b"x".to_vec();
    assert!(copy_without(b"{\"a\":1,\"b\":2,}", &mut out, |member| member.key_is("a")).is_err());
    assert_eq!(out, b"x");
    copy_without(b"{ \"a\": 1, \"b\": [ 2 ] , \"c\":3 }", &mut out, |member| member.key_is("b")).unwrap();
    assert_eq!(out, b"x{ \"a\": 1 , \"c\":3 }");
}
