//! `offset` and `limit` of listings.

use miroir_core::base::error::Code;

use super::error::Failure;

/// The part of a listing that is asked for.
pub struct Page {
    /// Entries before the first.
    pub offset: usize,
    /// Entries at most.
    pub limit: usize,
}

/// What an unreadable parameter is refused by.
pub struct PageCodes {
    /// Of `offset`.
    pub offset: Code,
    /// Of `limit`.
    pub limit: Code,
}

impl Page {
    /// From a query string that may hold nothing else.
    pub fn read(query: &str, codes: PageCodes) -> Result<Self, Failure> {
        let mut page = Self { offset: 0, limit: 20 };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let number = |code| {
                let message =
                    format!("Invalid value in parameter `{name}`: could not parse `{value}` as a positive integer");
                value.parse().map_err(|_| Failure::new(code, message))
            };
            match name.as_ref() {
                "offset" => page.offset = number(codes.offset)?,
                "limit" => page.limit = number(codes.limit)?,
                unknown => {
                    let message = format!("Unknown parameter `{unknown}`: expected one of `offset`, `limit`");
                    return Err(Failure::new(Code::BadRequest, message));
                }
            }
        }
        Ok(page)
    }
}
