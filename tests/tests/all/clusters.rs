//! `assent cluster`: child processes that are kept up, and directories that fit.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::processes::{assent, target_folder};
use tests::terminal::Terminal;

const PATIENCE: Duration = Duration::from_secs(60);

/// A running `assent cluster --json`, and what it says.
struct Running {
    child: Child,
    lines: Receiver<Value>,
}

impl Running {
    fn start(data: &Path, participants: &str) -> Self {
        let mut child = Command::new(assent())
            .args(["cluster", "--json", "--listen", "127.0.0.1:0", "--participants", participants, "--data"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let (line_to, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = line_to.send(serde_json::from_str(&line).expect("a document"));
            }
        });
        Self { child, lines }
    }

    /// The next thing that it says, which has this field.
    fn says(&self, field: &str) -> Value {
        let said = self.lines.recv_timeout(PATIENCE).expect("a line");
        assert!(!said[field].is_null(), "{said}");
        said
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id")).expect("a process id");
        kill_process(pid, signal).expect("it can be signalled");
    }

    fn end(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status.code();
            }
            assert!(Instant::now() < until, "the cluster does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process of the child whose data lies here: a child of `parent` with this argument.
fn process_of(parent: &Child, data: &Path) -> Option<Pid> {
    let tasks = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", parent.id())).unwrap_or_default();
    let all = std::fs::read_dir(format!("/proc/{}/task", parent.id())).expect("its threads");
    let of_threads = all.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    let children: Vec<i32> = std::iter::once(tasks)
        .chain(of_threads)
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect();
    let data = data.to_string_lossy().into_owned();
    let found = children.into_iter().find(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == data.as_bytes())
    });
    found.and_then(Pid::from_raw)
}

fn kill(running: &Running, data: &Path) {
    let until = Instant::now() + PATIENCE;
    let pid = loop {
        if let Some(pid) = process_of(&running.child, data) {
            break pid;
        }
        assert!(Instant::now() < until, "no process of {}", data.display());
        std::thread::sleep(Duration::from_millis(20));
    };
    kill_process(pid, Signal::KILL).expect("it can be killed");
}

