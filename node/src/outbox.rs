//! The gate of one connection: what it is to be sent, held back until the log allows it, then cut
//! into frames.
//!
//! Invariants:
//! - a message leaves only when the log is stable up to its gate;
//! - gated messages leave in the order in which they were posted; one without a gate may overtake;
//! - a message is never split over frames, and every frame's payload is within `FRAME_BYTES_MAX`.
//!
//! A message is encoded once, straight into the buffer that it is sent from if nothing holds it
//! back, else into `held`, from where whole runs of messages are copied when their gate opens.
//! There is no allocation for a message: buffers grow and are kept.
//!
//! Not here: sockets (`connection`), who is who (`peers`).

use std::collections::VecDeque;

use planted::planted;
use protocol::frame::{self, FRAME_HEADER_BYTES};
use protocol::limits::{FRAME_BYTES_MAX, FRAME_BYTES_TARGET, MESSAGE_BYTES_MAX};
use protocol::{Index, Message};

use crate::limits::KEPT_BUFFER_BYTES_MAX;

/// No gate.
pub(crate) const OPEN: Index = Index::ZERO;

const _: () = assert!(FRAME_BYTES_TARGET + MESSAGE_BYTES_MAX <= FRAME_BYTES_MAX);

/// What one connection is to be sent.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    frames: Frames,
    held: Vec<u8>,
    /// Where the bytes begin that are still held.
    held_from: usize,
    runs: VecDeque<Run>,
    stable: Index,
    /// Bytes that a write in flight carries.
    in_flight: usize,
}

/// Whole messages in `held` with one gate, at most [`FRAME_BYTES_TARGET`] long unless it is one.
#[derive(Clone, Copy, Debug)]
struct Run {
    gate: Index,
    end: usize,
}

impl Outbox {
    /// Takes a message that may leave once the log is stable up to `gate`.
    pub(crate) fn post(&mut self, gate: Index, message: &Message) {
        let is_free = gate == OPEN || (gate <= self.stable && self.runs.is_empty());
        if is_free {
            return self.frames.append(message);
        }
        let start = self.held.len();
        append(&mut self.held, message);
        let end = self.held.len();
        let run_start = self.run_before_last_end();
        if let Some(last) = self.runs.back_mut() {
            let gate = gate.max(last.gate);
            if last.gate == gate && end - run_start <= FRAME_BYTES_TARGET {
                last.end = end;
                return;
            }
            debug_assert_eq!(last.end, start);
            return self.runs.push_back(Run { gate, end });
        }
        self.runs.push_back(Run { gate, end });
    }

    /// Where the last run begins.
    fn run_before_last_end(&self) -> usize {
        let before_last = self.runs.len().checked_sub(2).and_then(|at| self.runs.get(at));
        before_last.map_or(self.held_from, |run| run.end)
    }

    /// Lets go what the log now allows.
    pub(crate) fn release(&mut self, stable: Index) {
        self.stable = self.stable.max(stable);
        while let Some(run) =
            self.runs.front().copied().filter(|run| run.gate <= self.stable || planted!("gate-ignored"))
        {
            self.frames.append_encoded(&self.held[self.held_from..run.end]);
            self.held_from = run.end;
            self.runs.pop_front();
        }
        if self.runs.is_empty() {
            recycle(&mut self.held);
            self.held_from = 0;
        } else if self.held_from > self.held.len() / 2 {
            self.drop_released();
        }
    }

    fn drop_released(&mut self) {
        self.held.drain(..self.held_from);
        for run in &mut self.runs {
            run.end -= self.held_from;
        }
        self.held_from = 0;
    }

    /// Whether messages wait for the log.
    pub(crate) fn is_holding(&self) -> bool {
        !self.runs.is_empty()
    }

    /// Whether bytes wait for the writer.
    pub(crate) fn is_ready(&self) -> bool {
        !self.frames.bytes.is_empty()
    }

    /// Bytes that have not been written to the socket.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.held.len() - self.held_from + self.frames.bytes.len() + self.in_flight
    }

    /// The frames to write next, if there are any; `spare` becomes the next buffer.
    pub(crate) fn take(&mut self, mut spare: Vec<u8>) -> Result<Vec<u8>, Vec<u8>> {
        if !self.is_ready() {
            return Err(spare);
        }
        recycle(&mut spare);
        let bytes = self.frames.finish(spare);
        self.in_flight = bytes.len();
        Ok(bytes)
    }

    /// Nothing more leaves: gives back the memory of what has not been taken.
    pub(crate) fn give_up(&mut self) {
        *self = Self { stable: self.stable, in_flight: self.in_flight, ..Self::default() };
    }

    /// The write has ended.
    pub(crate) fn written(&mut self) {
        self.in_flight = 0;
    }
}

