//! Which log lines are written: a level, and others for single crates.
//!
//! Invariant: a word that is no level and a crate that has no lines are refused; errors are always written, for damage is told
//! by them. Not here: who writes the lines (the command line).

use std::fmt;
use std::str::FromStr;

/// From few lines to many.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The crates of a node that log.
const CRATES: [&str; 2] = ["engine", "node"];

/// What the crates that are not named have if no level stands by itself.
const BASE: &str = "info";

/// A level, and others for single crates: `info`, or `info,node=debug`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogLevels {
    base: &'static str,
    of_crates: Vec<(&'static str, &'static str)>,
}

impl Default for LogLevels {
    fn default() -> Self {
        Self { base: BASE, of_crates: Vec::new() }
    }
}

impl LogLevels {
    /// In the form that a filter of `tracing` reads.
    #[must_use]
    pub fn as_filter(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for LogLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base)?;
        self.of_crates.iter().try_for_each(|(name, level)| write!(f, ",{name}={level}"))
    }
}

impl FromStr for LogLevels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut base = None;
        let mut of_crates: Vec<(&'static str, &'static str)> = Vec::new();
        for item in text.split(',').map(str::trim) {
            match item.split_once('=') {
                None if base.replace(level(item)?).is_some() => {
                    return Err(format!("{text:?} has two levels for all crates"));
                }
                None => {}
                Some((name, found)) => {
                    let name = crate_of(name.trim())?;
                    if of_crates.iter().any(|(other, _)| *other == name) {
                        return Err(format!("{text:?} has two levels for {name}"));
                    }
                    of_crates.push((name, level(found.trim())?));
                }
            }
        }
        Ok(Self { base: base.unwrap_or(BASE), of_crates })
    }
}

fn level(text: &str) -> Result<&'static str, String> {
    let found = LEVELS.into_iter().find(|level| level.eq_ignore_ascii_case(text));
    found.ok_or_else(|| {
        format!("{text:?} is not a level; there are {}, or per crate like info,node=debug", LEVELS.join(", "))
    })
}

fn crate_of(text: &str) -> Result<&'static str, String> {
    let found = CRATES.into_iter().find(|name| *name == text);
    found.ok_or_else(|| format!("{text:?} is not a crate that logs; there are {}", CRATES.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_for_all_and_for_single_crates() {
        for (text, filter) in [
            ("info", "info"),
            ("WARN", "warn"),
            ("debug, engine=trace", "debug,engine=trace"),
            ("node=debug,engine=warn", "info,node=debug,engine=warn"),
        ] {
            assert_eq!(text.parse::<LogLevels>().unwrap().as_filter(), filter, "{text}");
        }
    }

    #[test]
    fn what_is_no_level_is_refused() {
        for (text, part) in [
            ("warning", "\"warning\" is not a level; there are error, warn, info, debug, trace"),
            ("off", "\"off\" is not a level"),
            ("", "\"\" is not a level"),
            ("info,", "\"\" is not a level"),
            ("info,debug", "two levels for all"),
            ("node=loud", "\"loud\" is not a level"),
            ("nodes=debug", "\"nodes\" is not a crate that logs"),
            ("node=debug,node=info", "two levels for node"),
        ] {
            let error = text.parse::<LogLevels>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
