//! Starts the io_uring runtime, and says clearly what to change where it is refused.

use std::future::Future;
use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::NodeError;
use crate::limits::{OTHER_DESCRIPTORS, RING_ENTRIES};

/// Runs `future` on a ring of this thread.
pub(crate) fn block_on<F: Future>(future: F) -> Result<F::Output, NodeError> {
    let mut flags = tokio_uring::uring_builder();
    flags.setup_coop_taskrun().setup_single_issuer();
    let mut builder = tokio_uring::builder();
    builder.entries(RING_ENTRIES).uring_builder(&flags);
    let runtime = tokio_uring::Runtime::new(&builder).map_err(refused)?;
    Ok(runtime.block_on(future))
}

fn refused(source: io::Error) -> NodeError {
    let advice = match Errno::from_io_error(&source) {
        Some(Errno::PERM | Errno::ACCESS) => {
            "set the sysctl kernel.io_uring_disabled to 0 (1 allows only privileged processes, 2 none); \
             in a container, allow io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile"
        }
        Some(Errno::NOSYS) => {
            "this kernel has no io_uring, or a seccomp profile hides it: run Linux 6.0 or newer, and in a container \
             allow io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile"
        }
        Some(Errno::NOMEM) => {
            "raise the limit of locked memory (ulimit -l, LimitMEMLOCK= of systemd) to at least 8 MiB"
        }
        Some(Errno::INVAL) => "this kernel is too old: run Linux 6.0 or newer",
        Some(Errno::MFILE | Errno::NFILE) => "raise the limit of open files (ulimit -n, LimitNOFILE= of systemd)",
        _ => "run Linux 6.0 or newer with io_uring allowed",
    };
    NodeError::Ring { source, advice }
}

/// Raises this process's limit of open files as far as it may be, and says so where it is too low.
pub(crate) fn raise_descriptor_limit(connections_max: usize) {
    let limit = getrlimit(Resource::Nofile);
    let wanted = connections_max as u64 + OTHER_DESCRIPTORS;
    let (Some(current), maximum) = (limit.current, limit.maximum.unwrap_or(u64::MAX)) else { return };
    if current >= wanted {
        return;
    }
    let raised = wanted.min(maximum);
    let result = setrlimit(Resource::Nofile, Rlimit { current: Some(raised.max(current)), maximum: limit.maximum });
    if result.is_err() || raised < wanted {
        tracing::warn!(
            connections_max,
            open_files_max = if result.is_err() { current } else { raised },
            "the limit of open files is below network.connections; raise it (ulimit -n, LimitNOFILE= of systemd)"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_setting() {
        for (errno, setting) in [
            (Errno::PERM, "kernel.io_uring_disabled"),
            (Errno::PERM, "seccomp"),
            (Errno::NOSYS, "seccomp"),
            (Errno::NOMEM, "ulimit -l"),
            (Errno::INVAL, "Linux 6.0"),
        ] {
            let text = refused(errno.into()).to_string();
            assert!(text.contains(setting), "{text}");
        }
    }
}
