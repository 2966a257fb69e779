//! Standard output: for people, or one JSON document a line. A reader that goes away is an error
//! like any other, never a panic.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

use crate::exit::Failure;

/// How a command speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// JSON instead of sentences.
    pub(crate) json: bool,
}

impl Output {
    /// Prints the same thing in the form that was asked for.
    pub(crate) fn say(self, json: &impl Serialize, people: impl Display) -> Result<(), Failure> {
        if self.json {
            let text = serde_json::to_string(json).map_err(io::Error::other)?;
            line(&text)
        } else {
            line(&people.to_string())
        }
    }
}

/// Prints one line.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.write_all(b"\n")?;
    stdout.flush()?;
    Ok(())
}

/// Prints one line, if anyone listens.
pub(crate) fn line_if_heard(text: &str) {
    let _ = line(text);
}

/// Bytes as text: as they are if people can read them, else with escapes.
pub(crate) fn show(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        Ok(_) | Err(_) => bytes.escape_ascii().to_string(),
    }
}
