//! A cluster of child processes on this machine.
//!
//! Invariants: a child stops when its standard input closes, so none outlives its parent, however
//! the parent ends; children are in a process group of their own, so Ctrl-C reaches the parent
//! alone, which then stops them in order; a process is only ever killed by its own handle.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::daemon::Ready;
use crate::exit::Failure;

/// How long a child may take until it is ready: it replays its log first.
const READY_WAIT_MAX: Duration = Duration::from_secs(120);

/// How often a start looks whether it is still wanted.
const CANCEL_POLL: Duration = Duration::from_millis(50);

/// How long a child may take to stop cleanly before it is killed.
const STOP_WAIT_MAX: Duration = Duration::from_secs(15);

/// How often a child that is to stop is looked at.
const STOP_POLL: Duration = Duration::from_millis(5);

/// Lines of a log that are shown when its process did not start.
const LOG_LINES_SHOWN: usize = 5;

/// What a cluster is to be.
#[derive(Clone, Debug)]
pub(crate) struct ClusterSpec {
    /// Where each node gets a folder of its own.
    pub(crate) root: PathBuf,
    pub(crate) participants: u32,
    pub(crate) cluster_id: u64,
    /// Where the coordinator listens.
    pub(crate) listen: String,
    pub(crate) log_level: String,
    /// Logs go to files beside the data, not to standard error.
    pub(crate) logs_to_files: bool,
}

/// A running cluster; stops with its value.
#[derive(Debug)]
pub(crate) struct Cluster {
    coordinator: Child,
    participants: Vec<Child>,
}

#[derive(Debug)]
struct Child {
    name: String,
    process: Process,
    stdin: Option<ChildStdin>,
    ready_line: Receiver<String>,
    address: String,
    log: Option<PathBuf>,
}

impl Cluster {
    /// Starts all nodes and waits until they are ready; gives up soon after `cancel` is set.
    pub(crate) fn start(spec: &ClusterSpec, cancel: &AtomicBool) -> Result<Self, Failure> {
        fs::create_dir_all(&spec.root).map_err(|error| cannot("create", &spec.root, &error))?;
        let mut participants = Vec::new();
        for id in 1..=spec.participants {
            check_wanted(cancel)?;
            participants.push(Child::spawn(spec, "participant", id, "127.0.0.1:0", &[])?);
        }
        for child in &mut participants {
            child.wait_ready(cancel)?;
        }
        let peers: Vec<OsString> = participants
            .iter()
            .zip(1..)
            .flat_map(|(child, id): (_, u32)| ["--participant".to_owned(), format!("{id}={}", child.address)])
            .map(OsString::from)
            .collect();
        check_wanted(cancel)?;
        let mut coordinator = Child::spawn(spec, "coordinator", 1, &spec.listen, &peers)?;
        coordinator.wait_ready(cancel)?;
        Ok(Self { coordinator, participants })
    }

    /// Where clients connect.
    pub(crate) fn coordinator_address(&self) -> &str {
        &self.coordinator.address
    }

    /// Where the participants listen, in the order of their numbers from 1.
    pub(crate) fn participant_addresses(&self) -> impl Iterator<Item = &str> {
        self.participants.iter().map(|child| child.address.as_str())
    }

    /// Names a node that has ended by itself, if one has.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.all().find_map(Child::ended)
    }

    /// Stops all nodes cleanly.
    pub(crate) fn stop(&mut self) -> Result<(), Failure> {
        self.stop_within(STOP_WAIT_MAX)
    }

    /// Stops all nodes: the coordinator first, so that nothing new begins, then all participants at once. What has not
    /// stopped within this time, each of the two, is killed.
    pub(crate) fn stop_within(&mut self, limit: Duration) -> Result<(), Failure> {
        let coordinator = self.coordinator.stop_by(Instant::now() + limit, limit);
        self.participants.iter_mut().for_each(Child::ask_to_stop);
        let by = Instant::now() + limit;
        let stopped: Vec<_> = self.participants.iter_mut().map(|child| child.stop_by(by, limit)).collect();
        coordinator.and(stopped.into_iter().collect())
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Child> {
        std::iter::once(&mut self.coordinator).chain(&mut self.participants)
    }
}

