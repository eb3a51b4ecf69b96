//! What is refused of a client's filter before any node sees it.
//!
//! Invariant: every route that takes a filter passes here. To clients the fields of ours do not exist, and no filter keeps a
//! node busy out of proportion: see [`Reads::check_filter`].

use miroir_core::base::error::{Code, ErrorBody};
use miroir_core::read::filter::{FilterFindings, seen};
use miroir_core::settings::features::Feature;

use crate::{Error, Reads};

impl Reads {
    /// Looks at a client's raw filter; `code` is that of a filter which this route refuses.
    ///
    /// # Errors
    /// Why it is refused: [`Refused`].
    pub(crate) fn check_filter(&self, filter: Option<&[u8]>, code: Code) -> Result<FilterFindings, Refused> {
        let Some(filter) = filter else { return Ok(FilterFindings::default()) };
        let seen = seen(filter);
        let most = self.state.config.scatter.max_filter_values.get();
        if seen.values > most {
            let message = format!(
                "The filter compares with {} values, and may compare with {most} (`scatter.max_filter_values`). Ask for documents by their `ids`, or in several requests.",
                seen.values
            );
            return Err(Refused::TooLong(ErrorBody::new(Code::MiroirFilterTooLong, message)));
        }
        match seen.ours {
            Some(field) => {
                Err(Refused::NotFilterable(ErrorBody::new(code, format!("Attribute `{field}` is not filterable."))))
            }
            None => Ok(seen),
        }
    }
}

impl Reads {
    /// Looks at the filter of a change, in which no condition on another index may stand. Returns what the change's task
    /// fails with, if it has to fail.
    ///
    /// # Errors
    /// Why the change has no task.
    pub(crate) fn check_filter_of_change(&self, filter: Option<&[u8]>) -> Result<Option<ErrorBody>, Error> {
        match self.check_filter(filter, Code::InvalidDocumentFilter) {
            // Where the feature is off, a node refuses it in its own words.
            Ok(seen) if seen.joins && self.state.features().has(Feature::ForeignKeys) => {
                let message = "Filter condition `_foreign` is not supported for this endpoint.";
                Err(Error::Invalid(ErrorBody::new(Code::InvalidDocumentFilter, message)))
            }
            Ok(_) => Ok(None),
            Err(Refused::NotFilterable(body)) => Ok(Some(body)),
            Err(refused @ Refused::TooLong(_)) => Err(refused.into()),
        }
    }
}

/// Why a filter is not shown to nodes.
#[derive(Debug)]
pub enum Refused {
    /// It names a field of ours, as which one server would have no filterable attribute.
    NotFilterable(ErrorBody),
    /// It compares with more values than allowed.
    TooLong(ErrorBody),
}

impl Refused {
    /// The client's error where a filter is judged at once.
    pub fn body(self) -> ErrorBody {
        match self {
            Self::NotFilterable(body) | Self::TooLong(body) => body,
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Invalid(refused.body())
    }
}
