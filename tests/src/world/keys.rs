//! Keys that say where they live.
//!
//! A story writes `a@p2` for a key of participant 2. The real key is `a@p2{7}`, where `7` is the
//! first number whose bin participant 2 holds, so that the real routing finds it there.

use bytes::Bytes;
use protocol::routing::{BinTable, bin_of};

/// Translates the names of keys.
pub struct Keys {
    /// For each participant, from 1, its tag.
    tags: Vec<String>,
}

impl Keys {
    /// The keys of a cluster of participants `1..=participants`.
    #[must_use]
    pub fn new(participants: u32) -> Self {
        let numbers: Vec<u32> = (1..=participants).collect();
        let bins = BinTable::even(&numbers);
        let holds = |number: u32, tag: &str| bins.participant_of(bin_of(tag.as_bytes())) == number;
        let tag_of = |number: &u32| (0..).map(|tag: u32| tag.to_string()).find(|tag| holds(*number, tag));
        Self { tags: numbers.iter().filter_map(tag_of).collect() }
    }

    /// The key with this name; one without `@p<number>` stands for itself.
    ///
    /// # Errors
    /// If there is no such participant.
    pub fn key(&self, name: &str) -> Result<Bytes, String> {
        let Some((before, after)) = name.split_once("@p") else { return Ok(Bytes::from(name.to_owned())) };
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, rest) = after.split_at(digits);
        let tag = number.parse::<usize>().ok().and_then(|number| self.tags.get(number.wrapping_sub(1)));
        let tag = tag.ok_or_else(|| format!("{name}: there is no participant {number}"))?;
        Ok(Bytes::from(format!("{before}@p{number}{{{tag}}}{rest}")))
    }
}

/// The name of a key.
#[must_use]
pub fn name_of(key: &[u8]) -> String {
    let text = String::from_utf8_lossy(key);
    match (text.find('{'), text.find('}')) {
        (Some(open), Some(close)) if open < close => format!("{}{}", &text[..open], &text[close + 1..]),
        _ => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lives_where_its_name_says() {
        let keys = Keys::new(5);
        let bins = BinTable::even(&[1, 2, 3, 4, 5]);
        for number in 1..=5 {
            let name = format!("history@p{number}/7");
            let key = keys.key(&name).unwrap();
            assert_eq!(bins.participant_of(bin_of(&key)), number);
            assert_eq!(name_of(&key), name);
        }
        assert!(keys.key("a@p6").is_err());
        assert_eq!(keys.key("plain").unwrap(), "plain");
    }
}
