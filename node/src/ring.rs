//! Starts the io_uring runtime, and says clearly what to change where it is refused.

use std::future::Future;

use engine::ring::RingRefused;
use rustix::io::Errno;

use crate::error::NodeError;
use crate::limits::RING_ENTRIES;

/// Runs `future` on a ring of this thread, once a no-op has shown that a ring may be used: the runtime does not tell of a
/// refused operation, it waits for it.
pub(crate) fn block_on<F: Future>(future: F) -> Result<F::Output, NodeError> {
    engine::ring::probe().map_err(refused)?;
    let mut flags = tokio_uring::uring_builder();
    flags.setup_coop_taskrun().setup_single_issuer();
    let mut builder = tokio_uring::builder();
    builder.entries(RING_ENTRIES).uring_builder(&flags);
    let runtime = tokio_uring::Runtime::new(&builder)
        .map_err(|source| refused(RingRefused { call: "io_uring_setup", source }))?;
    Ok(runtime.block_on(future))
}

fn refused(refused: RingRefused) -> NodeError {
    let RingRefused { call, source } = refused;
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
    NodeError::Ring { call, source, advice }
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
            let text = refused(RingRefused { call: "io_uring_enter", source: errno.into() }).to_string();
            assert!(text.contains("io_uring_enter"), "{text}");
            assert!(text.contains(setting), "{text}");
        }
    }
}
