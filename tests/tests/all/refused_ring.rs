//! A node in a container whose seccomp profile refuses io_uring, or a part of it.

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use tests::processes::{assent, target_folder};

/// The numbers of the system calls, on every architecture.
const IO_URING_SETUP: i64 = 425;
const IO_URING_ENTER: i64 = 426;

/// How long a refused start may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a participant that may not use one system call, until it ends.
fn start_without(call: i64, errno: Errno) -> Output {
    // The filter binds the thread that applies it, and what that starts.
    let start = move || {
        let folder = tempfile::tempdir_in(target_folder()).expect("a folder");
        let binary = assent();
        let refuse = SeccompAction::Errno(errno.raw_os_error().cast_unsigned());
        let arch = std::env::consts::ARCH.try_into().expect("a known architecture");
        let filter = SeccompFilter::new(BTreeMap::from([(call, vec![])]), SeccompAction::Allow, refuse, arch);
        let program: BpfProgram = filter.expect("a filter").try_into().expect("a program");
        apply_filter(&program).expect("the filter is taken");
        let mut node = Command::new(binary)
            .args(["participant", "--id", "1", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.path().join("p1"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let until = Instant::now() + PATIENCE;
        while node.try_wait().expect("it can be waited for").is_none() {
            if Instant::now() > until {
                node.kill().expect("it can be killed");
                let said = node.wait_with_output().expect("it ends").stderr;
                panic!("the node waits for a ring that it may not use:\n{}", String::from_utf8_lossy(&said));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        node.wait_with_output().expect("it has ended")
    };
    std::thread::spawn(start).join().expect("the thread ends")
}

#[test]
fn a_refused_call_is_noticed_at_the_start_and_named_with_the_setting() {
    assent();
    for (call, name) in [(IO_URING_SETUP, "io_uring_setup"), (IO_URING_ENTER, "io_uring_enter")] {
        for (errno, setting) in [(Errno::PERM, "kernel.io_uring_disabled"), (Errno::NOSYS, "seccomp profile")] {
            let refused = start_without(call, errno);
            let said = String::from_utf8_lossy(&refused.stderr);
            assert_eq!(refused.status.code(), Some(3), "{said}");
            assert!(said.contains(&format!("io_uring is refused ({name}: ")) && said.contains(setting), "{said}");
        }
    }
}
