//! A standard error that nobody reads: a log collector that has stopped. Each node writes its log lines into a pipe of one
//! page; what does not fit has to be dropped, and nothing else may wait for it.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Write, pipe};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use client::Transaction;
use rustix::fs::OFlags;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::press::Hands;
use super::stage::{Stage, Trouble};
use crate::processes::Launch;

/// The smallest pipe that there is.
const PIPE_BYTES: usize = 4 << 10;

/// Connections a second that say something else than the protocol, each of which is worth a log line.
const STRANGERS_PER_SECOND: u64 = 200;

const CLIENTS: usize = 32;

pub(super) fn run(stage: &mut Stage) -> Result<(), Trouble> {
    let mut unread: Vec<(PipeReader, PipeWriter)> = Vec::new();
    let mut failed = None;
    stage.start(2, |_| {
        let stderr = small_pipe().map_err(|error| failed = Some(error)).ok().map(|(reader, writer, stderr)| {
            unread.push((reader, writer));
            stderr
        });
        Launch { args: ["--log-level", "debug"].map(str::to_owned).to_vec(), stderr, ..Launch::default() }
    });
    if let Some(error) = failed {
        return Err(Trouble::Skipped(format!("no pipe of {PIPE_BYTES} bytes: {error}")));
    }
    let tags = stage.tags();
    stage.measure_usual_latency()?;
    stage.measure_peak([press(false, Vec::new(), tags.clone())])?;
    for (_, writer) in &unread {
        fill(writer).map_err(|error| Trouble::Failed(format!("a pipe cannot be filled: {error}")))?;
    }
    let nodes = stage.cluster().nodes().map(|node| node.address.clone()).collect();
    let (done, _) = stage.press(press(true, nodes, tags))?;
    stage.recover()?;
    stage.check_bystander(done, 0.95);
    stage.check_goodput(0.5);
    // The pipes are still full when the nodes are told to stop.
    stage.stop();
    drop(unread);
    Ok(())
}

/// A pipe that holds little: its ends, and a writing end for the node.
fn small_pipe() -> io::Result<(PipeReader, PipeWriter, OwnedFd)> {
    let (reader, writer) = pipe()?;
    rustix::pipe::fcntl_setpipe_size(&writer, PIPE_BYTES)?;
    let stderr = writer.try_clone()?.into();
    Ok((reader, writer, stderr))
}

/// Fills a pipe to its last byte, whatever is in it.
fn fill(writer: &PipeWriter) -> io::Result<()> {
    // Opened once more, so that it is this end alone which does not wait.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let mut again = OpenOptions::new().write(true).custom_flags(flags).open(path)?;
    loop {
        match again.write(b"\n") {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn press(with_strangers: bool, nodes: Vec<String>, tags: Vec<String>) -> impl AsyncFnOnce(Hands) + Send + 'static {
    async move |hands: Hands| {
        let client = hands.connect().await;
        for number in 0..CLIENTS {
            let keys: Vec<String> = tags.iter().map(|tag| format!("beside/{{{tag}}}/{number}")).collect();
            let add = move |_| keys.iter().fold(Transaction::new(), |add, key| add.add(key.clone(), 1));
            tokio::spawn(hands.clone().keep_asking(client.clone(), add));
        }
        if !with_strangers {
            return std::future::pending().await;
        }
        let mut pace = tokio::time::interval(Duration::from_millis(1_000 / STRANGERS_PER_SECOND));
        loop {
            pace.tick().await;
            for node in nodes.clone() {
                tokio::spawn(async move {
                    if let Ok(mut stream) = TcpStream::connect(node).await {
                        _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
                    }
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pipe_takes_no_byte_more_and_the_other_end_waits_for_room() {
        let (reader, writer, stderr) = small_pipe().unwrap();
        fill(&writer).unwrap();
        assert_eq!(rustix::io::ioctl_fionread(&reader).unwrap(), PIPE_BYTES as u64);
        let flags = rustix::fs::fcntl_getfl(&stderr).unwrap();
        assert!(!flags.contains(OFlags::NONBLOCK));
    }
}
