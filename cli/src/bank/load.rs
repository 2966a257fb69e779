//! `assent bank load`: the transfers of a file.
//!
//! The whole file is read first. A line that does not parse is named and skipped, nothing of it
//! is applied; the others are.
//!
//! Invariant: each line happens once, however often its load is run: a load is named, by the content of its file if not
//! otherwise, a line by its number in it, and the row that a transfer leaves is one that only this line can have left.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Instant;

use protocol::{Reason, TxnId};
use serde_json::json;
use tokio::task::JoinSet;

use crate::bank::ledger::{Begun, Ledger, Transfer, Transferred};
use crate::bank::lineup::Lineup;
use crate::bank::stamp::{Stamp, id_of_content, id_of_line};
use crate::exit::Failure;
use crate::output::{Output, progress_bar};

pub(crate) const AFTER_HELP: &str = "\
Every line is one transfer: from,to,amount. A first line `from,to,amount` is taken for a heading.
Numbers are not quoted: a quote belongs to its field, which is then no number.
Transfers of the same account run in the order of their lines, others at the same time.
A line that does not parse is named with its number, and nothing of it is applied; the others are.
The exit code is 0 only if every line was applied, now or before.

A load that is run again applies nothing twice: a load is named by the content of its file, and a line by its number. Lines
that were refused are tried again. A changed file is another load; to go on with a load after bad lines were corrected, name
it: --id LOAD, as its result said. The numbers of its lines must then be as before. To apply a file twice, give another --id.

Example: assent bank load moves.csv --concurrency 128
         assent bank load moves.csv --resume";

/// Lines that one transaction asks after: few enough for one answer, many enough for a file of a million.
const LINES_PER_QUESTION: usize = 1_000;

const _: () = assert!(LINES_PER_QUESTION <= protocol::limits::OPERATIONS_MAX);

/// Problems that are named one by one; the rest is counted.
const NAMED_MAX: usize = 100;

/// A line that is not a transfer.
#[derive(Debug, PartialEq, Eq)]
struct BadLine {
    line: u64,
    why: String,
}

#[derive(Debug)]
struct Summary {
    load: TxnId,
    lines: usize,
    bad_lines: usize,
    applied: usize,
    /// By an earlier load of the same name.
    applied_before: usize,
    refused: BTreeMap<&'static str, usize>,
    unknown: usize,
    seconds: f64,
}

/// A file to be applied.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    pub(crate) file: &'a Path,
    /// Its name; if it has none, its content names it.
    pub(crate) id: Option<TxnId>,
    /// Whether there has to be an earlier load of that name.
    pub(crate) resume: bool,
    /// Transfers in flight at once.
    pub(crate) concurrency: usize,
}

/// A line that is a transfer.
#[derive(Clone, Copy, Debug)]
struct Line {
    line: u64,
    transfer: Transfer,
    stamp: Stamp,
    /// An earlier load may have tried it: a refusal that is remembered from then is not the last word.
    retried: bool,
}

