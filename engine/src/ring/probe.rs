//! Whether this process may use io_uring: one no-op through a ring of its own.
//!
//! A ring that can be set up may still be refused later: a seccomp profile may allow `io_uring_setup` and forbid
//! `io_uring_enter`, and then the first operation of a runtime would wait for ever.

use std::io;

use io_uring::{IoUring, opcode};

/// A system call of io_uring that was refused.
#[derive(Debug)]
pub struct RingRefused {
    /// Its name.
    pub call: &'static str,
    /// What the system answered.
    pub source: io::Error,
}

/// Does nothing through a ring.
///
/// # Errors
/// [`RingRefused`], with the call that was refused.
pub fn probe() -> Result<(), RingRefused> {
    let entering = |source| RingRefused { call: "io_uring_enter", source };
    let mut ring = IoUring::new(1).map_err(|source| RingRefused { call: "io_uring_setup", source })?;
    // SAFETY: a no-op refers to no memory and to no descriptor.
    unsafe { ring.submission().push(&opcode::Nop::new().build()) }.map_err(|full| entering(io::Error::other(full)))?;
    loop {
        match ring.submit_and_wait(1) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(entering(error)),
            Ok(_) => break,
        }
    }
    match ring.completion().next().map(|done| done.result()) {
        Some(0..) => Ok(()),
        Some(errno) => Err(entering(io::Error::from_raw_os_error(-errno))),
        None => Err(entering(io::Error::other("a no-op did not complete"))),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_ring_that_works_is_found_to_work() {
        super::probe().unwrap();
    }
}
