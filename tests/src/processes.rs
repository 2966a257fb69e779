//! Real nodes: processes of the binary `assent` on loopback, with folders of their own, which a
//! test kills, stops and starts again.
//!
//! Every process is ended by its own handle when its owner is dropped.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;

/// How long a node may take to say that it is ready, or to stop when told to.
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test, built once in the profile of the tests.
pub fn assent() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test_binary = std::env::current_exe().expect("the test's own path");
        let profile_folder = test_binary.parent().and_then(Path::parent).expect("target/<profile>/deps");
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "--package", "cli", "--bin", "assent"]);
        if profile_folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success(), "the binary builds");
        profile_folder.join("assent")
    })
}

/// One node: a command line that can be run again and again.
pub struct Node {
    /// `c1`, `p2`.
    pub name: String,
    /// Where it listens; the same after every restart.
    pub address: String,
    /// Its data directory.
    pub data: PathBuf,
    args: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Node {
    fn new(
        folder: &Path,
        role: &str,
        number: u32,
        more_args: &[String],
        data_of: &dyn Fn(&str) -> Option<PathBuf>,
    ) -> Self {
        let name = format!("{}{number}", &role[..1]);
        let data = data_of(&name).unwrap_or_else(|| folder.join(&name));
        let args = [role, "--id", &number.to_string(), "--data", &data.to_string_lossy()].map(str::to_owned);
        Self {
            log: folder.join(format!("{name}.log")),
            name,
            address: "127.0.0.1:0".to_owned(),
            data,
            args: args.into_iter().chain(more_args.iter().cloned()).collect(),
            child: None,
        }
    }

    /// Starts the process and waits until it is ready.
    pub fn start(&mut self) {
        let ready = self.spawn();
        let ready: serde_json::Value =
            serde_json::from_str(&ready).unwrap_or_else(|_| panic!("{} did not start:\n{}", self.name, self.log()));
        self.address = ready["address"].as_str().expect("an address").to_owned();
    }

    /// Starts the process, which must refuse to run; returns how it ended.
    pub fn start_refused(&mut self) -> ExitStatus {
        let ready = self.spawn();
        assert_eq!(ready, "", "{} started", self.name);
        self.wait_for_end()
    }

    /// Spawns the process; returns the line with which it says that it is ready.
    fn spawn(&mut self) -> String {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).expect("the log opens");
        let mut child = Command::new(assent())
            .args(&self.args)
            .args(["--listen", &self.address])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let mut ready = String::new();
        let stdout = child.stdout.take().expect("standard output is a pipe");
        BufReader::new(stdout).read_line(&mut ready).expect("a line");
        self.child = Some(child);
        ready
    }

    /// SIGKILL, in the middle of whatever it does.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("a running process");
        child.kill().expect("the process can be killed");
        child.wait().expect("the process ends");
    }

    /// SIGTERM; returns how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_for_end()
    }

    /// Waits until it ends by itself; returns how.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let status = self.ended_within(PATIENCE);
        status.unwrap_or_else(|| panic!("{} does not stop:\n{}", self.name, self.log()))
    }

    /// How it ended, if it did so by itself within this time.
    pub fn ended_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let child = self.child.as_mut().expect("a running process");
        let patience = Instant::now() + patience;
        loop {
            if let Some(status) = child.try_wait().expect("the process can be waited for") {
                self.child = None;
                return Some(status);
            }
            if Instant::now() >= patience {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Limits how large its files may become from now on, in bytes.
    pub fn limit_file_size(&self, bytes: Option<u64>) {
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(self.pid()), Resource::Fsize, limit).expect("the process can be limited");
    }

    /// SIGSTOP: it is there, and does nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process can be signalled");
    }

    fn pid(&self) -> Pid {
        let child = self.child.as_ref().expect("a running process");
        Pid::from_raw(i32::try_from(child.id()).expect("a process id")).expect("a process id")
    }

    /// What it has logged, over all its runs.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its log, record by record, as `assent wal dump --json` prints it.
    pub fn dump(&self) -> Vec<serde_json::Value> {
        let output = Command::new(assent()).args(["wal", "dump", "--json"]).arg(&self.data).output().expect("it runs");
        assert!(output.status.success(), "wal dump: {}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).expect("text");
        lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{}", self.name, self.log());
        }
    }
}

/// A coordinator and its participants.
pub struct Cluster {
    /// `c1`. Dropped before its participants.
    pub coordinator: Node,
    /// `p1`, `p2`, ...
    pub participants: Vec<Node>,
    folder: TempDir,
}

impl Cluster {
    /// Starts `c1` over `participants` participants, each with these further arguments.
    pub fn start(participants: u32, more_args: &[&str]) -> Self {
        Self::start_behind(participants, more_args, |_, address| address)
    }

    /// The same, but the coordinator dials what `route` makes of a participant's number and address.
    pub fn start_behind(participants: u32, more_args: &[&str], route: impl FnMut(u32, String) -> String) -> Self {
        Self::start_with(participants, more_args, route, &|_name| None)
    }

    /// The same, with the data directories that `data_of` gives for names like `c1` and `p2`.
    pub fn start_on(participants: u32, more_args: &[&str], data_of: &dyn Fn(&str) -> Option<PathBuf>) -> Self {
        Self::start_with(participants, more_args, |_, address| address, data_of)
    }

    fn start_with(
        participants: u32,
        more_args: &[&str],
        mut route: impl FnMut(u32, String) -> String,
        data_of: &dyn Fn(&str) -> Option<PathBuf>,
    ) -> Self {
        let folder = tempfile::Builder::new().prefix("cluster-").tempdir_in(target_folder()).expect("a folder");
        let more_args: Vec<String> = more_args.iter().map(|arg| (*arg).to_owned()).collect();
        let participants: Vec<Node> = (1..=participants)
            .map(|number| {
                let mut node = Node::new(folder.path(), "participant", number, &more_args, data_of);
                node.start();
                node
            })
            .collect();
        let mut coordinator_args = more_args;
        for (number, node) in (1..).zip(&participants) {
            let address = route(number, node.address.clone());
            coordinator_args.extend(["--participant".to_owned(), format!("{number}={address}")]);
        }
        let mut coordinator = Node::new(folder.path(), "coordinator", 1, &coordinator_args, data_of);
        coordinator.start();
        Self { coordinator, participants, folder }
    }

    /// A node by its place: 0 is the coordinator, `n` the participant `n`.
    pub fn node(&mut self, place: usize) -> &mut Node {
        if place == 0 { &mut self.coordinator } else { &mut self.participants[place - 1] }
    }

    /// All nodes, the coordinator first.
    pub fn nodes(&mut self) -> impl Iterator<Item = &mut Node> {
        std::iter::once(&mut self.coordinator).chain(&mut self.participants)
    }

    /// The folder of all nodes' data and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Where tests put files: on the file system of the build, not on one in memory.
pub fn target_folder() -> PathBuf {
    let folder = assent().parent().expect("target/<profile>").join("test-data");
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    folder
}

/// Opens a file for reading, for tests that look at a node's folder.
pub fn open(path: &Path) -> File {
    File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