fn txn(coordinator: &str, operation: &str) -> (Option<i32>, String) {
    let run = Command::new(assent())
        .args(["txn", "--coordinator", coordinator, "--deadline", "20s", operation])
        .output()
        .expect("the binary runs");
    let said = [run.stdout, run.stderr].concat();
    (run.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_killed_child_is_started_again_where_it_was_and_given_up_when_it_ends_too_often() {
    let folder = tempfile::tempdir_in(target_folder()).expect("a folder");
    let mut running = Running::start(folder.path(), "2");
    let ready = running.says("ready");
    let coordinator = ready["coordinator"].as_str().expect("an address").to_owned();
    assert_eq!(txn(&coordinator, "put:k=v").0, Some(0));
    for (name, node) in [("participant-1", "participant 1"), ("coordinator-1", "coordinator 1")] {
        kill(&running, &folder.path().join(name));
        let ended = running.says("ended");
        assert_eq!((&ended["ended"], &ended["how"], &ended["restart"]), (&node.into(), &"signal 9".into(), &1.into()));
        let again = running.says("ready_again");
        assert_eq!(again["ready_again"], node);
        if node.starts_with('c') {
            assert_eq!(again["address"], coordinator);
        } else {
            assert_eq!(again["address"], ready["participants"][0]["address"]);
        }
    }
    assert_eq!(txn(&coordinator, "expect:k=v").0, Some(0), "what was committed is there");
    for restart in 1..=5 {
        kill(&running, &folder.path().join("participant-2"));
        assert_eq!(running.says("ended")["restart"], restart);
        running.says("ready_again");
    }
    kill(&running, &folder.path().join("participant-2"));
    let given_up = running.says("error")["error"].as_str().expect("a sentence").to_owned();
    assert!(
        given_up.contains("participant 2 has ended by itself (signal 9); it was started again 5 times"),
        "{given_up}"
    );
    assert_eq!(running.end(), Some(3));
}

#[test]
fn a_cluster_whose_terminal_is_closed_stops_and_leaves_nothing_unless_it_was_told_to_go_on() {
    let start = |folder: &Path, prefix: &[&str]| {
        let terminal = Terminal::open();
        let mut words = prefix.iter().map(AsRef::as_ref).chain([assent().as_os_str()]);
        let child = Command::new(words.next().expect("a program"))
            .args(words)
            .args(["cluster", "--listen", "127.0.0.1:0", "--participants", "2"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(terminal.other_end())
            .stderr(terminal.other_end())
            .spawn()
            .expect("the binary starts");
        let mut shown = String::new();
        while !shown.contains("ready; Ctrl-C") {
            let mut chunk = [0; 4_096];
            let count = (&terminal.keyboard).read(&mut chunk).expect("the terminal shows something");
            shown += &String::from_utf8_lossy(&chunk[..count]);
        }
        (Running { child, lines: channel().1 }, terminal)
    };
    let count = |folder: &Path| std::fs::read_dir(folder).expect("the folder").count();
    let folder = tempfile::tempdir_in(target_folder()).expect("a folder");
    let (mut running, terminal) = start(folder.path(), &[]);
    let nodes = || {
        ["participant-1", "participant-2", "coordinator-1"].map(|node| {
            let root = std::fs::read_dir(folder.path()).expect("the folder").next();
            root.and_then(|root| process_of(&running.child, &root.expect("a folder").path().join(node)))
        })
    };
    let children = nodes();
    assert!(children.iter().all(Option::is_some) && count(folder.path()) == 1);
    // Whatever it says now, it says to nobody.
    drop(terminal);
    running.signal(Signal::HUP);
    assert_eq!(running.end(), Some(0));
    assert_eq!(count(folder.path()), 0, "its temporary folder is removed");
    for child in children.into_iter().flatten() {
        assert!(!Path::new(&format!("/proc/{}", child.as_raw_nonzero())).exists(), "its nodes have ended");
    }

    let (mut running, terminal) = start(folder.path(), &["sh", "-c", r#"trap '' HUP; exec "$@""#, "sh"]);
    drop(terminal);
    running.signal(Signal::HUP);
    std::thread::sleep(Duration::from_millis(500));
    assert!(running.child.try_wait().expect("it can be waited for").is_none(), "as `nohup` has it");
    running.signal(Signal::TERM);
    assert_eq!((running.end(), count(folder.path())), (Some(0), 0));
}

#[test]
fn another_number_of_participants_than_a_directory_has_is_refused_and_creates_nothing() {
    let folder = tempfile::tempdir_in(target_folder()).expect("a folder");
    let mut running = Running::start(folder.path(), "3");
    running.says("ready");
    running.signal(Signal::QUIT);
    assert_eq!(running.end(), Some(0));
    let names = || {
        let entries = std::fs::read_dir(folder.path()).expect("the folder");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    for participants in ["5", "2"] {
        let mut refused = Running::start(folder.path(), participants);
        let error = refused.says("error")["error"].as_str().expect("a sentence").to_owned();
        assert!(error.contains("this is a cluster of 3 participants, not of "), "{error}");
        assert_eq!(refused.end(), Some(2));
        assert_eq!(names(), before);
    }
    let mut again = Running::start(folder.path(), "3");
    again.says("ready");
    again.signal(Signal::TERM);
    assert_eq!(again.end(), Some(0));
}

#[test]
fn a_first_start_that_found_no_space_leaves_no_setting_behind() {
    let folder = tempfile::tempdir_in(target_folder()).expect("a folder");
    let start = |segment: &str| {
        // No file may become larger than 16 MiB: blocks of 512 bytes.
        let script = r#"ulimit -f 32768; exec "$@""#;
        Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(assent())
            .args([
                "participant",
                "--id",
                "1",
                "--listen",
                "127.0.0.1:0",
                "--log-segment",
                segment,
                "--stop-with-stdin",
            ])
            .arg("--data")
            .arg(folder.path().join("p1"))
            .stdin(Stdio::null())
            .output()
            .expect("the shell runs")
    };
    let refused = start("64MiB");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{said}");
    assert!(said.contains("creating a segment failed"), "{said}");
    let started = start("8MiB");
    let said = String::from_utf8_lossy(&started.stderr);
    assert_eq!(started.status.code(), Some(0), "{said}");
    let length = std::fs::metadata(folder.path().join("p1/segment-0000")).expect("a segment").len();
    assert_eq!(length, 8 << 20);
}
