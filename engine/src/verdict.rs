//! The decision table of recovery: what was found, and what becomes of it (`FORMAT.md`, "The decision table").
//!
//! Invariant: the tables are total and pure, and nothing else decides which superblock holds and what becomes of a position.
//! A test goes through every combination; another makes a log for every rule. The rules about missing and short files,
//! misplaced checkpoints and records that cannot be read are applied where those are met (`scan`, `recovery`): each has
//! one outcome. Not here: finding it out (`scan`, `superblock`).

use std::fmt;

/// What becomes of what was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is the log.
    Accept,
    /// It belongs to the past of the file and says nothing about this log's end.
    Ignore,
    /// It was begun, and nothing in the log says that it was acknowledged: it is cut off and reported.
    Cut,
    /// Acknowledged data is damaged or missing: the log is not opened.
    Refuse,
}

/// A row of the decision table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rule {
    /// There is neither a superblock nor a segment.
    NewLog,
    /// The superblock is missing although segments exist.
    SuperblockMissing,
    /// Both copies of the superblock are valid: the one with the higher sequence holds.
    SuperblockSound,
    /// One copy of the superblock is damaged or torn: the other holds.
    SuperblockOneCopy,
    /// Neither copy of the superblock is valid.
    SuperblockDamaged,
    /// A copy of the superblock is of another format version.
    SuperblockOtherVersion,
    /// The log holds what the superblock would have to know of: it is an older one.
    SuperblockOld,
    /// The superblock names a checkpoint where no group can start, or in no listed segment.
    CheckpointMisplaced,
    /// A listed segment has no file.
    SegmentMissing,
    /// A listed segment's file has another size.
    SegmentSize,
    /// Values live in a segment that is not listed.
    SegmentUnlisted,
    /// The header of the segment in which replay starts is not valid, below what was durable.
    SegmentHeaderDamaged,
    /// The group is valid.
    GroupSound,
    /// No group here; the next segment's header says that the log goes on there.
    NextSegment,
    /// No valid group here; the next segment's header says that there was one.
    LogWentOn,
    /// No valid group here; the next segment follows another history of the log.
    OtherHistory,
    /// No valid group here, below what was durable.
    DurableDamaged,
    /// A valid group whose records contradict its header.
    RecordsContradict,
    /// A valid group that states another position of the record before it than that record has.
    HistoryContradicts,
    /// A group that was begun here and never finished; nothing at or past it was durable.
    TornTail,
    /// Zeros, and nothing at or past here was durable.
    EndOfLog,
    /// An old block of a reused file, and nothing at or past here was durable.
    OldBlock,
    /// A group of an earlier opening that was cut before, and nothing at or past here was durable.
    CutBefore,
}

impl Rule {
    /// Every row.
    pub const ALL: [Rule; 23] = [
        Rule::NewLog,
        Rule::SuperblockMissing,
        Rule::SuperblockSound,
        Rule::SuperblockOneCopy,
        Rule::SuperblockDamaged,
        Rule::SuperblockOtherVersion,
        Rule::SuperblockOld,
        Rule::CheckpointMisplaced,
        Rule::SegmentMissing,
        Rule::SegmentSize,
        Rule::SegmentUnlisted,
        Rule::SegmentHeaderDamaged,
        Rule::GroupSound,
        Rule::NextSegment,
        Rule::LogWentOn,
        Rule::OtherHistory,
        Rule::DurableDamaged,
        Rule::RecordsContradict,
        Rule::HistoryContradicts,
        Rule::TornTail,
        Rule::EndOfLog,
        Rule::OldBlock,
        Rule::CutBefore,
    ];

