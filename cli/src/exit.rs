//! How a command ends: its exit code and its one line of what went wrong. All codes are here.

use std::io;
use std::process::ExitCode;

use client::ClientError;

/// For `--help`.
pub(crate) const EXIT_CODES_HELP: &str = "\
Exit codes:
  0  done
  1  the answer is no: refused, aborted (also at its deadline, as when a participant is down: nothing of it happened),
     not found, an audit that does not add up, a line not applied
  2  a wrong flag, argument or setting
  3  a node cannot be reached or started, or there was no answer: what became of a transaction may be unknown
  4  the disk failed: the log of a node is damaged or could not be written
`assent wal verify` has its own: 0 sound, 1 torn tail, 2 damage, 3 not checked";

/// Why a command did not do what it was asked to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The answer is no.
    #[error("{0}")]
    No(String),
    /// The answer is no, and was printed.
    #[error("")]
    NoAsPrinted,
    /// What was found was printed; only its exit code is left to give.
    #[error("")]
    AsPrinted(u8),
    /// A wrong flag, argument or setting.
    #[error("{0}")]
    Usage(String),
    /// The coordinator cannot be reached, or does not answer.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// A process, file or port that is needed cannot be had.
    #[error("{0}")]
    Start(String),
    /// A log is damaged or could not be written.
    #[error("{0}")]
    Disk(String),
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// An answer of a kind that its question does not have.
    pub(crate) fn strange_answer() -> Self {
        Self::Start("the coordinator's answer does not fit the question; is it of another version?".to_owned())
    }

    /// Its exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::No(_) | Self::NoAsPrinted => 1,
            Self::AsPrinted(code) => *code,
            Self::Usage(_) | Self::Client(ClientError::Unsendable(_) | ClientError::NotACoordinator { .. }) => 2,
            Self::Client(
                ClientError::Unreachable { .. }
                | ClientError::NotAccepted { .. }
                | ClientError::WrongCluster { .. }
                | ClientError::Violation { .. }
                | ClientError::Unknown { .. },
            )
            | Self::Start(_) => 3,
            Self::Disk(_) => 4,
            // A reader that has seen enough (`| head`) is no failure.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Output(_) => 3,
        }
    }

    /// Says what went wrong, unless that was printed or nobody listens, and returns the code.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        let code = self.code();
        let message = self.to_string();
        if code != 0 && !message.is_empty() {
            let document = || serde_json::json!({ "error": message, "exit": code }).to_string();
            // Where standard output cannot be written, standard error is all that is left.
            let is_told = json && !matches!(self, Self::Output(_)) && crate::output::line(&document()).is_ok();
            if !is_told {
                crate::output::complain(&message);
            }
        }
        ExitCode::from(code)
    }
}
