//! What a client wants to see of statistics, how documents are counted, and how sizes are written.

mod counted;

use serde_json::Value;

pub use counted::{Counted, Holders, Remembered, counted};

/// The parameters of `GET /stats` and `GET /indexes/{uid}/stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatsQuery {
    /// Sizes as text with a unit.
    pub human_sizes: bool,
    /// The sizes of an index's parts too.
    pub show_internal_sizes: bool,
}

/// The parameters are not what Meilisearch takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the parameters of statistics cannot be read")]
pub struct Unreadable;

impl StatsQuery {
    /// From the decoded parameters; of one given twice the last counts.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn from_query<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Unreadable> {
        let mut query = Self::default();
        for pair in pairs {
            match pair {
                ("sizeFormat", "human") => query.human_sizes = true,
                ("sizeFormat", "raw") => query.human_sizes = false,
                ("showInternalDatabaseSizes", flag) => {
                    query.show_internal_sizes = flag.parse().map_err(|_| Unreadable)?;
                }
                _ => return Err(Unreadable),
            }
        }
        Ok(query)
    }

    /// The size as the client wants it.
    pub fn size(&self, bytes: u64) -> Value {
        if self.human_sizes { human(bytes).into() } else { bytes.into() }
    }
}

/// In the largest binary unit that leaves at least one, with at most two decimals: `4.25 MiB`.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = if bytes == 0 { 0 } else { bytes.ilog2() / 10 };
    let unit = UNITS.get(power as usize).copied().unwrap_or("B");
    let hundredths = (bytes as f64 / f64::from(power * 10).exp2() * 100.0).round();
    format!("{} {unit}", hundredths / 100.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_written_as_one_server_writes_them() {
        let written = [
            (0, "0 B"),
            (401, "401 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (4_456_448, "4.25 MiB"),
            (7_655_424, "7.3 MiB"),
            (5_132_288, "4.89 MiB"),
            (1 << 30, "1 GiB"),
        ];
        for (bytes, text) in written {
            assert_eq!(human(bytes), text);
        }
    }

    #[test]
    fn parameters_that_are_none_are_not_read() {
        let query = StatsQuery::from_query([("sizeFormat", "human"), ("showInternalDatabaseSizes", "true")]);
        assert_eq!(query, Ok(StatsQuery { human_sizes: true, show_internal_sizes: true }));
        assert_eq!(StatsQuery::from_query([]), Ok(StatsQuery::default()));
        for pair in [("sizeFormat", "humn"), ("showInternalDatabaseSizes", "1"), ("a", "1")] {
            assert_eq!(StatsQuery::from_query([pair]), Err(Unreadable), "{pair:?}");
        }
    }

    proptest! {
        #[test]
        fn a_size_is_near_what_it_says(bytes in any::<u64>()) {
            let text = human(bytes);
            let (number, unit) = text.split_once(' ').expect("a unit");
            let power = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].iter().position(|name| *name == unit);
            let said = number.parse::<f64>().expect("a number") * 1024f64.powi(power.expect("a known unit") as i32);
            prop_assert!((said - bytes as f64).abs() <= bytes as f64 * 0.01);
        }
    }
}
