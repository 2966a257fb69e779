//! A cluster of child processes on this machine.
//!
//! Invariants: a child stops when its standard input closes, so none outlives its parent, however
//! the parent ends; children are in a process group of their own, so Ctrl-C reaches the parent
//! alone, which then stops them in order; a process is only ever killed by its own handle.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use protocol::limits::PARTICIPANTS_MAX;

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

/// How often the nodes are looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

/// A node is started again at most so often within [`RESTART_WINDOW`]: one that ends at once has a reason that stays.
const RESTARTS_MAX: usize = 5;

/// See [`RESTARTS_MAX`].
const RESTART_WINDOW: Duration = Duration::from_secs(60);

/// The pause before a node is started again, which doubles with each time within the window.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

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
    coordinator: Box<Child>,
    participants: Vec<Child>,
}

/// What a cluster does about a node that has ended by itself.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// It has ended, and is started again.
    Ended { node: String, how: String, restart: usize },
    /// It runs again.
    Ready { node: String, address: String },
}

#[derive(Debug)]
struct Child {
    name: String,
    role: &'static str,
    id: u32,
    /// Further arguments.
    more: Vec<OsString>,
    /// When it was started again, within the window.
    restarts: VecDeque<Instant>,
    process: Process,
    stdin: Option<ChildStdin>,
    ready_line: Receiver<String>,
    address: String,
    log: Option<PathBuf>,
}

impl Cluster {
    /// Starts all nodes and waits until they are ready; gives up soon after `cancel` is set.
    pub(crate) fn start(spec: &ClusterSpec, cancel: &AtomicBool) -> Result<Self, Failure> {
        check_folders(spec)?;
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
        Ok(Self { coordinator: Box::new(coordinator), participants })
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

    /// Watches the nodes until `cancel` is set, and starts again those that have ended by themselves. What it does is told
    /// through `tell`.
    ///
    /// # Errors
    /// A node that is not started again: it has ended too often, or its exit code says that somebody has to look.
    pub(crate) fn keep_up(
        &mut self,
        spec: &ClusterSpec,
        cancel: &AtomicBool,
        tell: &mut dyn FnMut(Told) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        while !cancel.load(Ordering::Relaxed) {
            std::thread::sleep(WATCH_INTERVAL);
            for child in self.all() {
                child.keep_up(spec, cancel, tell)?;
            }
        }
        Ok(())
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
        std::iter::once(&mut *self.coordinator).chain(&mut self.participants)
    }
}

impl Child {
    fn spawn(
        spec: &ClusterSpec,
        role: &'static str,
        id: u32,
        listen: &str,
        more: &[OsString],
    ) -> Result<Self, Failure> {
        let name = format!("{role} {id}");
        let cannot_start = |error: std::io::Error| Failure::Start(format!("cannot start {name}: {error}"));
        let folder = spec.root.join(format!("{role}-{id}"));
        let log = spec.logs_to_files.then(|| folder.with_extension("log"));
        let stderr = match &log {
            Some(log) => {
                let opened = File::options().create(true).append(true).open(log);
                opened.map_err(|error| cannot("create", log, &error))?.into()
            }
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
        let (more, restarts) = (more.to_vec(), VecDeque::new());
        let child = Self { name, role, id, more, restarts, process, stdin, ready_line, address: String::new(), log };
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

    /// Starts it again if it has ended by itself, until it runs or there is no use in it.
    fn keep_up(
        &mut self,
        spec: &ClusterSpec,
        cancel: &AtomicBool,
        tell: &mut dyn FnMut(Told) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        while let Some(status) = self.process.try_wait().ok().flatten() {
            let how = how(status);
            // It has said itself what is wrong, and that does not go away by itself.
            if let Some(2 | 4) = status.code() {
                return Err(self.given_up(&how, "somebody has to look at it first", status.code()));
            }
            let Some(pause) = self.restart_pause(Instant::now()) else {
                let often = format!("it was started again {RESTARTS_MAX} times within {RESTART_WINDOW:?}");
                return Err(self.given_up(&how, &often, status.code()));
            };
            tell(Told::Ended { node: self.name.clone(), how, restart: self.restarts.len() })?;
            let until = Instant::now() + pause;
            while Instant::now() < until && !cancel.load(Ordering::Relaxed) {
                std::thread::sleep(CANCEL_POLL.min(pause));
            }
            if cancel.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.start_again(spec)?;
            match self.wait_ready(cancel) {
                Ok(()) => tell(Told::Ready { node: self.name.clone(), address: self.address.clone() })?,
                Err(_) if cancel.load(Ordering::Relaxed) => return Ok(()),
                // It has ended again: the next round says so and counts it.
                Err(_) if self.process.try_wait().is_ok_and(|status| status.is_some()) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// How long to wait before it is started once more; `None` if that was done too often of late.
    fn restart_pause(&mut self, now: Instant) -> Option<Duration> {
        self.restarts.retain(|at| now.duration_since(*at) < RESTART_WINDOW);
        let before = self.restarts.len();
        if before == RESTARTS_MAX {
            return None;
        }
        self.restarts.push_back(now);
        Some(RESTART_PAUSE * 2_u32.pow(before as u32))
    }

    fn given_up(&self, how: &str, why: &str, code: Option<i32>) -> Failure {
        let message = format!("{} has ended by itself ({how}); {why}; the cluster is stopped", self.name);
        if code == Some(4) { Failure::Disk(message) } else { Failure::Start(message) }
    }

    /// Replaces the process that has ended by another one that listens where it did.
    fn start_again(&mut self, spec: &ClusterSpec) -> Result<(), Failure> {
        let mut again = Self::spawn(spec, self.role, self.id, &self.address, &self.more)?;
        std::mem::swap(&mut again.restarts, &mut self.restarts);
        std::mem::swap(&mut again.address, &mut self.address);
        *self = again;
        Ok(())
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

/// A cluster keeps the number of participants that it was started with: its keys were dealt to them.
fn check_folders(spec: &ClusterSpec) -> Result<(), Failure> {
    let has_log = |folder: &str| spec.root.join(folder).join("superblock").exists();
    if !has_log("coordinator-1") {
        return Ok(());
    }
    let found = (1..=PARTICIPANTS_MAX as u32).filter(|id| has_log(&format!("participant-{id}"))).count();
    if found == spec.participants as usize {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{}: this is a cluster of {found} participants, not of {}; nothing was started: give --participants {found}, \
         or another directory",
        spec.root.display(),
        spec.participants
    )))
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