    /// Its name, as in reports and in `FORMAT.md`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Rule::NewLog => "new-log",
            Rule::SuperblockMissing => "superblock-missing",
            Rule::SuperblockSound => "superblock-sound",
            Rule::SuperblockOneCopy => "superblock-one-copy",
            Rule::SuperblockDamaged => "superblock-damaged",
            Rule::SuperblockOtherVersion => "superblock-other-version",
            Rule::SuperblockOld => "superblock-old",
            Rule::CheckpointMisplaced => "checkpoint-misplaced",
            Rule::SegmentMissing => "segment-missing",
            Rule::SegmentSize => "segment-size",
            Rule::SegmentUnlisted => "segment-unlisted",
            Rule::SegmentHeaderDamaged => "segment-header-damaged",
            Rule::GroupSound => "group-sound",
            Rule::NextSegment => "next-segment",
            Rule::LogWentOn => "log-went-on",
            Rule::OtherHistory => "other-history",
            Rule::DurableDamaged => "durable-damaged",
            Rule::RecordsContradict => "records-contradict",
            Rule::HistoryContradicts => "history-contradicts",
            Rule::TornTail => "torn-tail",
            Rule::EndOfLog => "end-of-log",
            Rule::OldBlock => "old-block",
            Rule::CutBefore => "cut-before",
        }
    }

    /// What it comes to.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match self {
            Rule::NewLog
            | Rule::SuperblockSound
            | Rule::SuperblockOneCopy
            | Rule::GroupSound
            | Rule::NextSegment
            | Rule::EndOfLog => Verdict::Accept,
            Rule::OldBlock | Rule::CutBefore => Verdict::Ignore,
            Rule::TornTail => Verdict::Cut,
            Rule::SuperblockMissing
            | Rule::SuperblockDamaged
            | Rule::SuperblockOtherVersion
            | Rule::SuperblockOld
            | Rule::CheckpointMisplaced
            | Rule::SegmentMissing
            | Rule::SegmentSize
            | Rule::SegmentUnlisted
            | Rule::SegmentHeaderDamaged
            | Rule::LogWentOn
            | Rule::OtherHistory
            | Rule::DurableDamaged
            | Rule::RecordsContradict
            | Rule::HistoryContradicts => Verdict::Refuse,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One copy of the superblock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CopyState {
    /// Valid.
    Sound,
    /// Not there, or not valid.
    Damaged,
    /// Its checksum is right and its format version not this release's.
    OtherVersion,
}

/// What becomes of the superblock: `copies` is `None` if there is no such file.
pub(crate) fn superblock(copies: Option<[CopyState; 2]>, segments_exist: bool) -> Rule {
    match (copies, segments_exist) {
        (None, false) => Rule::NewLog,
        (None, true) => Rule::SuperblockMissing,
        (Some([CopyState::OtherVersion, _] | [_, CopyState::OtherVersion]), _) => Rule::SuperblockOtherVersion,
        (Some([CopyState::Sound, CopyState::Sound]), _) => Rule::SuperblockSound,
        (Some([CopyState::Sound, CopyState::Damaged] | [CopyState::Damaged, CopyState::Sound]), _) => {
            Rule::SuperblockOneCopy
        }
        (Some([CopyState::Damaged, CopyState::Damaged]), _) => Rule::SuperblockDamaged,
    }
}

/// What stands where the next group is expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// The group that is expected, whole.
    Sound,
    /// That group, but its segment's header, written together with it, is not valid.
    HeaderLost,
    /// Something that was written here for this position and is not valid.
    Begun,
    /// Zeros.
    Zeros,
    /// Bytes that name another position or another log, or are no group at all: the file was used before.
    Foreign,
    /// A group for this position, of an opening before the one that writes here now.
    Earlier,
    /// A group for this position, of an opening that the superblock does not know of.
    Later,
}

/// What the next listed segment's header says of where the segment before ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// No further segment is listed.
    Unlisted,
    /// It has no valid header.
    NoHeader,
    /// Before this position: an opening left it whose first write there was torn, and the log went on here.
    EndsBefore,
    /// Here, with the chain value that the log has here.
    EndsHere,
    /// Here, with another chain value.
    EndsHereOtherwise,
    /// Past this position.
    EndsPast,
    /// It is of an opening that the superblock does not know of.
    Later,
}

/// How the position stands to the durable mark: the largest that anything valid in the log states.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    /// Below it: what was here was durable.
    Below,
    /// At it or past it: nothing in the log says that what was here was acknowledged.
    Beyond,
    /// Something past this position is of an opening that the superblock does not know of.
    Later,
}

