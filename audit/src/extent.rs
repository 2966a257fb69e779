//! Which part of a log was read.

use protocol::Index;

use crate::limits::UNREAD_MAX;

/// Where a record stands to what was read.
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

/// What was read of a log, in indices of its records.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extent {
    /// The last record before the checkpoint from which it was read; 0 if there was none.
    pub(crate) begin: Index,
    /// The last record that was read.
    pub(crate) end: Index,
    /// Whether it was read from its very beginning.
    pub(crate) is_from_birth: bool,
    /// Whether any of it was read.
    is_begun: bool,
    /// What lies in it and could not be read: first and last, in order.
    unread: Vec<(Index, Index)>,
    /// Whether something could not be read.
    is_torn: bool,
    /// Whether something may have stood past the end.
    is_end_unsure: bool,
}

impl Extent {
    /// A log that is read from its beginning, or else from its checkpoint.
    pub(crate) fn new(is_from_birth: bool) -> Self {
        Self { is_from_birth, ..Self::default() }
    }

    /// A group was read, which says what the last record before it was.
    pub(crate) fn group(&mut self, before: Index) {
        if !self.is_begun && !self.is_from_birth {
            (self.begin, self.end) = (before, before);
        } else if self.is_end_unsure && before > self.end {
            self.add_unread(Index(self.end.0 + 1), before);
        }
        self.end = self.end.max(before);
        self.is_begun = true;
        self.is_end_unsure = false;
    }

    /// A record of it was read that has an index.
    pub(crate) fn record(&mut self, index: Index) {
        self.end = self.end.max(index);
    }

    /// The checkpoint from which it is read begins here.
    pub(crate) fn checkpoint(&mut self) {
        self.begin = self.end;
    }

    /// A record cannot be understood.
    pub(crate) fn lose(&mut self, index: Index) {
        self.is_torn = true;
        if index > Index::ZERO {
            self.add_unread(index, index);
        }
    }

    /// A part could not be read. Whatever was last is the end, as far as anyone knows.
    pub(crate) fn skip(&mut self) {
        self.is_torn = true;
        self.is_end_unsure = true;
    }

    fn add_unread(&mut self, first: Index, last: Index) {
        let is_full = self.unread.len() == UNREAD_MAX;
        match self.unread.last_mut().filter(|_| is_full) {
            Some(latest) => latest.1 = last,
            None => self.unread.push((first, last)),
        }
    }

    /// Whether all of it was read.
    pub(crate) fn is_whole(&self) -> bool {
        !self.is_torn
    }

    /// Where a record stands to it.
    pub(crate) fn coverage(&self, at: Index) -> Coverage {
        if at == Index::ZERO || self.unread.iter().any(|(first, last)| (*first..=*last).contains(&at)) {
            Coverage::Unread
        } else if at <= self.begin {
            Coverage::Dropped
        } else if at <= self.end {
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
    fn every_record_stands_somewhere() {
        let mut extent = Extent::new(false);
        extent.group(Index(90));
        extent.record(Index(100));
        extent.checkpoint();
        extent.record(Index(200));
        assert!(extent.is_whole());
        extent.skip();
        assert_eq!(extent.coverage(Index(900)), Coverage::Unread);
        extent.group(Index(300));
        extent.record(Index(399));
        extent.lose(Index(350));
        extent.lose(Index::ZERO);
        let coverage = [0, 50, 100, 101, 200, 201, 300, 301, 350, 399, 400].map(|at| extent.coverage(Index(at)));
        let expected = [
            Coverage::Unread,
            Coverage::Dropped,
            Coverage::Dropped,
            Coverage::Read,
            Coverage::Read,
            Coverage::Unread,
            Coverage::Unread,
            Coverage::Read,
            Coverage::Unread,
            Coverage::Read,
            Coverage::Past,
        ];
        assert_eq!(coverage, expected);
        assert!(!extent.is_whole());
    }

    #[test]
    fn what_cannot_be_read_at_the_beginning_is_unread_only_where_the_log_was_born() {
        let coverage = |is_from_birth| {
            let mut extent = Extent::new(is_from_birth);
            extent.skip();
            extent.group(Index(10));
            extent.record(Index(11));
            [5, 11].map(|at| extent.coverage(Index(at)))
        };
        assert_eq!(coverage(true), [Coverage::Unread, Coverage::Read]);
        assert_eq!(coverage(false), [Coverage::Dropped, Coverage::Read]);
    }
}