impl Child {
    fn spawn(spec: &ClusterSpec, role: &str, id: u32, listen: &str, more: &[OsString]) -> Result<Self, Failure> {
        let name = format!("{role} {id}");
        let cannot_start = |error: std::io::Error| Failure::Start(format!("cannot start {name}: {error}"));
        let folder = spec.root.join(format!("{role}-{id}"));
        let log = spec.logs_to_files.then(|| folder.with_extension("log"));
        let stderr = match &log {
            Some(log) => File::create(log).map_err(|error| cannot("create", log, &error))?.into(),
            None => Stdio::inherit(),
        };
        let mut process = Command::new(std::env::current_exe().map_err(cannot_start)?)
            .args([role, "--id", &id.to_string(), "--listen", listen, "--cluster-id", &spec.cluster_id.to_string()])
            .args(["--log-level", &spec.log_level, "--stop-with-stdin", "--data"])
            .arg(&folder)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .map_err(cannot_start)?;
        let stdin = process.stdin.take();
        let (line_to, ready_line) = channel();
        let child = Self { name, process, stdin, ready_line, address: String::new(), log };
        child.read_ready_line(line_to)
    }

    fn read_ready_line(mut self, line_to: std::sync::mpsc::Sender<String>) -> Result<Self, Failure> {
        if let Some(stdout) = self.process.stdout.take() {
            std::thread::Builder::new()
                .name("ready".to_owned())
                .spawn(move || {
                    let mut line = String::new();
                    if BufReader::new(stdout).read_line(&mut line).is_ok() {
                        // The other end is gone only when nobody waits any more.
                        let _ = line_to.send(line);
                    }
                })
                .map_err(|error| Failure::Start(format!("cannot watch {}: {error}", self.name)))?;
        }
        Ok(self)
    }

    fn wait_ready(&mut self, cancel: &AtomicBool) -> Result<(), Failure> {
        let begun = Instant::now();
        let line = loop {
            check_wanted(cancel)?;
            match self.ready_line.recv_timeout(CANCEL_POLL) {
                Ok(line) => break line,
                Err(RecvTimeoutError::Disconnected) => break String::new(),
                Err(RecvTimeoutError::Timeout) if begun.elapsed() < READY_WAIT_MAX => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Failure::Start(format!("{} was not ready within {READY_WAIT_MAX:?}", self.name)));
                }
            }
        };
        match serde_json::from_str::<Ready>(&line) {
            Ok(ready) => {
                self.address = ready.address;
                Ok(())
            }
            Err(_) => Err(self.did_not_start()),
        }
    }

    /// The child has said why on its own standard error.
    fn did_not_start(&mut self) -> Failure {
        let code = self.process.wait().ok().and_then(|status| status.code());
        let said = self.log.as_deref().map(last_lines).unwrap_or_default();
        let message = format!("{} did not start{said}", self.name);
        match code {
            Some(2) => Failure::Usage(message),
            Some(4) => Failure::Disk(message),
            _ => Failure::Start(message),
        }
    }

    fn ended(&mut self) -> Option<String> {
        let status = self.process.try_wait().ok()??;
        let said = self.log.as_deref().map(last_lines).unwrap_or_default();
        Some(format!("{} has ended by itself ({}){said}", self.name, how(status)))
    }

    fn ask_to_stop(&mut self) {
        drop(self.stdin.take());
    }

    /// Waits until it has stopped, or kills it. `limit` is how long that has been, all told.
    fn stop_by(&mut self, by: Instant, limit: Duration) -> Result<(), Failure> {
        self.ask_to_stop();
        let name = &self.name;
        let unknown = |error: std::io::Error| Failure::Start(format!("cannot wait for {name}: {error}"));
        loop {
            match self.process.try_wait().map_err(unknown)? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    let said = self.log.as_deref().map(last_lines).unwrap_or_default();
                    return Err(Failure::Start(format!("{name} did not stop cleanly ({}){said}", how(status))));
                }
                None if Instant::now() < by => std::thread::sleep(STOP_POLL),
                None => {
                    self.process.kill().and_then(|()| self.process.wait()).map_err(unknown)?;
                    return Err(Failure::Start(format!("{name} did not stop within {limit:?} and was killed")));
                }
            }
        }
    }
}

impl Drop for Child {
    /// On the way out of a failure, which has been told already.
    fn drop(&mut self) {
        let _ = self.stop_by(Instant::now() + STOP_WAIT_MAX, STOP_WAIT_MAX);
    }
}

fn check_wanted(cancel: &AtomicBool) -> Result<(), Failure> {
    if cancel.load(Ordering::Relaxed) { Err(Failure::No("interrupted".to_owned())) } else { Ok(()) }
}

/// How a process has ended.
fn how(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => status.to_string(),
    }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
    if shown.is_empty() { String::new() } else { format!("; it said:\n{}", shown.join("\n")) }
}

pub(crate) fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::Start(format!("{}: cannot {what} it: {error}", path.display()))
}
