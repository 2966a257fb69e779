//! Which part of a log was read.

use protocol::Lsn;

use crate::limits::UNREAD_MAX;

/// Where a place stands to what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coverage {
    /// Before the checkpoint: what stood there was dropped, unless the checkpoint logged it again.
    Dropped,
    /// It was read.
    Read,
    /// It could not be read, or it is not known.
    Unread,
    /// The log ends before.
    Past,
}

/// What was read of a log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extent {
    /// The begin record of the checkpoint from which it was read; 0 if the log never had one.
    pub(crate) begin: Lsn,
    /// Where the last group ends.
    pub(crate) end: Lsn,
    /// What lies in it and could not be read, in order.
    unread: Vec<(Lsn, Lsn)>,
    /// Whether something may have stood past the end.
    is_end_unsure: bool,
}

impl Extent {
    /// A log that is read from its checkpoint, or from its beginning if there was none.
    pub(crate) fn new(begin: Lsn) -> Self {
        Self { begin, end: begin, ..Self::default() }
    }

    /// A group was read.
    pub(crate) fn group(&mut self, end: Lsn) {
        self.end = self.end.max(end);
        self.is_end_unsure = false;
    }

    /// A part could not be read. Whatever was last is the end, as far as anyone knows.
    pub(crate) fn skip(&mut self, from: Lsn, to: Lsn) {
        self.is_end_unsure = true;
        let is_full = self.unread.len() == UNREAD_MAX;
        match self.unread.last_mut().filter(|_| is_full) {
            Some(last) => last.1 = to,
            None => self.unread.push((from, to)),
        }
    }

    /// Whether all of it was read.
    pub(crate) fn is_whole(&self) -> bool {
        self.unread.is_empty() && !self.is_end_unsure
    }

    /// Whether the log was read from its very beginning.
    pub(crate) fn is_from_birth(&self) -> bool {
        self.begin == Lsn(0)
    }

    /// Where a place stands to it.
    pub(crate) fn coverage(&self, at: Lsn) -> Coverage {
        if at == Lsn(0) || self.unread.iter().any(|(from, to)| (*from..*to).contains(&at)) {
            Coverage::Unread
        } else if at < self.begin {
            Coverage::Dropped
        } else if at < self.end {
            Coverage::Read
        } else if self.is_end_unsure {
            Coverage::Unread
        } else {
            Coverage::Past
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_stands_somewhere() {
        let mut extent = Extent::new(Lsn(100));
        extent.group(Lsn(200));
        extent.skip(Lsn(200), Lsn(300));
        assert_eq!(extent.coverage(Lsn(900)), Coverage::Unread);
        extent.group(Lsn(400));
        let coverage = [0, 50, 150, 250, 350, 400].map(|at| extent.coverage(Lsn(at)));
        let expected =
            [Coverage::Unread, Coverage::Dropped, Coverage::Read, Coverage::Unread, Coverage::Read, Coverage::Past];
        assert_eq!(coverage, expected);
        assert!(!extent.is_whole() && !extent.is_from_birth() && Extent::new(Lsn(0)).is_from_birth());
    }
}