/// What becomes of the position where the next group is expected.
pub(crate) fn position(found: Found, next: Next, reach: Reach) -> Rule {
    match (found, next, reach) {
        (Found::Sound, _, _) => Rule::GroupSound,
        (Found::Later, _, _) | (_, Next::Later, _) | (_, _, Reach::Later) => Rule::SuperblockOld,
        (Found::HeaderLost, _, Reach::Below) => Rule::SegmentHeaderDamaged,
        (_, Next::EndsPast, _) => Rule::LogWentOn,
        (_, Next::EndsHereOtherwise, _) => Rule::OtherHistory,
        (_, Next::EndsHere, _) => Rule::NextSegment,
        (_, Next::Unlisted | Next::NoHeader | Next::EndsBefore, Reach::Below) => Rule::DurableDamaged,
        (Found::HeaderLost | Found::Begun, _, Reach::Beyond) => Rule::TornTail,
        (Found::Zeros, _, Reach::Beyond) => Rule::EndOfLog,
        (Found::Foreign, _, Reach::Beyond) => Rule::OldBlock,
        (Found::Earlier, _, Reach::Beyond) => Rule::CutBefore,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const FOUND: [Found; 7] =
        [Found::Sound, Found::HeaderLost, Found::Begun, Found::Zeros, Found::Foreign, Found::Earlier, Found::Later];
    const NEXT: [Next; 7] = [
        Next::Unlisted,
        Next::NoHeader,
        Next::EndsBefore,
        Next::EndsHere,
        Next::EndsHereOtherwise,
        Next::EndsPast,
        Next::Later,
    ];
    const REACH: [Reach; 3] = [Reach::Below, Reach::Beyond, Reach::Later];

    /// The rules that no combination of `position` or `superblock` gives: they are about files and records.
    const ELSEWHERE: [Rule; 6] = [
        Rule::CheckpointMisplaced,
        Rule::SegmentMissing,
        Rule::SegmentSize,
        Rule::SegmentUnlisted,
        Rule::RecordsContradict,
        Rule::HistoryContradicts,
    ];

    #[test]
    fn every_combination_has_the_verdict_that_safety_asks_for() {
        for (found, next, reach) in
            FOUND.iter().flat_map(|f| NEXT.iter().flat_map(move |n| REACH.iter().map(move |r| (*f, *n, *r))))
        {
            let rule = position(found, next, reach);
            let says_more = matches!(next, Next::EndsPast | Next::EndsHereOtherwise | Next::Later)
                || reach == Reach::Later
                || found == Found::Later;
            let stated_durable = says_more || (reach == Reach::Below && next != Next::EndsHere);
            let expected = match (found, stated_durable) {
                (Found::Sound, _) => Verdict::Accept,
                // Its segment's header is missing: that the next segment ends here does not bring it back.
                (Found::HeaderLost, _) if reach == Reach::Below => Verdict::Refuse,
                (_, true) => Verdict::Refuse,
                (_, false) if next == Next::EndsHere => Verdict::Accept,
                (Found::HeaderLost | Found::Begun, false) => Verdict::Cut,
                (Found::Zeros, false) => Verdict::Accept,
                (Found::Foreign | Found::Earlier | Found::Later, false) => Verdict::Ignore,
            };
            assert_eq!(rule.verdict(), expected, "{found:?} {next:?} {reach:?}: {rule}");
        }
    }

    #[test]
    fn every_rule_is_reached_by_a_combination_and_has_a_name_of_its_own() {
        let mut reached: BTreeSet<Rule> = ELSEWHERE.into_iter().collect();
        for found in FOUND {
            for next in NEXT {
                reached.extend(REACH.map(|reach| position(found, next, reach)));
            }
        }
        let copies = [CopyState::Sound, CopyState::Damaged, CopyState::OtherVersion];
        for exist in [false, true] {
            reached.insert(superblock(None, exist));
            for first in copies {
                reached.extend(copies.map(|second| superblock(Some([first, second]), exist)));
            }
        }
        assert_eq!(reached.into_iter().collect::<Vec<_>>(), Rule::ALL);
        let names: BTreeSet<&str> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        assert_eq!(names.len(), Rule::ALL.len());
        assert!(Rule::ALL.iter().all(|rule| rule.to_string() == rule.name()));
    }

    #[test]
    fn the_document_has_every_rule_with_its_verdict_and_no_other() {
        let document = include_str!("../FORMAT.md");
        let table = document.split("## The decision table").nth(1).expect("the chapter exists");
        let table = table.split("\n## ").next().expect("the chapter has a text");
        let rows: Vec<(&str, &str)> = table
            .lines()
            .filter_map(|line| {
                let cells: Vec<&str> = line.split('|').map(str::trim).collect();
                let name = cells.iter().rev().nth(2)?.strip_prefix('`')?.strip_suffix('`')?;
                Some((name, *cells.iter().rev().nth(1)?))
            })
            .collect();
        let listed: BTreeSet<&str> = rows.iter().map(|(name, _)| *name).collect();
        assert_eq!(listed, Rule::ALL.iter().map(|rule| rule.name()).collect());
        for (name, verdict) in rows {
            let rule = Rule::ALL.into_iter().find(|rule| rule.name() == name).expect("it is listed");
            assert_eq!(format!("{:?}", rule.verdict()).to_lowercase(), verdict, "{name}");
        }
    }
}
