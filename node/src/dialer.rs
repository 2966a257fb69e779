//! Keeps one connection to a configured participant, for ever. Why an attempt fails is written down once for each reason, as
//! an error if the two refuse each other. Not here: what is told of a connection that was there and has ended (`links`).

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use protocol::NodeId;
use tokio_uring::net::TcpStream;

use crate::connection::{Served, serve};
use crate::greeting::Expected;
use crate::hub::Hub;
use crate::limits::{DIAL_PAUSE_MAX, DIAL_PAUSE_MIN, DIAL_TIMEOUT};
use crate::listener::tune;
use crate::reasons::Who;

/// Dials until the node stops. May be aborted at any time: the connection itself is a task of its own.
pub(crate) async fn dial_for_ever(hub: Rc<Hub>, participant: u32, place: String) {
    let mut pause = Pause::new(hub.clock.now().0 ^ u64::from(participant).rotate_left(32));
    while !hub.is_stopping.get() {
        let started = Instant::now();
        let dialled = dial(&hub, participant, &place).await;
        if hub.is_stopping.get() {
            return;
        }
        let was_met = dialled.as_ref().is_ok_and(|served| served.was_met);
        // One that comes and goes at once is not to be dialled, nor written down, at full speed.
        if was_met && started.elapsed() > DIAL_PAUSE_MAX {
            pause.reset();
        }
        tell(&hub, participant, &place, &dialled);
        tokio::time::sleep(pause.next()).await;
    }
}

/// Writes down why the participant is not connected, if that is news.
fn tell(hub: &Hub, participant: u32, place: &str, dialled: &Result<Served, String>) {
    let who = Who::Node(NodeId::participant(participant));
    let reason = match dialled {
        Ok(served) if served.reason.is_refusal() => {
            return hub.tell_refusal(who, place, &served.reason, served.hello);
        }
        // That it is gone was told.
        Ok(served) if served.was_met => return,
        Ok(served) => served.reason.to_string(),
        Err(reason) => reason.clone(),
    };
    if hub.reasons.failed(who, &reason).is_none() {
        tracing::debug!(participant, address = place, reason, "still not connected");
    } else if let Some(withheld) = hub.warnings.pass(hub.clock.now().0) {
        tracing::warn!(participant, address = place, reason, withheld, "not connected; trying again for ever");
    }
}

/// Connects and stays; what became of the connection, or why there was none.
async fn dial(hub: &Rc<Hub>, participant: u32, place: &str) -> Result<Served, String> {
    let (stream, address) = connect(place).await.map_err(|error| error.to_string())?;
    let serving = tokio_uring::spawn(serve(Rc::clone(hub), stream, address, Expected::Participant(participant)));
    serving.await.map_err(|error| error.to_string())
}

/// Connects within a bound of time. With tokio's own socket, because that one may be given up at any
/// time; the data then flows through the ring.
async fn connect(place: &str) -> io::Result<(TcpStream, SocketAddr)> {
    let dialled = tokio::time::timeout(DIAL_TIMEOUT, tokio::net::TcpStream::connect(place));
    let stream = dialled.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??.into_std()?;
    let address = stream.peer_addr()?;
    if stream.local_addr()? == address {
        // Nobody listens there, and the kernel gave this end the very port that was dialled.
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    tune(&stream)?;
    stream.set_nonblocking(false)?;
    Ok((TcpStream::from_std(stream), address))
}

/// Doubling pauses, each shortened by up to a half at random, so that nodes do not dial in step.
#[derive(Debug)]
struct Pause {
    longest: Duration,
    random: u64,
}

impl Pause {
    fn new(seed: u64) -> Self {
        Self { longest: DIAL_PAUSE_MIN, random: seed | 1 }
    }

    fn reset(&mut self) {
        self.longest = DIAL_PAUSE_MIN;
    }

    fn next(&mut self) -> Duration {
        // Marsaglia's xorshift: enough to fall out of step.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let share = 0.5 + (self.random >> 11) as f64 / (1u64 << 53) as f64 / 2.0;
        let pause = self.longest.mul_f64(share);
        self.longest = (self.longest * 2).min(DIAL_PAUSE_MAX);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second_and_differ_between_dialers() {
        let mut pause = Pause::new(7);
        let pauses: Vec<Duration> = (0..12).map(|_| pause.next()).collect();
        assert!(pauses[0] >= DIAL_PAUSE_MIN / 2 && pauses[0] <= DIAL_PAUSE_MIN);
        assert!(pauses.iter().all(|pause| *pause <= DIAL_PAUSE_MAX));
        assert!(pauses[11] >= DIAL_PAUSE_MAX / 2);
        let mut other = Pause::new(8 << 32);
        assert_ne!(pauses, (0..12).map(|_| other.next()).collect::<Vec<_>>());
        pause.reset();
        assert!(pause.next() <= DIAL_PAUSE_MIN);
    }
}
