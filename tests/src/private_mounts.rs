//! Tests that mount file systems run in a process of their own, in namespaces of mounts and processes of their own: nobody else
//! sees what they mount, and it is gone, with every node that they started, when they end in whatever way.

use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Set in the process that runs the test.
const INSIDE: &str = "ASSENT_TEST_PRIVATE_MOUNTS";

/// What a test needs besides root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// `/dev/fuse`.
    Fuse,
    /// Loop devices, ext4, and the programs that make and mount an image.
    LoopDevice,
}

impl Needs {
    fn missing(self) -> Option<String> {
        let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
        match self {
            Self::Fuse if !Path::new("/dev/fuse").exists() => Some("there is no /dev/fuse".to_owned()),
            Self::LoopDevice if !Path::new("/dev/loop-control").exists() => {
                Some("there are no loop devices".to_owned())
            }
            Self::LoopDevice => ["mkfs.ext4", "mount", "umount", "perl"]
                .into_iter()
                .find(|program| !has(program))
                .map(|program| format!("there is no {program}")),
            Self::Fuse => None,
        }
    }
}

/// Tells whoever runs the tests, also where the output of tests that pass is kept from them.
pub fn say(text: &str) {
    // Only what is printed by macros is kept; a reader that is gone misses it.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Whether the caller is to run the test `name` (its path within the test binary) here and now. Otherwise it has been run
/// in a process of its own, or skipped, and the reason told on standard error.
///
/// # Panics
/// The test failed there.
pub fn inside(name: &str, needs: Needs) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if let Some(reason) = why_not(needs) {
        say(&format!("skipped: {name}: {reason}\n"));
        return false;
    }
    let itself = std::env::current_exe().expect("the test's own path");
    let output = namespaces()
        .arg(itself)
        .args(["--exact", name, "--nocapture", "--include-ignored"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare runs");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} failed");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{name} is the test's path");
    false
}

fn namespaces() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command
}

fn why_not(needs: Needs) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it mounts a file system, and only root may".to_owned());
    }
    match namespaces().arg("true").output() {
        Err(error) => return Some(format!("unshare cannot be run: {error}")),
        Ok(output) if !output.status.success() => {
            return Some(format!("no namespaces: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        Ok(_) => {}
    }
    needs.missing()
}
