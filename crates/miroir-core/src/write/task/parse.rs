//! The parameters that choose tasks, as Meilisearch reads them: comma lists, `*` for no filter, names in any case; of
//! parameters given twice the last counts, and the first that cannot be read is complained about.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime};

use super::TaskQuery;
use crate::base::error::{Code, ErrorBody};
use crate::base::id::TaskUid;

const PAGE: [&str; 3] = ["limit", "from", "reverse"];
/// The filters in the order in which refusals name them; of the first two, listings name the other first.
const FILTERS: [&str; 12] = [
    "uids",
    "batchUids",
    "canceledBy",
    "types",
    "statuses",
    "indexUids",
    "afterEnqueuedAt",
    "beforeEnqueuedAt",
    "afterStartedAt",
    "beforeStartedAt",
    "afterFinishedAt",
    "beforeFinishedAt",
];

fn of_listings() -> Vec<&'static str> {
    let mut filters = FILTERS;
    filters.swap(0, 1);
    PAGE.into_iter().chain(filters).collect()
}

impl TaskQuery {
    /// The parameters of `GET /tasks` and `GET /batches`.
    ///
    /// # Errors
    /// Meilisearch's refusal of the first parameter that is wrong.
    pub fn of_listing<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ErrorBody> {
        let mut query = Self::default();
        for (name, value) in pairs {
            match name {
                "limit" => query.limit = number::<u32>(name, value, Code::InvalidTaskLimit)? as usize,
                "from" => query.from = Some(uid(name, value, Code::InvalidTaskFrom)?),
                "reverse" => query.reverse = boolean(name, value, Code::InvalidTaskReverse)?,
                _ => query.filter(name, value, of_listings)?,
            }
        }
        Ok(query)
    }

    /// The parameters of `POST /tasks/cancel` and `DELETE /tasks`; `None`: there are none, which these do not take.
    ///
    /// # Errors
    /// As [`TaskQuery::of_listing`].
    pub fn of_selection<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Option<Self>, ErrorBody> {
        let mut query = None;
        for (name, value) in pairs {
            query.get_or_insert_with(Self::default).filter(name, value, || FILTERS.into())?;
        }
        Ok(query)
    }

    fn filter(&mut self, name: &str, value: &str, known: impl Fn() -> Vec<&'static str>) -> Result<(), ErrorBody> {
        match name {
            "uids" => self.uids = set(name, value, Code::InvalidTaskUids, uid)?,
            "batchUids" => self.batch_uids = set(name, value, Code::InvalidBatchUids, uid)?,
            "canceledBy" => self.canceled_by = set(name, value, Code::InvalidTaskCanceledBy, uid)?,
            "statuses" => self.statuses = set(name, value, Code::InvalidTaskStatuses, named)?,
            "types" => self.kinds = set(name, value, Code::InvalidTaskTypes, named)?,
            "indexUids" => self.index_uids = set(name, value, Code::InvalidIndexUid, named)?,
            "beforeEnqueuedAt" => self.enqueued.before = date(name, value, Code::InvalidTaskBeforeEnqueuedAt)?,
            "afterEnqueuedAt" => self.enqueued.after = date(name, value, Code::InvalidTaskAfterEnqueuedAt)?,
            "beforeStartedAt" => self.started.before = date(name, value, Code::InvalidTaskBeforeStartedAt)?,
            "afterStartedAt" => self.started.after = date(name, value, Code::InvalidTaskAfterStartedAt)?,
            "beforeFinishedAt" => self.finished.before = date(name, value, Code::InvalidTaskBeforeFinishedAt)?,
            "afterFinishedAt" => self.finished.after = date(name, value, Code::InvalidTaskAfterFinishedAt)?,
            unknown => {
                let known: Vec<String> = known().iter().map(|name| format!("`{name}`")).collect();
                let message = format!("Unknown parameter `{unknown}`: expected one of {}", known.join(", "));
                return Err(ErrorBody::new(Code::BadRequest, message));
            }
        }
        Ok(())
    }
}

fn invalid(name: &str, code: Code, why: impl Display) -> ErrorBody {
    ErrorBody::new(code, format!("Invalid value in parameter `{name}`: {why}"))
}

fn number<T: FromStr>(name: &str, value: &str, code: Code) -> Result<T, ErrorBody> {
    value.parse().map_err(|_| invalid(name, code, format!("could not parse `{value}` as a positive integer")))
}

/// Clients know numbers of 32 bits.
fn uid(name: &str, value: &str, code: Code) -> Result<TaskUid, ErrorBody> {
    number::<u32>(name, value, code).map(|number| TaskUid(number.into()))
}

fn boolean(name: &str, value: &str, code: Code) -> Result<bool, ErrorBody> {
    let why = || format!("could not parse `{value}` as a boolean, expected either `true` or `false`");
    value.parse().map_err(|_| invalid(name, code, why()))
}

