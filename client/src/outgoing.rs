//! What waits to be written: messages, already encoded into frames, so that one write carries all
//! that has been queued since the last.

use protocol::Message;
use protocol::frame::{self, FRAME_HEADER_BYTES};
use protocol::limits::FRAME_BYTES_TARGET;

/// Frames under construction. Its size is bounded by what may be in flight.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    open_frame_at: usize,
}

impl Outgoing {
    /// Takes a message; true if it is the first since the last [`Outgoing::take`].
    pub(crate) fn push(&mut self, message: &Message) -> bool {
        let first = self.bytes.is_empty();
        if self.bytes.len() == self.open_frame_at {
            self.bytes.resize(self.open_frame_at + FRAME_HEADER_BYTES, 0);
        }
        message.encode(&mut self.bytes);
        if self.bytes.len() - self.open_frame_at >= FRAME_HEADER_BYTES + FRAME_BYTES_TARGET {
            self.close_frame();
        }
        first
    }

    /// Exchanges the finished frames for an empty buffer.
    pub(crate) fn take(&mut self, empty: &mut Vec<u8>) {
        if self.bytes.len() > self.open_frame_at {
            self.close_frame();
        }
        empty.clear();
        std::mem::swap(&mut self.bytes, empty);
        self.open_frame_at = 0;
    }

    /// Forgets everything: the connection that it was for is gone.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.open_frame_at = 0;
    }

    fn close_frame(&mut self) {
        frame::seal(&mut self.bytes[self.open_frame_at..]);
        self.open_frame_at = self.bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::frame::FrameReader;
    use protocol::message::Submit;
    use protocol::{ClientMessage, TxnId};

    fn submit(number: u128, value_bytes: usize) -> Message {
        let operations = client_put(value_bytes);
        Message::Client(ClientMessage::Submit(Submit { txn: TxnId(number), deadline_ms: 1, operations }))
    }

    fn client_put(value_bytes: usize) -> Vec<protocol::Operation> {
        vec![protocol::Operation::Put { key: "k".into(), value: vec![7; value_bytes].into() }]
    }

    #[test]
    fn everything_queued_leaves_in_order_in_frames_of_bounded_size() {
        let mut outgoing = Outgoing::default();
        let messages: Vec<_> = (0..20).map(|number| submit(number, 50_000)).collect();
        let firsts = messages.iter().filter(|message| outgoing.push(message)).count();
        assert_eq!(firsts, 1);
        let mut wire = Vec::new();
        outgoing.take(&mut wire);
        let mut reader = FrameReader::default();
        reader.extend(&wire);
        let mut heard = Vec::new();
        let mut frames = 0;
        while let Some(payload) = reader.next_payload().unwrap() {
            assert!(payload.len() < FRAME_BYTES_TARGET + 60_000);
            frames += 1;
            let mut payload = protocol::codec::Reader::new(payload);
            while payload.remaining() > 0 {
                heard.push(Message::decode(&mut payload).unwrap().unwrap());
            }
        }
        assert_eq!(heard, messages);
        assert_eq!(frames, 4);
    }

    #[test]
    fn a_frame_that_was_just_closed_leaves_no_empty_one_behind() {
        let mut outgoing = Outgoing::default();
        outgoing.push(&submit(1, FRAME_BYTES_TARGET));
        let mut wire = Vec::new();
        outgoing.take(&mut wire);
        let mut reader = FrameReader::default();
        reader.extend(&wire);
        reader.drain(|_| ()).unwrap();
        assert_eq!(reader.waiting_bytes(), 0);
        outgoing.take(&mut wire);
        assert!(wire.is_empty());
    }
}
