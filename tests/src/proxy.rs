//! A network that repeats and reorders: a proxy between a coordinator and a participant that cuts
//! the stream into messages, sends some of them twice and some of them late.
//!
//! The greeting passes first and as it is.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use protocol::frame::{FrameReader, single};
use protocol::{HandshakeMessage, Message};

/// How long a late message is held back if no other one comes.
const LATE_MAX: Duration = Duration::from_millis(20);

/// A proxy before one participant. Its threads end with their connections.
pub struct Proxy {
    address: String,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    duplicated: AtomicU64,
    reordered: AtomicU64,
}

impl Proxy {
    /// Listens on loopback and passes everything on to `target`.
    pub fn start(target: String, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        thread::spawn(move || {
            for (inbound, seed) in listener.incoming().zip(seed * 1_000..) {
                let (Ok(inbound), Ok(outbound)) = (inbound, TcpStream::connect(&target)) else { continue };
                for (from, to, seed) in [(&inbound, &outbound, seed), (&outbound, &inbound, seed + 500)] {
                    let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let counts = Arc::clone(&shared);
                    thread::spawn(move || pass(from, to, seed, &counts));
                }
            }
        });
        Self { address, counts }
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// How many messages it has duplicated and reordered.
    pub fn counts(&self) -> (u64, u64) {
        (self.counts.duplicated.load(Ordering::Relaxed), self.counts.reordered.load(Ordering::Relaxed))
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, seed: u64, counts: &Counts) {
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut one_in = move |chances: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 20).is_multiple_of(chances)
    };
    let mut reader = FrameReader::default();
    let mut late: Option<Message> = None;
    let mut buffer = [0; 65_536];
    from.set_read_timeout(Some(LATE_MAX)).expect("a timeout");
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
            Err(_) => break,
        };
        reader.extend(&buffer[..length]);
        let mut bytes =
            if length == 0 { late.take().map_or_else(Vec::new, |message| single(&message)) } else { Vec::new() };
        let drained = reader.drain(|message| {
            if matches!(message, Message::Handshake(HandshakeMessage::Hello(_))) {
                return bytes.extend(single(&message));
            }
            if late.is_none() && one_in(8) {
                counts.reordered.fetch_add(1, Ordering::Relaxed);
                late = Some(message);
                return;
            }
            bytes.extend(single(&message));
            if one_in(8) {
                counts.duplicated.fetch_add(1, Ordering::Relaxed);
                bytes.extend(single(&message));
            }
            if one_in(2)
                && let Some(message) = late.take()
            {
                bytes.extend(single(&message));
            }
        });
        if drained.is_err() || to.write_all(&bytes).is_err() {
            break;
        }
    }
    _ = to.shutdown(std::net::Shutdown::Both);
    _ = from.shutdown(std::net::Shutdown::Both);
}
