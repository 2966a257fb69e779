//! The result: one row for each engine and mode, as a table for people and as JSON.

use std::time::Duration;

use serde::Serialize;

use crate::image::{Flip, Image};
use crate::record::Outcome;
use crate::subject::Subject;

/// Where the first case of an outcome was, and what was said.
#[derive(Debug, Serialize)]
pub(crate) struct Example {
    file: String,
    offset: u64,
    bit: u32,
    outcome: Outcome,
}

/// What one subject came to.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    name: &'static str,
    engine: String,
    mode: &'static str,
    /// It may lose nothing silently.
    promises_none: bool,
    log_bytes: u64,
    stride: u64,
    flips: u64,
    refused: u64,
    intact: u64,
    silent: u64,
    crashed: u64,
    silent_percent: f64,
    seconds: f64,
    /// The first and the last silent position, over all bytes of log.
    silent_from: Option<u64>,
    silent_to: Option<u64>,
    /// One for each outcome.
    examples: Vec<Example>,
}

impl Row {
    /// A row without cases.
    pub(crate) fn new(subject: &dyn Subject, image: &Image, stride: u64) -> Row {
        Row {
            name: subject.name(),
            engine: subject.engine(),
            mode: subject.mode(),
            promises_none: subject.promises_none(),
            log_bytes: image.log_bytes(),
            stride,
            flips: 0,
            refused: 0,
            intact: 0,
            silent: 0,
            crashed: 0,
            silent_percent: 0.0,
            seconds: 0.0,
            silent_from: None,
            silent_to: None,
            examples: Vec::new(),
        }
    }

    /// Takes one case in.
    pub(crate) fn count(&mut self, flip: Flip, image: &Image, outcome: &Outcome) {
        self.flips += 1;
        let count = match outcome {
            Outcome::Intact => &mut self.intact,
            Outcome::Refused { .. } => &mut self.refused,
            Outcome::Crashed { .. } => &mut self.crashed,
            Outcome::Silent { .. } => {
                self.silent_from = Some(self.silent_from.map_or(flip.position, |from| from.min(flip.position)));
                self.silent_to = self.silent_to.max(Some(flip.position));
                &mut self.silent
            }
        };
        *count += 1;
        if *count == 1
            && let Some((file, offset)) = image.place(flip.position)
        {
            let file = file.display().to_string();
            self.examples.push(Example { file, offset, bit: flip.bit, outcome: outcome.clone() });
        }
    }

    /// No more cases.
    pub(crate) fn finish(&mut self, elapsed: Duration) {
        self.seconds = (elapsed.as_secs_f64() * 10.0).round() / 10.0;
        self.silent_percent = 100.0 * self.silent as f64 / self.flips.max(1) as f64;
    }

    /// Lost silently what may not be, or fell over.
    pub(crate) fn breaks_promise(&self) -> bool {
        self.promises_none && self.silent + self.crashed > 0
    }

    fn cells(&self) -> [String; 11] {
        [
            self.engine.clone(),
            self.mode.to_owned(),
            self.log_bytes.to_string(),
            self.stride.to_string(),
            self.flips.to_string(),
            self.refused.to_string(),
            self.intact.to_string(),
            self.silent.to_string(),
            self.crashed.to_string(),
            format!("{:.2}", self.silent_percent),
            format!("{:.0}", self.seconds),
        ]
    }
}

const HEAD: [&str; 11] =
    ["engine", "mode", "log bytes", "stride", "flips", "refused", "intact", "silent", "crashed, hung", "% silent", "s"];

/// The rows as a Markdown table.
pub(crate) fn table(rows: &[Row]) -> String {
    let cells: Vec<_> = rows.iter().map(Row::cells).collect();
    let width = |column: usize| {
        let widths = cells.iter().map(|row| row[column].len());
        widths.chain([HEAD[column].len(), 2]).max().unwrap_or(2)
    };
    let line = |row: &[String; 11]| {
        let padded = row.iter().enumerate().map(|(column, text)| {
            let width = width(column);
            if column < 2 { format!(" {text:<width$} |") } else { format!(" {text:>width$} |") }
        });
        format!("|{}\n", padded.collect::<String>())
    };
    let rule = std::array::from_fn(|column| {
        let dashes = "-".repeat(width(column) - 1);
        if column < 2 { format!("-{dashes}") } else { format!("{dashes}:") }
    });
    let lines = [line(&HEAD.map(str::to_owned)), line(&rule)].into_iter().chain(cells.iter().map(line));
    lines.collect()
}
