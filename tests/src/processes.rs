//! Real nodes: processes of the binary `assent` on loopback, with folders of their own, which a
//! test kills, stops and starts again.
//!
//! Every process is ended by its own handle when its owner is dropped.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;

/// How long a node may take to say that it is ready, or to stop when told to.
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test.
static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// Takes another binary to test than the one that [`assent`] builds.
///
/// # Panics
/// If it was called before, or after [`assent`].
pub fn use_assent(binary: PathBuf) {
    BINARY.set(binary).expect("the binary under test is chosen once, before its first use");
}

/// `target/<profile>`, where this program was built: a test in its folder `deps`, or a binary.
fn profile_folder() -> PathBuf {
    let itself = std::env::current_exe().expect("the program's own path");
    let folder = itself.parent().expect("a folder");
    let profile_folder = if folder.ends_with("deps") { folder.parent().expect("target/<profile>") } else { folder };
    profile_folder.to_owned()
}

/// The binary under test, built once in the profile of the tests.
pub fn assent() -> &'static Path {
    BINARY.get_or_init(|| {
        let profile_folder = profile_folder();
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "--package", "cli", "--bin", "assent"]);
        if profile_folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success(), "the binary builds");
        profile_folder.join("assent")
    })
}

/// How a node is started, besides what its role and number say.
#[derive(Default)]
pub struct Launch {
    /// Its data directory; a folder of the cluster if not given.
    pub data: Option<PathBuf>,
    /// Further arguments.
    pub args: Vec<String>,
    /// A command that runs the node in its own place, such as `prlimit --nofile=64`.
    pub prefix: Vec<String>,
    /// Where its log lines go; a file of the cluster if not given.
    pub stderr: Option<OwnedFd>,
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
    prefix: Vec<String>,
    stderr: Option<OwnedFd>,
    log: PathBuf,
    child: Option<Child>,
}

impl Node {
    fn new(folder: &Path, role: &str, number: u32, launch: Launch) -> Self {
        let name = name_of(role, number);
        let data = launch.data.unwrap_or_else(|| folder.join(&name));
        let args = [role, "--id", &number.to_string(), "--data", &data.to_string_lossy()].map(str::to_owned);
        Self {
            log: folder.join(format!("{name}.log")),
            name,
            address: "127.0.0.1:0".to_owned(),
            data,
            args: args.into_iter().chain(launch.args).collect(),
            prefix: launch.prefix,
            stderr: launch.stderr,
            child: None,
        }
    }

    /// Another process under its number, with the same arguments and these, on this directory and a port of its own; it is
    /// not started.
    #[must_use]
    pub fn twin(&self, name: &str, data: &Path, more_args: &[String]) -> Self {
        let mut args = self.args.clone();
        args.extend_from_slice(more_args);
        let log = self.log.with_file_name(format!("{name}.log"));
        let address = "127.0.0.1:0".to_owned();
        let (data, prefix) = (data.to_owned(), self.prefix.clone());
        let mut twin = Self { name: name.to_owned(), address, data, args, prefix, stderr: None, log, child: None };
        let data = twin.data.to_string_lossy().into_owned();
        twin.give("--data", &data);
        twin
    }

    /// Gives it another value of a flag, from its next start on.
    pub fn give(&mut self, flag: &str, value: &str) {
        let at = self.args.iter().position(|arg| arg == flag).expect("it has the flag");
        self.args[at + 1] = value.to_owned();
    }

    /// Starts the process and waits until it is ready.
    pub fn start(&mut self) {
        let patience = Instant::now() + PATIENCE;
        while let Err(why) = self.try_start() {
            let log = self.log();
            // Another test's connection has its port for a moment.
            let is_taken = log.lines().last().is_some_and(|last| last.contains("Address already in use"));
            assert!(is_taken && Instant::now() < patience, "{} did not start ({why}):\n{log}", self.name);
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The same of a process that may fail to start.
    ///
    /// # Errors
    /// How it ended, as a sentence.
    pub fn try_start(&mut self) -> Result<(), String> {
        let ready = self.spawn();
        let Ok(ready) = serde_json::from_str::<serde_json::Value>(&ready) else {
            return Err(format!("it ended with {}", self.wait_for_end()));
        };
        self.address = ready["address"].as_str().expect("an address").to_owned();
        Ok(())
    }

    /// Starts it with standard error going somewhere else than to the log's file, until it ends.
    pub fn start_logging_to(&mut self, stderr: OwnedFd) {
        let usual = self.stderr.replace(stderr);
        self.start();
        self.stderr = usual;
    }

    /// Limits how many files it may have open, soft and hard, from its next start on.
    pub fn limit_open_files(&mut self, max: u32) {
        let script = format!(r#"ulimit -n {max}; exec "$@""#);
        self.prefix = ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec();
    }

    /// Whether it was started, and neither killed nor seen to end.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
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
        let log: Stdio = match &self.stderr {
            Some(stderr) => stderr.try_clone().expect("a further descriptor").into(),
            None => OpenOptions::new().create(true).append(true).open(&self.log).expect("the log opens").into(),
        };
        let mut words = self.prefix.iter().map(OsStr::new).chain([assent().as_os_str()]);
        // A node stops when its standard input closes, so none outlives the program that started it.
        let mut child = Command::new(words.next().expect("a program"))
            .args(words)
            .args(&self.args)
            .args(["--listen", &self.address, "--stop-with-stdin"])
            .stdin(Stdio::piped())
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

    /// SIGTERM; returns how it ended, if it did so within this time.
    pub fn terminate_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        self.ended_within(patience)
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

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process can be signalled");
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Pid {
        let child = self.child.as_ref().expect("a running process");
        Pid::from_raw(i32::try_from(child.id()).expect("a process id")).expect("a process id")
    }

    /// Processor time that it has used since it was started.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid().as_raw_nonzero())).expect("it runs");
        // The name of the program, which is in parentheses, may hold spaces; user and system time are the 14th and 15th field.
        let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
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

fn name_of(role: &str, number: u32) -> String {
    format!("{}{number}", &role[..1])
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
        route: impl FnMut(u32, String) -> String,
        data_of: &dyn Fn(&str) -> Option<PathBuf>,
    ) -> Self {
        let args: Vec<String> = more_args.iter().map(|arg| (*arg).to_owned()).collect();
        let launch = |name: &str| Launch { data: data_of(name), args: args.clone(), ..Launch::default() };
        Self::start_launched(participants, route, launch)
    }

    /// The same, with each node started as `launch` says for names like `c1` and `p2`.
    pub fn start_launched(
        participants: u32,
        mut route: impl FnMut(u32, String) -> String,
        mut launch: impl FnMut(&str) -> Launch,
    ) -> Self {
        let folder = tempfile::Builder::new().prefix("cluster-").tempdir_in(target_folder()).expect("a folder");
        let participants: Vec<Node> = (1..=participants)
            .map(|number| {
                let launch = launch(&name_of("participant", number));
                let mut node = Node::new(folder.path(), "participant", number, launch);
                node.start();
                node
            })
            .collect();
        let mut launch = launch(&name_of("coordinator", 1));
        for (number, node) in (1..).zip(&participants) {
            let address = route(number, node.address.clone());
            launch.args.extend(["--participant".to_owned(), format!("{number}={address}")]);
        }
        let mut coordinator = Node::new(folder.path(), "coordinator", 1, launch);
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
    let folder = profile_folder().join("test-data");
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    folder
}

/// Opens a file for reading, for tests that look at a node's folder.
pub fn open(path: &Path) -> File {
    File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
