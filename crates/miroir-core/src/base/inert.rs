//! Inert text: how the fields of ours are stored so that no search finds them and no normalisation changes them.
//!
//! A number becomes a fixed count of base-8 digits, written in eight separator characters that the tokenizer never
//! turns into a word. Texts of the same width order as their numbers do. See the reserved fields' names below; nothing
//! else in Miroir knows how they are written.

use crate::base::id::ShardId;

/// Holds the shard of each stored document.
pub const SHARD_FIELD: &str = "_miroir_shard";
/// Holds when each stored document was written, while anti-entropy is enabled.
pub const UPDATED_AT_FIELD: &str = "_miroir_updated_at";
/// What the names of all fields of ours begin with.
pub const RESERVED_PREFIX: &str = "_miroir_";

/// The digits zero to seven. U+2057 is left out: it decomposes.
pub const DIGITS: [char; 8] =
    ['\u{2055}', '\u{2056}', '\u{2058}', '\u{2059}', '\u{205A}', '\u{205B}', '\u{205C}', '\u{205D}'];

/// Digits of a shard number: enough for 262,144 shards.
const SHARD_WIDTH: usize = 6;
/// Digits of a time: enough for 2^48 ms, which is the year 10889.
const MILLIS_WIDTH: usize = 16;

/// The stored form of a shard number. Texts order as shards do below 262,144 and are distinct always.
pub fn encode_shard(shard: ShardId) -> String {
    encode(u64::from(shard.0), SHARD_WIDTH)
}

/// The shard that `text` stands for; `None` when [`encode_shard`] wrote something else.
pub fn decode_shard(text: &str) -> Option<ShardId> {
    decode(text, SHARD_WIDTH).and_then(|number| u32::try_from(number).ok()).map(ShardId)
}

/// The stored form of a time in milliseconds since 1970. Texts order as times do before the year 10889 and are distinct
/// always.
pub fn encode_millis(millis: u64) -> String {
    encode(millis, MILLIS_WIDTH)
}

/// The time in milliseconds that `text` stands for; `None` when [`encode_millis`] wrote something else.
pub fn decode_millis(text: &str) -> Option<u64> {
    decode(text, MILLIS_WIDTH)
}

/// At least `width` digits; more only when the number needs them, so that no two numbers share a text.
fn encode(number: u64, width: usize) -> String {
    let needed = (u64::BITS - number.leading_zeros()).div_ceil(3) as usize;
    (0..width.max(needed)).rev().map(|place| digit(number >> (3 * place))).collect()
}

fn digit(number: u64) -> char {
    let [d0, d1, d2, d3, d4, d5, d6, d7] = DIGITS;
    match number & 7 {
        0 => d0,
        1 => d1,
        2 => d2,
        3 => d3,
        4 => d4,
        5 => d5,
        6 => d6,
        _ => d7,
    }
}

fn decode(text: &str, width: usize) -> Option<u64> {
    let mut number = 0u64;
    let mut digits = 0;
    for character in text.chars() {
        let digit = DIGITS.iter().position(|&known| known == character)? as u64;
        number = number.checked_mul(8)?.checked_add(digit)?;
        digits += 1;
    }
    // Only what `encode` writes: a longer text must have needed its first digit.
    (digits == width || (digits > width && !text.starts_with(DIGITS[0]))).then_some(number)
}

/// Whether `text` holds a character that inert text is made of. Settings that would make such a character part of words
/// (`separatorTokens`, `nonSeparatorTokens`, `dictionary`) are refused.
pub fn contains_inert(text: &str) -> bool {
    text.contains(DIGITS)
}

/// Whether a raw JSON value is a string that begins with inert text.
pub(crate) fn starts_inert(raw: &[u8]) -> bool {
    // All digits share their first two bytes, and their third lies between those of the first and the last digit.
    matches!(raw, [b'"', 0xE2, 0x81, 0x95..=0x9D, ..])
}

/// The filter that selects the documents of these shards: `_miroir_shard IN ["..", ..]`. Without shards it selects
/// nothing.
pub fn shard_filter(shards: &[ShardId]) -> String {
    let mut filter = format!("{SHARD_FIELD} IN [");
    for (index, &shard) in shards.iter().enumerate() {
        filter.push_str(if index == 0 { "\"" } else { ", \"" });
        filter.push_str(&encode_shard(shard));
        filter.push('"');
    }
    filter.push(']');
    filter
}

/// The stamp of a write: the clock, unless it did not advance since the previous stamp of this instance. Stamps are
/// strictly increasing. All in milliseconds since 1970.
pub fn next_stamp(clock: u64, previous: u64) -> u64 {
    clock.max(previous.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_stand_for_their_numbers(number: u64, shard: u32) {
            prop_assert_eq!(decode_millis(&encode_millis(number)), Some(number));
            prop_assert_eq!(decode_shard(&encode_shard(ShardId(shard))), Some(ShardId(shard)));
        }

        #[test]
        fn texts_order_as_their_numbers_do(a in 0..1u64 << 48, b in 0..1u64 << 48, c in 0..1u32 << 18, d in 0..1u32 << 18) {
            prop_assert_eq!(encode_millis(a).cmp(&encode_millis(b)), a.cmp(&b));
            prop_assert_eq!(encode_shard(ShardId(c)).cmp(&encode_shard(ShardId(d))), c.cmp(&d));
        }

        #[test]
        fn what_decodes_was_encoded(text in "[\u{2055}-\u{205D}]{5,24}") {
            if let Some(number) = decode_millis(&text) {
                prop_assert_eq!(encode_millis(number), text.clone());
            }
            if let Some(shard) = decode_shard(&text) {
                prop_assert_eq!(encode_shard(shard), text);
            }
        }

        #[test]
        fn stamps_increase_strictly(clocks in prop::collection::vec(0..100u64, 1..20)) {
            let mut previous = 50;
            for clock in clocks {
                let stamp = next_stamp(clock, previous);
                prop_assert!(stamp > previous && stamp >= clock);
                previous = stamp;
            }
        }
    }

    #[test]
    fn widths_are_fixed() {
        for number in [0, 1, 7, 8, 65_535, (1 << 18) - 1] {
            assert_eq!(encode_shard(ShardId(number)).chars().count(), 6);
            assert_eq!(encode_millis(u64::from(number)).chars().count(), 16);
        }
        assert_eq!(encode_shard(ShardId(8)), "\u{2055}\u{2055}\u{2055}\u{2055}\u{2056}\u{2055}");
        assert_eq!(decode_shard(""), None);
        assert_eq!(decode_shard("000012"), None);
    }

    #[test]
    fn a_filter_names_each_shard() {
        let (two, seven) = (encode_shard(ShardId(2)), encode_shard(ShardId(7)));
        assert_eq!(shard_filter(&[ShardId(2), ShardId(7)]), format!("_miroir_shard IN [\"{two}\", \"{seven}\"]"));
        assert_eq!(shard_filter(&[]), "_miroir_shard IN []");
    }

    #[test]
    fn inert_characters_are_recognised() {
        assert!(contains_inert("a\u{2058}b"));
        assert!(!contains_inert("a\u{2057}b, ‧"));
    }
}