impl Load<'_> {
    /// Applies the file, as far as that was not done before.
    pub(crate) async fn run(&self, ledger: &Ledger, output: Output) -> Result<(), Failure> {
        let shown = self.file.display();
        let text =
            std::fs::read(self.file).map_err(|error| Failure::Usage(format!("{shown}: cannot be read: {error}")))?;
        let (transfers, bad_lines) = parse(&text);
        for bad in bad_lines.iter().take(NAMED_MAX) {
            eprintln!("{shown}: line {}: {}; nothing of it was applied", bad.line, bad.why);
        }
        let load = self.id.unwrap_or_else(|| id_of_content(&text));
        let begun = self.begin(ledger, load).await?;
        let lines = transfers.into_iter().map(|(line, transfer)| {
            let id = id_of_line(load, line);
            Line { line, transfer, stamp: Stamp { txn: id, row: id, time_us: begun.time_us }, retried: begun.before }
        });
        let mut lines: Vec<Line> = lines.collect();
        let mut summary = Summary::new(load, lines.len() + bad_lines.len(), bad_lines.len());
        if begun.before {
            leave_out_what_has_happened(ledger, &mut lines, &mut summary).await?;
        }
        let ended = self.apply(ledger, lines, &mut summary).await;
        if ended.is_err() {
            // Why is told after it.
            eprintln!("{shown}: stopped before its end; to go on: assent bank load {shown} --resume --id {load}");
        }
        output.say(&summary.json(), &summary)?;
        ended?;
        if summary.is_complete() { Ok(()) } else { Err(Failure::NoAsPrinted) }
    }

    async fn begin(&self, ledger: &Ledger, load: TxnId) -> Result<Begun, Failure> {
        if !self.resume {
            return ledger.begin(load).await;
        }
        ledger.begun(load).await?.ok_or_else(|| {
            let shown = self.file.display();
            let why = if self.id.is_some() { "" } else { "; if the file was changed since, give the load's --id" };
            Failure::No(format!("{shown}: there is no load {load} to go on with, and nothing was applied{why}"))
        })
    }

    async fn apply(&self, ledger: &Ledger, lines: Vec<Line>, summary: &mut Summary) -> Result<(), Failure> {
        let bar = progress_bar("transfers", lines.len() as u64);
        let begun = Instant::now();
        let mut lineup = Lineup::new(lines.into_iter().map(|line| (line, [line.transfer.from, line.transfer.to])));
        let mut running = JoinSet::new();
        let mut named = 0;
        let mut failed = Ok(());
        loop {
            while failed.is_ok()
                && running.len() < self.concurrency
                && let Some((line, accounts)) = lineup.start_next()
            {
                let ledger = ledger.clone();
                running.spawn(async move { (line.line, accounts, line.submit(&ledger).await) });
            }
            let Some(ended) = running.join_next().await else { break };
            let (line, accounts, result) = ended.map_err(|error| Failure::Start(error.to_string()))?;
            lineup.ended(accounts);
            bar.inc(1);
            match summary.count(result) {
                Ok(None) => {}
                Ok(Some(problem)) => {
                    named += 1;
                    if named <= NAMED_MAX {
                        bar.suspend(|| eprintln!("{}: line {line}: {problem}", self.file.display()));
                    }
                }
                // What is in flight is still counted.
                Err(failure) => failed = failed.and(Err(failure)),
            }
        }
        bar.finish_and_clear();
        summary.seconds = begun.elapsed().as_secs_f64();
        failed
    }
}

impl Line {
    async fn submit(self, ledger: &Ledger) -> Result<Transferred, Failure> {
        match ledger.transfer(self.transfer, self.stamp).await? {
            // What has become of an id with other contents is the last word on it.
            Transferred::Refused { reason, .. } if self.retried && reason != Reason::IdReused.name() => {
                ledger.transfer(self.transfer, self.stamp.anew()).await
            }
            told @ (Transferred::Done { .. } | Transferred::Refused { .. }) => Ok(told),
        }
    }
}

/// Asks which lines an earlier load has applied; only the others are submitted.
async fn leave_out_what_has_happened(
    ledger: &Ledger,
    lines: &mut Vec<Line>,
    summary: &mut Summary,
) -> Result<(), Failure> {
    let mut left = Vec::new();
    for chunk in lines.chunks(LINES_PER_QUESTION) {
        let transfers: Vec<_> = chunk.iter().map(|line| (line.transfer, line.stamp)).collect();
        let happened = ledger.have_happened(&transfers).await?;
        left.extend(chunk.iter().zip(happened).filter(|(_, happened)| !happened).map(|(line, _)| *line));
    }
    summary.applied_before += lines.len() - left.len();
    *lines = left;
    Ok(())
}

/// The transfers of a file with their line numbers, and the lines that are none.
fn parse(text: &[u8]) -> (Vec<(u64, Transfer)>, Vec<BadLine>) {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .quoting(false)
        .trim(csv::Trim::All)
        .from_reader(text);
    let mut transfers = Vec::new();
    let mut bad_lines = Vec::new();
    let mut record = csv::StringRecord::new();
    let mut first = true;
    loop {
        let before = reader.position().clone();
        match reader.read_record(&mut record) {
            Ok(false) => return (transfers, bad_lines),
            Ok(true) => {
                let line = line_at(text, record.position().unwrap_or(&before));
                if !(first && record.iter().eq(["from", "to", "amount"])) {
                    match parse_line(&record) {
                        Ok(transfer) => transfers.push((line, transfer)),
                        Err(why) => bad_lines.push(BadLine { line, why }),
                    }
                }
            }
            Err(error) => {
                let line = line_at(text, error.position().unwrap_or(&before));
                bad_lines.push(BadLine { line, why: "it is not UTF-8 text".to_owned() });
            }
        }
        first = false;
    }
}

/// The line that a record stands on: its position may be before empty lines that were skipped.
fn line_at(text: &[u8], position: &csv::Position) -> u64 {
    let rest = text.get(position.byte() as usize..).unwrap_or_default();
    let skipped = rest.iter().take_while(|byte| b"\r\n".contains(byte)).filter(|byte| **byte == b'\n').count();
    position.line() + skipped as u64
}