fn named<T: FromStr<Err: Display>>(name: &str, value: &str, code: Code) -> Result<T, ErrorBody> {
    value.parse().map_err(|error| invalid(name, code, error))
}

/// A comma list; `*` anywhere in it is no filter. What is empty between commas is not there.
fn set<T: Ord>(
    name: &str,
    value: &str,
    code: Code,
    parse: impl Fn(&str, &str, Code) -> Result<T, ErrorBody>,
) -> Result<Option<BTreeSet<T>>, ErrorBody> {
    let parts: Vec<&str> = value.split(',').filter(|part| !part.is_empty()).collect();
    let mut found = BTreeSet::new();
    let mut everything = false;
    for (position, part) in parts.iter().enumerate() {
        if *part == "*" {
            everything = true;
            continue;
        }
        let place = if parts.len() == 1 { name.to_owned() } else { format!("{name}[{position}]") };
        found.insert(parse(&place, part, code)?);
    }
    Ok((!everything).then_some(found))
}

/// RFC 3339, or a bare date: then `after` means after that day. `*`: no bound.
fn date(name: &str, value: &str, code: Code) -> Result<Option<OffsetDateTime>, ErrorBody> {
    if value == "*" {
        return Ok(None);
    }
    if let Ok(at) = OffsetDateTime::parse(value, &Rfc3339) {
        return Ok(Some(at));
    }
    let why =
        || format!("`{value}` is an invalid date-time. It should follow the YYYY-MM-DD or RFC 3339 date-time format.");
    let day =
        Date::parse(value, format_description!("[year]-[month]-[day]")).map_err(|_| invalid(name, code, why()))?;
    let day = if name.starts_with("after") { day.checked_add(Duration::DAY).unwrap_or(day) } else { day };
    let start = day.midnight().assume_utc();
    // Bounds are left out of a range: the first moment of the next day is not.
    let nanosecond = Duration::nanoseconds(1);
    Ok(Some(if name.starts_with("after") { start.checked_sub(nanosecond).unwrap_or(start) } else { start }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::task::TaskStatus;

    fn listing(pairs: &[(&str, &str)]) -> Result<TaskQuery, (String, String)> {
        TaskQuery::of_listing(pairs.iter().copied()).map_err(|error| (error.code, error.message))
    }

    #[test]
    fn stars_and_empty_lists_are_opposites() {
        for star in ["*", "1,*", "*,2"] {
            assert_eq!(listing(&[("uids", star)]).map(|query| query.uids), Ok(None), "{star}");
        }
        assert_eq!(listing(&[("uids", "")]).map(|query| query.uids), Ok(Some(BTreeSet::new())));
        assert_eq!(listing(&[("uids", "1,")]).map(|query| query.uids), Ok(Some([TaskUid(1)].into())));
    }

    #[test]
    fn the_last_of_a_parameter_counts_and_names_have_any_case() {
        let query = listing(&[("limit", "1"), ("limit", "2"), ("statuses", "FAILED")]).expect("valid");
        assert_eq!((query.limit, query.statuses), (2, Some([TaskStatus::Failed].into())));
    }

    #[test]
    fn refusals_say_where_and_what() {
        let cases = [
            (
                "uids",
                "1,x",
                "invalid_task_uids",
                "Invalid value in parameter `uids[1]`: could not parse `x` as a positive integer",
            ),
            (
                "from",
                "4294967296",
                "invalid_task_from",
                "Invalid value in parameter `from`: could not parse `4294967296` as a positive integer",
            ),
            (
                "reverse",
                "1",
                "invalid_task_reverse",
                "Invalid value in parameter `reverse`: could not parse `1` as a boolean, expected either `true` or `false`",
            ),
            (
                "beforeFinishedAt",
                "2021",
                "invalid_task_before_finished_at",
                "Invalid value in parameter `beforeFinishedAt`: `2021` is an invalid date-time. It should follow the YYYY-MM-DD or RFC 3339 date-time format.",
            ),
        ];
        for (name, value, code, message) in cases {
            assert_eq!(listing(&[(name, value)]), Err((code.to_owned(), message.to_owned())));
        }
        let unknown = TaskQuery::of_selection([("limit", "2")]).expect_err("unknown");
        assert!(unknown.message.starts_with("Unknown parameter `limit`: expected one of `uids`, `batchUids`,"));
        assert_eq!(TaskQuery::of_selection([]).expect("empty"), None);
    }

    #[test]
    fn after_a_day_is_after_its_end() {
        let query = listing(&[("afterEnqueuedAt", "2026-11-20"), ("beforeEnqueuedAt", "*")]).expect("valid");
        let at = |text| OffsetDateTime::parse(text, &Rfc3339).ok();
        assert!(!query.enqueued.contains(at("2026-11-20T23:59:59Z")));
        assert!(query.enqueued.contains(at("2026-11-21T00:00:00Z")));
        assert_eq!(query.enqueued.before, None);
    }
}
