//! How many documents a payload has, valid or not.

use serde::de::IgnoredAny;

use super::split::Format;

/// The documents in a payload that [`split`](super::split()) found well-formed but did not take.
pub fn count(payload: &[u8], format: Format) -> u64 {
    let found = match format {
        Format::Json => match crate::base::json::elements(payload) {
            Ok(elements) => elements.take_while(Result::is_ok).count(),
            Err(_) => 1,
        },
        Format::Ndjson => {
            serde_json::Deserializer::from_slice(payload).into_iter::<IgnoredAny>().take_while(Result::is_ok).count()
        }
        Format::Csv { delimiter } => csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .from_reader(payload)
            .byte_records()
            .take_while(Result::is_ok)
            .count(),
    };
    found as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_counted_in_every_format() {
        assert_eq!(count(br#"[{"id":1},{"id":true}]"#, Format::Json), 2);
        assert_eq!(count(br#"{"id":1}"#, Format::Json), 1);
        assert_eq!(count(b"[]", Format::Json), 0);
        assert_eq!(count(b"{\"id\":1}\n{}\n", Format::Ndjson), 2);
        assert_eq!(count(b"id,name\n1,a\n2,b\n", Format::Csv { delimiter: b',' }), 2);
    }
}
