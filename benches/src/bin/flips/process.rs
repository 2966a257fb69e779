//! The parent's end of a child: a question, an answer in time, or the child's end.
//!
//! Invariant: a child never outlives this value.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use crate::limits::LAST_WORDS_BYTES_MAX;
use crate::record::shortened;

/// What came back.
pub(crate) enum Answer {
    /// A line.
    Line(String),
    /// None in time. The child is killed.
    Late,
    /// None, and the child is gone: how it ended, and the last that it said on standard error.
    Gone(String),
}

/// A child.
pub(crate) struct Process {
    child: Child,
    answers: Receiver<io::Result<String>>,
    stderr: PathBuf,
}

impl Process {
    /// Starts this program with other arguments. Its standard error goes to the file `stderr`.
    pub(crate) fn start(arguments: &[&str], stderr: &Path) -> io::Result<Process> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(stderr)?)
            .spawn()?;
        // One question is answered at a time; a child that says more waits.
        let (sender, answers) = sync_channel(1);
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || BufReader::new(stdout).lines().try_for_each(|line| sender.send(line)));
        }
        Ok(Process { child, answers, stderr: stderr.to_owned() })
    }

    /// Sends a line, and waits for the answer.
    pub(crate) fn ask(&mut self, question: &str, timeout: Duration) -> io::Result<Answer> {
        let asked = match &mut self.child.stdin {
            Some(stdin) => writeln!(stdin, "{question}"),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        match asked {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.gone(),
            Err(error) => Err(error),
            Ok(()) => self.hear(timeout),
        }
    }

    /// Waits for a line.
    pub(crate) fn hear(&mut self, timeout: Duration) -> io::Result<Answer> {
        match self.answers.recv_timeout(timeout) {
            Ok(line) => line.map(Answer::Line),
            Err(RecvTimeoutError::Timeout) => self.child.kill().map(|()| Answer::Late),
            Err(RecvTimeoutError::Disconnected) => self.gone(),
        }
    }

    fn gone(&mut self) -> io::Result<Answer> {
        let status = self.child.wait()?;
        let said = fs::read(&self.stderr)?;
        let last = String::from_utf8_lossy(&said[said.len().saturating_sub(LAST_WORDS_BYTES_MAX)..]);
        let last = last.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Answer::Gone(shortened(&format!("{status}; it last said: {last}"))))
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; a child that cannot be killed dies with this process.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
