//! A question before what cannot be taken back.
//!
//! It is put where somebody sits before a terminal. A script has none, and goes on as if it had said `--yes`: nobody could
//! answer, and whoever wrote it has decided already.

use std::io::{self, IsTerminal};

use dialoguer::Input;

use crate::cli::Sure;
use crate::failure::Failure;
use crate::output::printable;

/// Returns when the work may be done; `Failure::Declined` when whoever was asked did not say yes.
///
/// `question` ends with a question mark. It is made only when somebody is asked, so it may cost a request.
pub fn confirm(sure: Sure, question: impl FnOnce() -> Result<String, Failure>) -> Result<(), Failure> {
    let is_attended = io::stdin().is_terminal() && io::stderr().is_terminal();
    if sure.yes || !is_attended {
        return Ok(());
    }
    // Not `dialoguer::Confirm`: it hides the cursor, and leaves it hidden when it is interrupted.
    let answer = Input::new()
        .with_prompt(format!("{} (yes/no)", printable(&question()?)))
        .default("no".to_owned())
        .validate_with(|text: &String| said(text).map(drop).ok_or("type yes or no"))
        .interact_text();
    match answer {
        Ok(text) if said(&text) == Some(true) => Ok(()),
        Ok(_) => Err(Failure::Declined),
        Err(dialoguer::Error::IO(error)) => Err(Failure::NoAnswer(error.to_string())),
    }
}

/// Whether it means yes; `None` when it means neither yes nor no.
fn said(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Some(true),
        "n" | "no" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yes_and_no_are_told_from_anything_else() {
        for text in ["y", "Y", "yes", " YES "] {
            assert_eq!(said(text), Some(true), "{text}");
        }
        assert_eq!((said("n"), said("No")), (Some(false), Some(false)));
        assert_eq!((said(""), said("yep"), said("ja")), (None, None, None));
    }
}
