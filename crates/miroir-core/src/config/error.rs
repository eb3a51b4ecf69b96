//! Why a configuration was refused: always one line that names the key and what would be right.

use thiserror::Error;

/// The text names no node.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidNodeId {
    /// There is no name.
    #[error("is empty; name the node, as in meili-0")]
    Empty,
    /// Too long, or characters that no name has. Its beginning.
    #[error("\"{0}\" is not 1 to 64 letters, digits, `-`, `_` or `.`")]
    Text(String),
}

/// The configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The file is not YAML, or not a mapping of keys.
    #[error("the configuration is not valid YAML: {problem}")]
    Yaml {
        /// What the parser says, with line and column.
        problem: String,
    },
    /// A key that no setting has; a typing error must not become a default.
    #[error("{key}: there is no such setting; {hint}")]
    UnknownKey {
        /// The key's path, or the name of the environment variable.
        key: String,
        /// The nearest names, or all names of that section.
        hint: String,
    },
    /// A value that the setting cannot take, alone or beside the others.
    #[error("{key}: {problem}")]
    Invalid {
        /// The key's path, for example `nodes[2].address`.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

impl ConfigError {
    /// `key` has a value that it cannot have.
    pub(super) fn invalid(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { key: key.into(), problem: one_line(&problem.into()) }
    }

    /// The text is not YAML; `problem` may have several lines, the first is kept.
    pub(super) fn yaml(problem: &str) -> Self {
        let first = problem.lines().find(|line| !line.trim().is_empty()).unwrap_or("it cannot be read");
        Self::Yaml { problem: first.trim().into() }
    }

    /// `key` is unknown; `known` are the names that stand at its place.
    pub(super) fn unknown(key: impl Into<String>, name: &str, known: &[&str]) -> Self {
        let near = known.iter().map(|known| (distance(name, known), known)).min();
        let hint = match near {
            Some((far, known)) if far <= 2 + name.len() / 4 => format!("did you mean `{known}`?"),
            Some(_) | None => format!("known here: {}", known.join(", ")),
        };
        Self::UnknownKey { key: one_line(&key.into()), hint }
    }
}

/// Control characters of a client's text must not break the one line.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Levenshtein distance over characters; names are short, and long ones are cut.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let above = *cell;
            let cost = diagonal + usize::from(x != *y);
            left = cost.min(left + 1).min(above + 1);
            diagonal = above;
            *cell = left;
        }
    }
    // The first cell was never needed again; the last one is the answer.
    if b.is_empty() { a.chars().take(64).count() } else { row.last().copied().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("interval_ms", "intervall_ms"), 1);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn an_unknown_key_suggests_the_nearest() {
        let error = ConfigError::unknown("health.intervall_ms", "intervall_ms", &["timeout_ms", "interval_ms"]);
        assert_eq!(error.to_string(), "health.intervall_ms: there is no such setting; did you mean `interval_ms`?");
        let error = ConfigError::unknown("zzz", "zzz", &["alpha", "beta"]);
        assert_eq!(error.to_string(), "zzz: there is no such setting; known here: alpha, beta");
    }
}
