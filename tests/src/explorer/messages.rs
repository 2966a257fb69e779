//! Messages as numbers: equal messages have the same one.

use std::collections::HashMap;

use protocol::Message;

/// The number of a message.
pub(crate) type MessageId = u32;

/// All messages that were ever sent.
#[derive(Default)]
pub(crate) struct Messages {
    all: Vec<Message>,
    numbers: HashMap<Vec<u8>, MessageId>,
}

impl Messages {
    pub(crate) fn number(&mut self, message: &Message) -> MessageId {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        *self.numbers.entry(bytes).or_insert_with(|| {
            self.all.push(message.clone());
            self.all.len() as MessageId - 1
        })
    }

    pub(crate) fn get(&self, number: MessageId) -> &Message {
        &self.all[number as usize]
    }
}