fn parse_line(record: &csv::StringRecord) -> Result<Transfer, String> {
    if record.len() != 3 {
        return Err(format!("expected from,to,amount, found {} fields", record.len()));
    }
    let account = |at: usize, name: &str| {
        record[at].parse().map_err(|_| format!("`{}` is not an account number ({name})", &record[at]))
    };
    let (from, to) = (account(0, "from")?, account(1, "to")?);
    let amount = record[2].parse().map_err(|_| format!("`{}` is not an amount", &record[2]))?;
    Transfer { from, to, amount }.check()
}

impl Summary {
    fn new(load: TxnId, lines: usize, bad_lines: usize) -> Self {
        let (applied, applied_before, unknown) = (0, 0, 0);
        Self { load, lines, bad_lines, applied, applied_before, refused: BTreeMap::new(), unknown, seconds: 0.0 }
    }

    fn is_complete(&self) -> bool {
        self.applied + self.applied_before == self.lines
    }

    /// Counts a result; says what to tell of it. Without a coordinator there is no going on.
    fn count(&mut self, result: Result<Transferred, Failure>) -> Result<Option<String>, Failure> {
        match result {
            Ok(Transferred::Done { .. }) => {
                self.applied += 1;
                Ok(None)
            }
            Ok(Transferred::Refused { reason, sentence }) => {
                *self.refused.entry(reason).or_default() += 1;
                Ok(Some(format!("refused: {sentence}")))
            }
            Err(Failure::Client(error @ client::ClientError::Unknown { .. })) => {
                self.unknown += 1;
                Ok(Some(error.to_string()))
            }
            Err(failure) => Err(failure),
        }
    }

    fn refused_total(&self) -> usize {
        self.refused.values().sum()
    }

    fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.applied as f64 / self.seconds } else { 0.0 }
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "load": self.load.to_string(),
            "lines": self.lines,
            "applied": self.applied,
            "applied_before": self.applied_before,
            "refused": self.refused_total(),
            "refused_by_reason": self.refused,
            "bad_lines": self.bad_lines,
            "unknown": self.unknown,
            "seconds": self.seconds,
            "applied_per_second": self.rate(),
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} lines: {} applied in {:.2} s ({:.0} a second)",
            self.lines,
            self.applied,
            self.seconds,
            self.rate()
        )?;
        if self.applied_before > 0 {
            write!(f, ", {} applied before and not again", self.applied_before)?;
        }
        write!(f, ", {} refused", self.refused_total())?;
        let reasons: Vec<_> = self.refused.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        if !reasons.is_empty() {
            write!(f, " ({})", reasons.join(", "))?;
        }
        write!(f, ", {} did not parse", self.bad_lines)?;
        if self.unknown > 0 {
            write!(f, ", {} with unknown outcome", self.unknown)?;
        }
        if self.is_complete() { Ok(()) } else { write!(f, "; load {}", self.load) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> (Vec<u64>, Vec<u64>) {
        let (good, bad) = parse(text);
        (good.iter().map(|(line, _)| *line).collect(), bad.iter().map(|bad| bad.line).collect())
    }

    #[test]
    fn lines_are_read_and_bad_ones_keep_their_numbers() {
        let text = b"from,to,amount\n1,2,5\n1,2\nx,2,5\n\n1,2,x\n 3 , 4 , 6 \n1,1,5\n1,2,-5\n1,2,5,6\n7,8,9";
        assert_eq!(lines(text), (vec![2, 7, 11], vec![3, 4, 6, 8, 9, 10]));
        let (good, _) = parse(text);
        assert_eq!(good[1].1, Transfer { from: 3, to: 4, amount: 6 });
    }

    #[test]
    fn a_heading_counts_only_on_the_first_line() {
        assert_eq!(lines(b"1,2,3\nfrom,to,amount\n"), (vec![1], vec![2]));
        assert_eq!(lines(b""), (vec![], vec![]));
        assert_eq!(lines(b"\r\n1,2,3\r\n\r\nx\r\n4,5,6"), (vec![2, 5], vec![4]));
    }

    #[test]
    fn a_quote_spoils_only_its_line() {
        assert_eq!(lines(b"1,2,5\n\n3,x,5\n\"1,2,5\n4,5,5\n6,7,5\n"), (vec![1, 5, 6], vec![3, 4]));
    }

    #[test]
    fn bytes_that_are_no_text_spoil_only_their_line() {
        assert_eq!(lines(b"1,2,3\n\xff\xfe,2,3\n4,5,6\n"), (vec![1, 3], vec![2]));
    }

    #[test]
    fn numbers_beyond_their_range_are_refused_not_wrapped() {
        assert_eq!(lines(b"1,2,9223372036854775808\n-1,2,3\n18446744073709551616,2,3\n"), (vec![], vec![1, 2, 3]));
    }
}
