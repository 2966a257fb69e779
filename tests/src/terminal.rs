//! A pseudo terminal: one end for a process under test, the other for the test that types and looks.

use std::fs::{File, OpenOptions};
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A terminal, and how to open its other end.
pub struct Terminal {
    /// What is written here was typed; what is read here was shown.
    pub keyboard: File,
    name: String,
}

impl Terminal {
    /// A new one. No process under test inherits this end, so dropping it closes the terminal.
    pub fn open() -> Self {
        let keyboard =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pseudo terminal");
        grantpt(&keyboard).and_then(|()| unlockpt(&keyboard)).expect("its other end");
        let name = ptsname(&keyboard, Vec::new()).expect("its name").into_string().expect("text");
        Self { keyboard: keyboard.into(), name }
    }

    /// The other end, for a process.
    pub fn other_end(&self) -> Stdio {
        OpenOptions::new().read(true).write(true).open(&self.name).expect("it opens").into()
    }
}