fn append(buffer: &mut Vec<u8>, message: &Message) {
    if buffer.len() < KEPT_BUFFER_BYTES_MAX {
        return message.encode(buffer);
    }
    let mut encoded = Vec::new();
    message.encode(&mut encoded);
    append_encoded(buffer, &encoded);
}

/// A buffer that has grown large grows by an eighth of itself, not to twice as much: what waits for clients is bounded by what
/// it is, and would take twice that.
fn append_encoded(buffer: &mut Vec<u8>, messages: &[u8]) {
    let (len, capacity) = (buffer.len(), buffer.capacity());
    if len >= KEPT_BUFFER_BYTES_MAX && capacity - len < messages.len() {
        buffer.reserve_exact(messages.len().max(len / 8));
    }
    buffer.extend_from_slice(messages);
}

fn recycle(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEPT_BUFFER_BYTES_MAX { *buffer = Vec::new() } else { buffer.clear() }
}

/// Frames back to back; the last one is open until it is full or leaves.
#[derive(Debug, Default)]
struct Frames {
    bytes: Vec<u8>,
    /// Where the open frame begins.
    open_from: usize,
}

impl Frames {
    fn append(&mut self, message: &Message) {
        self.begin();
        append(&mut self.bytes, message);
        self.seal_if_full();
    }

    fn append_encoded(&mut self, messages: &[u8]) {
        let open_bytes = self.bytes.len() - self.open_from;
        if open_bytes > 0 && open_bytes + messages.len() > FRAME_HEADER_BYTES + FRAME_BYTES_TARGET {
            self.seal();
        }
        self.begin();
        append_encoded(&mut self.bytes, messages);
        self.seal_if_full();
    }

    fn begin(&mut self) {
        if self.bytes.len() == self.open_from {
            self.bytes.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        }
    }

    fn seal_if_full(&mut self) {
        if self.bytes.len() - self.open_from - FRAME_HEADER_BYTES >= FRAME_BYTES_TARGET {
            self.seal();
        }
    }

    fn seal(&mut self) {
        frame::seal(&mut self.bytes[self.open_from..]);
        self.open_from = self.bytes.len();
    }

