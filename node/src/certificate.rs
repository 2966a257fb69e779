//! The recovery certificate: what a start found in the log, for machines (`CERTIFICATE.md`).
//!
//! Invariants: a file with its final name is whole and durable; whether it can be written changes nothing for the start;
//! it is written while the data directory is locked by this process. Not here: what recovery decides (`engine`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::{Cut, OpenError, RecoveryReport};
use protocol::InDoubt;
use serde::Serialize;

use crate::config::NodeConfig;
use crate::error::NodeError;
use crate::limits::{CERTIFICATE_TXNS_MAX, CERTIFICATES_KEPT};

/// Version of the layout of both documents.
const FORMAT: u32 = 1;

/// The newest certificate.
const CERTIFICATE: &str = "recovery.json";

/// Why the log was last refused.
const REFUSAL: &str = "recovery-refused.json";

#[derive(Serialize)]
struct Header {
    format: u32,
    outcome: &'static str,
    release: &'static str,
    /// Seconds since 1970, by this machine's clock.
    at_unix_s: u64,
    role: String,
    node: u32,
    cluster: u64,
}

#[derive(Serialize)]
struct Recovered<'a> {
    #[serde(flatten)]
    header: Header,
    log_id: String,
    incarnation: u64,
    created: bool,
    clean: bool,
    superblock: &'static str,
    read: Read,
    durable: Durable<'a>,
    ended_by: &'static str,
    cuts: Vec<CutBytes<'a>>,
    in_doubt: Doubt,
    direct_io: bool,
    took_us: u64,
}

#[derive(Serialize)]
struct Read {
    from: u64,
    to: u64,
    segments: u64,
    groups: u64,
    records: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Durable<'a> {
    lsn: u64,
    stated_by: &'a str,
}

#[derive(Serialize)]
struct CutBytes<'a> {
    file: &'a str,
    offset: u64,
    from: u64,
    to: u64,
    rule: &'static str,
    reason: &'a str,
}

#[derive(Serialize)]
struct Doubt {
    count: usize,
    /// The first by id.
    txns: Vec<DoubtfulTxn>,
}

#[derive(Serialize)]
struct DoubtfulTxn {
    txn: String,
    attempt: String,
    coordinator: u32,
}

#[derive(Serialize)]
struct Refused<'a> {
    #[serde(flatten)]
    header: Header,
    file: Option<&'a str>,
    offset: Option<u64>,
    lsn: Option<u64>,
    rule: Option<&'static str>,
    reason: String,
    error: String,
}

/// Logs what a start found, and writes it into the data directory.
pub(crate) fn recovered(config: &NodeConfig, report: &RecoveryReport, in_doubt: &[InDoubt], took: Duration) {
    let certificate = Recovered {
        header: header(config, "recovered"),
        log_id: format!("{:016x}", report.log_id),
        incarnation: report.incarnation,
        created: report.created,
        clean: report.clean,
        superblock: report.superblock.name(),
        read: Read {
            from: report.from.0,
            to: report.tail.0,
            segments: report.segments,
            groups: report.groups,
            records: report.records,
            bytes: report.bytes,
        },
        durable: Durable { lsn: report.durable.0, stated_by: &report.durable_by },
        ended_by: report.ended_by.name(),
        cuts: report.cuts.iter().map(cut_bytes).collect(),
        in_doubt: doubt(in_doubt),
        direct_io: report.direct,
        took_us: took.as_micros() as u64,
    };
    let text = text_of(&certificate);
    tracing::info!(certificate = %text, "recovered");
    if let Err(error) = keep(&config.data, report.incarnation, &text) {
        tracing::warn!(
            data = %config.data.display(), %error,
            "the recovery certificate could not be written; the node starts without it, and it stands in this log"
        );
    }
}

/// Writes down why the log was refused, as far as that is about what the directory holds.
pub(crate) fn refused(config: &NodeConfig, error: &NodeError) {
    let header = header(config, "refused");
    let whole = error.to_string();
    let (file, offset, lsn, rule, reason) = match error {
        NodeError::Open { source: OpenError::Corrupt { file, offset, lsn, rule, reason }, .. } => {
            (Some(file.as_str()), Some(*offset), Some(lsn.0), Some(rule.name()), reason.clone())
        }
        NodeError::Open { source: OpenError::Io { file, operation, source }, .. } => {
            (Some(file.as_str()), None, None, None, format!("{operation} failed: {source}"))
        }
        NodeError::Replay { at, source, .. } => (None, None, Some(at.0), None, source.to_string()),
        NodeError::Open {
            source:
                OpenError::Locked { .. }
                | OpenError::WrongOwner { .. }
                | OpenError::OtherFormat { .. }
                | OpenError::NotRegular { .. }
                | OpenError::BadOptions(_),
            ..
        }
        | NodeError::Ring { .. }
        | NodeError::Descriptors { .. }
        | NodeError::Listen { .. }
        | NodeError::Start { .. }
        | NodeError::Disk(_)
        | NodeError::DiskSlow { .. }
        | NodeError::System { .. } => return,
    };
    let text = text_of(&Refused { header, file, offset, lsn, rule, reason, error: whole });
    tracing::error!(certificate = %text, "the log is refused");
    if let Err(error) = write_whole(&config.data, REFUSAL, &text) {
        tracing::warn!(data = %config.data.display(), %error, "why the log is refused could not be written into {REFUSAL}");
    }
}

