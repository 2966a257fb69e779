//! `assent bank shell` at a terminal: a pseudo terminal whose other end types.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use tests::processes::{Cluster, assent};
use tests::terminal::Terminal;

const PATIENCE: Duration = Duration::from_secs(20);

/// A shell, its terminal, and what it has shown.
struct Shell {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    shown: String,
}

impl Shell {
    fn start(cluster: &Cluster) -> Self {
        let terminal = Terminal::open();
        let child = Command::new(assent())
            .args(["bank", "--coordinator", &cluster.coordinator.address, "shell"])
            .env("TERM", "xterm")
            .stdin(terminal.other_end())
            .stdout(terminal.other_end())
            .stderr(terminal.other_end())
            .spawn()
            .expect("the binary starts");
        let keyboard = terminal.keyboard;
        let mut reader = keyboard.try_clone().expect("another handle");
        let (show, screen) = channel();
        std::thread::spawn(move || {
            let mut chunk = [0; 4_096];
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                if show.send(chunk[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard, screen, shown: String::new() }
    }

    fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("the terminal takes it");
    }

    /// Waits until this has been shown so many times.
    fn wait_for(&mut self, text: &str, times: usize) {
        let until = Instant::now() + PATIENCE;
        while self.shown.matches(text).count() < times {
            match self.screen.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("{text:?} was not shown {times} times:\n{}", self.shown)
                }
            }
        }
    }

    fn end(mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                assert!(status.success(), "{}", self.shown);
                return;
            }
            assert!(Instant::now() < until, "the shell does not leave:\n{}", self.shown);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bank() -> Cluster {
    let cluster = Cluster::start(2, &[]);
    let opened = Command::new(assent())
        .args(["bank", "--coordinator", &cluster.coordinator.address, "open", "10", "--balance", "100"])
        .output()
        .expect("the binary runs");
    assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
    cluster
}

#[test]
fn lines_that_are_pasted_or_typed_ahead_all_run() {
    let cluster = bank();
    let mut shell = Shell::start(&cluster);
    // Before the first prompt.
    shell.type_in("send 1 2 1\nsend 1 2 2\n");
    shell.wait_for("moved", 2);
    // At a prompt, in one piece, with both ends of a line that terminals send.
    shell.type_in("send 1 2 3\rsend 1 2 4\rbalance 1\r");
    shell.wait_for("moved", 4);
    shell.wait_for("account 1: 90", 1);
    // While a command runs.
    shell.type_in("audit\r");
    shell.type_in("send 1 2 5\rbal");
    shell.type_in("ance 1\r");
    shell.wait_for("account 1: 85", 1);
    shell.type_in("quit\r");
    shell.end();
}

#[test]
fn a_bracketed_paste_is_as_many_commands_as_it_has_lines() {
    let cluster = bank();
    let mut shell = Shell::start(&cluster);
    shell.wait_for("bank> ", 1);
    shell.type_in("\x1b[200~send 1 2 10\rsend 1 2 20\nbalance 1\x1b[201~");
    shell.type_in("\r");
    shell.wait_for("account 1: 70", 1);
    shell.wait_for("moved", 2);
    shell.type_in("\x1b[200~balance 2\nquit\nbalance 3\x1b[201~\r");
    shell.wait_for("account 2: 130", 1);
    shell.end();
}