    fn finish(&mut self, next: Vec<u8>) -> Vec<u8> {
        if self.open_from < self.bytes.len() {
            self.seal();
        }
        self.open_from = 0;
        std::mem::replace(&mut self.bytes, next)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use protocol::codec::Reader;
    use protocol::frame::FrameReader;
    use protocol::message::Stats;
    use protocol::{AdminMessage, ClientMessage, Role, TxnId};

    use super::*;

    /// A message that carries its number and is about as long as asked.
    fn message(number: u64, bytes: usize) -> Message {
        if bytes == 0 {
            return Message::Client(ClientMessage::AskStatus { txn: TxnId(u128::from(number)) });
        }
        Message::Admin(AdminMessage::Stats(Stats {
            role: Role::Coordinator,
            node: 1,
            groups: number,
            records: 0,
            bytes: 0,
            cpu_us: 0,
            sync_us: Bytes::from(vec![7; bytes]),
            peers: Vec::new(),
            scrubbed_bytes: 0,
            scrub_passes: 0,
            scrub_findings: 0,
            durable_lsn: 0,
            opening: 1,
            requests: 0,
        }))
    }

    fn number_of(message: &Message) -> u64 {
        if let Message::Client(ClientMessage::AskStatus { txn }) = message {
            return txn.0 as u64;
        }
        let Message::Admin(AdminMessage::Stats(stats)) = message else { panic!("{message:?}") };
        stats.groups
    }

    /// Takes what may leave, through the real frame reader.
    fn sent(outbox: &mut Outbox) -> Vec<u64> {
        let mut numbers = Vec::new();
        let mut reader = FrameReader::default();
        if let Ok(bytes) = outbox.take(Vec::new()) {
            outbox.written();
            reader.extend(&bytes);
        }
        while let Some(payload) = reader.next_payload().unwrap() {
            assert!(payload.len() <= FRAME_BYTES_MAX);
            let mut messages = Reader::new(payload);
            while messages.remaining() > 0 {
                numbers.push(number_of(&Message::decode(&mut messages).unwrap().unwrap()));
            }
        }
        assert_eq!(reader.waiting_bytes(), 0, "a frame is cut short");
        numbers
    }

    #[test]
    fn a_message_waits_for_its_gate_and_one_without_overtakes_it() {
        let mut outbox = Outbox::default();
        outbox.post(Index(10), &message(1, 0));
        outbox.post(Index(20), &message(2, 0));
        outbox.post(OPEN, &message(3, 0));
        assert_eq!(sent(&mut outbox), [3]);
        outbox.release(Index(9));
        assert_eq!(sent(&mut outbox), [] as [u64; 0]);
        outbox.release(Index(19));
        assert_eq!(sent(&mut outbox), [1]);
        outbox.release(Index(20));
        assert_eq!(sent(&mut outbox), [2]);
        assert!(!outbox.is_holding());
        assert_eq!(outbox.unsent_bytes(), 0);
    }

    #[test]
    fn what_is_stable_already_leaves_at_once_but_never_before_what_is_held() {
        let mut outbox = Outbox::default();
        outbox.release(Index(100));
        outbox.post(Index(100), &message(1, 0));
        outbox.post(Index(101), &message(2, 0));
        outbox.post(Index(100), &message(3, 0));
        assert_eq!(sent(&mut outbox), [1]);
        outbox.release(Index(101));
        assert_eq!(sent(&mut outbox), [2, 3]);
    }

    #[test]
    fn frames_are_closed_at_their_target() {
        let mut outbox = Outbox::default();
        let each = 50 << 10;
        for number in 0..20 {
            outbox.post(Index(5), &message(number, each));
        }
        outbox.release(Index(5));
        let bytes = outbox.take(Vec::new()).unwrap();
        let mut reader = FrameReader::default();
        reader.extend(&bytes);
        let mut payloads = Vec::new();
        while let Some(payload) = reader.next_payload().unwrap() {
            payloads.push(payload.len());
        }
        assert_eq!(payloads.len(), 4, "{payloads:?}");
        assert!(payloads.iter().all(|length| *length <= FRAME_BYTES_TARGET), "{payloads:?}");
    }

    #[test]
    fn bytes_in_flight_count_until_they_are_written() {
        let mut outbox = Outbox::default();
        outbox.post(OPEN, &message(1, 1_000));
        let bytes = outbox.take(Vec::new()).unwrap();
        assert_eq!(outbox.unsent_bytes(), bytes.len());
        outbox.post(Index(1), &message(2, 1_000));
        assert!(outbox.unsent_bytes() > bytes.len());
        outbox.written();
        outbox.release(Index(1));
        assert_eq!(sent(&mut outbox), [2]);
        assert_eq!(outbox.unsent_bytes(), 0);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Log,
        Post { bytes: usize, gated: bool },
        Release { share: u64 },
        Take,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let bytes = prop_oneof![8 => Just(0usize), 3 => 1..2_000usize, 1 => 100_000..250_000usize];
        let step = prop_oneof![
            3 => Just(Step::Log),
            6 => (bytes, proptest::bool::weighted(0.8)).prop_map(|(bytes, gated)| Step::Post { bytes, gated }),
            2 => (0..=100u64).prop_map(|share| Step::Release { share }),
            2 => Just(Step::Take),
        ];
        proptest::collection::vec(step, 1..120)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn nothing_leaves_before_its_gate_or_out_of_order(steps in steps()) {
            let mut outbox = Outbox::default();
            let (mut end, mut stable) = (0u64, 0u64);
            let mut gates: Vec<u64> = Vec::new();
            let (mut gated_sent, mut open_sent) = (Vec::new(), Vec::new());
            for step in steps.iter().chain([&Step::Release { share: 100 }, &Step::Take]) {
                match step {
                    Step::Log => end += 10,
                    Step::Post { bytes, gated } => {
                        let gate = if *gated { end } else { 0 };
                        outbox.post(Index(gate), &message(gates.len() as u64, *bytes));
                        gates.push(gate);
                    }
                    Step::Release { share } => {
                        stable += (end - stable) * share / 100;
                        outbox.release(Index(stable));
                    }
                    Step::Take => {
                        for number in sent(&mut outbox) {
                            let gate = gates[number as usize];
                            prop_assert!(gate <= stable, "{number} left at {stable}, its gate is {gate}");
                            if gate == 0 { open_sent.push(number) } else { gated_sent.push(number) }
                        }
                    }
                }
            }
            prop_assert!(gated_sent.is_sorted());
            prop_assert!(open_sent.is_sorted());
            prop_assert_eq!(gated_sent.len() + open_sent.len(), gates.len());
            prop_assert_eq!(outbox.unsent_bytes(), 0);
        }
    }
}