fn header(config: &NodeConfig, outcome: &'static str) -> Header {
    Header {
        format: FORMAT,
        outcome,
        release: env!("CARGO_PKG_VERSION"),
        at_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        role: config.role.to_string(),
        node: config.number,
        cluster: config.cluster.0,
    }
}

fn cut_bytes(cut: &Cut) -> CutBytes<'_> {
    let Cut { file, offset, from, to, rule, reason } = cut;
    CutBytes { file, offset: *offset, from: from.0, to: to.0, rule: rule.name(), reason }
}

fn doubt(in_doubt: &[InDoubt]) -> Doubt {
    let named = in_doubt.iter().take(CERTIFICATE_TXNS_MAX).map(|known| DoubtfulTxn {
        txn: known.txn.to_string(),
        attempt: known.attempt.to_string(),
        coordinator: known.coordinator,
    });
    Doubt { count: in_doubt.len(), txns: named.collect() }
}

fn text_of(document: &impl Serialize) -> String {
    serde_json::to_string(document).expect("a certificate holds nothing that JSON cannot")
}

/// Writes the certificate under its own name and as the newest, and deletes the oldest ones.
fn keep(data: &Path, incarnation: u64, text: &str) -> io::Result<()> {
    write_whole(data, &name_of(incarnation), text)?;
    write_whole(data, CERTIFICATE, text)?;
    let mut kept = certificates(data)?;
    kept.sort_unstable_by_key(|(incarnation, _)| std::cmp::Reverse(*incarnation));
    for (_, path) in kept.into_iter().skip(CERTIFICATES_KEPT) {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn name_of(incarnation: u64) -> String {
    format!("recovery-{incarnation}.json")
}

fn certificates(data: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix("recovery-").and_then(|rest| rest.strip_suffix(".json"));
        if let Some(incarnation) = number.and_then(|number| number.parse().ok()) {
            found.push((incarnation, path));
        }
    }
    Ok(found)
}

/// Makes a file of the data directory whole or not at all. What is left of an attempt has the suffix that the log's next
/// open removes.
fn write_whole(data: &Path, name: &str, text: &str) -> io::Result<()> {
    let unfinished = data.join(format!("{name}.new"));
    // What an attempt left, or anything else: opening a FIFO would wait.
    let _ = fs::remove_file(&unfinished);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&unfinished, data.join(name)));
    if written.is_err() {
        // Gives the space back to the log.
        let _ = fs::remove_file(&unfinished);
        return written;
    }
    File::open(data)?.sync_all()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_newest_certificates_are_kept_and_nothing_else_is_touched() {
        let folder = TempDir::new().unwrap();
        for other in ["recovery-x.json", "recovery-refused.json", "segment-0001"] {
            fs::write(folder.path().join(other), other).unwrap();
        }
        for incarnation in 1..=12 {
            keep(folder.path(), incarnation, &format!("{{\"incarnation\":{incarnation}}}")).unwrap();
        }
        let mut names: Vec<String> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        let numbers = ["10", "11", "12", "5", "6", "7", "8", "9"].map(|number| format!("recovery-{number}.json"));
        let others = ["recovery-refused.json", "recovery-x.json", "recovery.json", "segment-0001"].map(str::to_owned);
        assert_eq!(names, [&numbers[..], &others[..]].concat());
        assert_eq!(fs::read_to_string(folder.path().join(CERTIFICATE)).unwrap(), "{\"incarnation\":12}");
    }

    #[test]
    fn a_directory_that_takes_no_file_keeps_no_half_of_one() {
        let folder = TempDir::new().unwrap();
        // The final name is taken by what cannot be replaced by a file.
        fs::create_dir(folder.path().join(CERTIFICATE)).unwrap();
        assert!(write_whole(folder.path(), CERTIFICATE, "{}").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn many_transactions_in_doubt_are_counted_and_some_are_named() {
        let one = |number: usize| InDoubt {
            txn: protocol::TxnId(number as u128),
            attempt: protocol::Attempt { epoch: 2, number: 3 },
            coordinator: 1,
        };
        let all: Vec<InDoubt> = (0..CERTIFICATE_TXNS_MAX + 1).map(one).collect();
        let doubt = doubt(&all);
        assert_eq!((doubt.count, doubt.txns.len()), (CERTIFICATE_TXNS_MAX + 1, CERTIFICATE_TXNS_MAX));
        assert_eq!(doubt.txns[7].attempt, "2.3");
    }
}
