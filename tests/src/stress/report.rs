//! The figures of a load, and what was not as it has to be.

use std::collections::BTreeMap;

use serde_json::json;

/// What came of one load.
#[derive(Debug, Default)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// Why it could not be run here.
    pub skipped: Option<String>,
    /// What was not as it has to be, as sentences.
    pub failures: Vec<String>,
    pub(super) nodes: BTreeMap<String, NodeFigures>,
    /// Milliseconds that a fresh client's round took before the load.
    pub(super) usual_ms: Option<f64>,
    /// The same after it, of the first client that was served at the usual latency.
    pub(super) after_ms: Option<f64>,
    /// When that client came, after the load's end.
    pub(super) recovered_ms: Option<f64>,
    /// Transactions committed each second without overload, and under it.
    pub(super) peak: Option<f64>,
    pub(super) goodput: Option<f64>,
    /// What was measured besides.
    pub(super) more: BTreeMap<&'static str, f64>,
    /// The last lines of the nodes' logs, of a load that failed.
    pub log_lines: Vec<String>,
}

/// What one node took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NodeFigures {
    /// Bytes in memory before the load.
    pub(super) before_bytes: u64,
    /// The most bytes in memory from then on.
    pub(super) peak_bytes: u64,
    /// Bytes held before the load, without mapped files.
    pub(super) held_before_bytes: u64,
    /// The most bytes held from then on.
    pub(super) held_peak_bytes: u64,
    /// Percent of one processor, five seconds after the load's end.
    pub(super) processor_percent: Option<f64>,
}

impl Report {
    /// Whether it ran, and all was as it has to be.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures.is_empty() && self.skipped.is_none()
    }

    /// Adds a failure unless `holds`.
    pub(super) fn check(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.failures.push(otherwise());
        }
    }

    fn verdict(&self) -> &'static str {
        match (&self.skipped, self.failures.is_empty()) {
            (_, false) => "FAILED",
            (Some(_), true) => "skipped",
            (None, true) => "ok",
        }
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let nodes: BTreeMap<_, _> = self
            .nodes
            .iter()
            .map(|(name, node)| {
                let figures = json!({
                    "rss_before_bytes": node.before_bytes,
                    "rss_peak_bytes": node.peak_bytes,
                    "held_before_bytes": node.held_before_bytes,
                    "held_peak_bytes": node.held_peak_bytes,
                    "processor_percent_after_5s": node.processor_percent,
                });
                (name, figures)
            })
            .collect();
        json!({
            "load": self.name,
            "verdict": self.verdict(),
            "skipped": self.skipped,
            "failures": self.failures,
            "nodes": nodes,
            "latency_before_ms": self.usual_ms,
            "latency_after_ms": self.after_ms,
            "served_again_after_ms": self.recovered_ms,
            "peak_per_s": self.peak,
            "goodput_per_s": self.goodput,
            "more": self.more,
        })
    }

    fn cells(&self) -> [String; 10] {
        let known = |figure: Option<f64>, digits: usize| figure.map_or("-".to_owned(), |it| format!("{it:.digits$}"));
        let of_nodes = |figure: &dyn Fn(&NodeFigures) -> String| {
            let cells: Vec<String> = self.nodes.values().map(figure).collect();
            if cells.is_empty() { "-".to_owned() } else { cells.join(" ") }
        };
        [
            self.name.clone(),
            self.verdict().to_owned(),
            of_nodes(&|node| (node.before_bytes >> 20).to_string()),
            of_nodes(&|node| (node.peak_bytes >> 20).to_string()),
            of_nodes(&|node| known(node.processor_percent, 0)),
            known(self.usual_ms, 1),
            known(self.after_ms, 1),
            known(self.recovered_ms.map(|ms| ms / 1_000.0), 1),
            known(self.peak, 0),
            known(self.goodput, 0),
        ]
    }
}

/// All loads, one a row.
#[must_use]
pub fn table(reports: &[Report]) -> String {
    let head = [
        "load",
        "verdict",
        "MiB before",
        "MiB peak (c1 p1 p2)",
        "% cpu after 5 s",
        "ms before",
        "ms after",
        "served after s",
        "peak/s",
        "goodput/s",
    ];
    let rows: Vec<[String; 10]> =
        std::iter::once(head.map(str::to_owned)).chain(reports.iter().map(Report::cells)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &[String; 10]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_told_and_what_was_not_measured_is_no_zero() {
        let mut report = Report { name: "reads".to_owned(), ..Report::default() };
        report.check(true, || unreachable!("it holds"));
        assert!(report.passed());
        report.check(false, || "too much".to_owned());
        assert!(!report.passed());
        assert_eq!(report.json()["verdict"], "FAILED");
        assert_eq!(report.json()["goodput_per_s"], serde_json::Value::Null);
        let table = table(&[report]);
        assert!(table.lines().nth(1).is_some_and(|row| row.starts_with("reads") && row.contains('-')), "{table}");
    }
}
