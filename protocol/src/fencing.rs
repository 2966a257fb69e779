//! Fencing: which process may speak for a number. Coordinators and participants keep it of each other.
//!
//! A number alone names nobody: a directory can be copied and started twice, a process can stand still while its successor
//! works, an empty directory can be started under a number that others rely on. So a process is (log id, epoch, start id),
//! and a node keeps, durably, the one process that it heeds under each number of the other role: the *fence*.
//!
//! 1. Each side begins with a hello that names its process. One that is below the fence, at its epoch but not itself, or
//!    of another log is refused before anything else is said ([`Fencing::welcome`]).
//! 2. Each side claims which process of the other it knows. Whoever does not find that one among the starts of its own log
//!    runs on an older copy, and stops speaking ([`Fencing::is_heir_of`]).
//! 3. Only then is the new process accepted, and the fence raised to it ([`Fencing::accept`]).
//!
//! Invariants: a fence moves only to a process that was met and has shown that it succeeds the one before; two processes
//! that share an epoch are never both accepted by one node; what is not current is not heeded.
//!
//! Not here: what a log has lost (`evidence`), which follows the same messages.

use std::collections::BTreeMap;
use std::fmt;

use planted::planted;

use crate::codec::{Malformed, Reader};
use crate::fields::Field;
use crate::id::Process;
use crate::limits::STARTS_MAX;
use crate::machine::{Effects, Origin};
use crate::record::Record;

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwelcome {
    /// The reason.
    pub reason: UnwelcomeReason,
    /// The process that is heeded under the number; none if that is not the reason.
    pub known: Process,
}

/// The reason why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnwelcomeReason {
    /// A later process of the same log was accepted.
    StaleProcess,
    /// Another process of the same log and epoch was accepted: one of the two runs on a copy.
    Copy,
    /// The number belongs to another log.
    OtherLog,
    /// No further number can be known here.
    TooManyPeers,
    /// The hello names no process, or a number that no node has, or a client one of either.
    InvalidHello,
    /// The other side belongs to another cluster.
    WrongCluster,
    /// Its role has no business here.
    WrongRole,
    /// No version of the messages is known to both.
    NoCommonVersion,
    /// A message came that is not known here and must not be skipped.
    NotUnderstood,
    /// No further client can be connected here.
    TooManyClients,
}

impl UnwelcomeReason {
    const ALL: [Self; 10] = [
        Self::StaleProcess,
        Self::Copy,
        Self::OtherLog,
        Self::TooManyPeers,
        Self::InvalidHello,
        Self::WrongCluster,
        Self::WrongRole,
        Self::NoCommonVersion,
        Self::NotUnderstood,
        Self::TooManyClients,
    ];

    fn code(self) -> u8 {
        self as u8 + 1
    }

    /// One word, as in `WIRE.md`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::StaleProcess => "stale-process",
            Self::Copy => "copy",
            Self::OtherLog => "other-log",
            Self::TooManyPeers => "too-many-peers",
            Self::InvalidHello => "invalid-hello",
            Self::WrongCluster => "wrong-cluster",
            Self::WrongRole => "wrong-role",
            Self::NoCommonVersion => "no-common-version",
            Self::NotUnderstood => "not-understood",
            Self::TooManyClients => "too-many-clients",
        }
    }

    /// What it means for the one that was refused, and what to do.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::StaleProcess => {
                "a later process of the same log was accepted: this one has been replaced, or runs on an older copy; \
                 stop one of them for good"
            }
            Self::Copy => {
                "another process with a copy of the same log was accepted under the same epoch: stop one of the two \
                 for good, then restart the other"
            }
            Self::OtherLog => {
                "the number belongs to another log: another process uses it, or its data directory was replaced; \
                 bring the directory back, take another number, or give the old log up with `assent replace`"
            }
            Self::TooManyPeers => {
                "no further number can be known; retire one that will not come back with `assent retire`"
            }
            Self::InvalidHello => "the hello names no process, or a number that no node has",
            Self::WrongCluster => "the two belong to different clusters; give both the same cluster id",
            Self::WrongRole => "a node of this role has no business with that one",
            Self::NoCommonVersion => {
                "no version of the messages is known to both; bring the older of the two up to date"
            }
            Self::NotUnderstood => {
                "it was sent a message that it does not know and must not skip; bring it up to date, or send no such message"
            }
            Self::TooManyClients => {
                "as many clients are connected as may be; close some, or raise network.connections, or the limit of open files"
            }
        }
    }
}

impl fmt::Display for Unwelcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.name(), self.reason.advice())?;
        if self.reason == UnwelcomeReason::StaleProcess && self.known.log == 0 {
            return write!(
                f,
                "; any log is taken that starts with --first-epoch {}",
                self.known.epoch.saturating_add(1)
            );
        }
        if self.known.is_some() { write!(f, " (accepted: {})", self.known) } else { Ok(()) }
    }
}

impl From<UnwelcomeReason> for Unwelcome {
    fn from(reason: UnwelcomeReason) -> Self {
        Self { reason, known: Process::NONE }
    }
}

impl Field for Unwelcome {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.reason.code());
        self.known.put(out);
    }

    fn read(reader: &mut Reader, _name: &'static str) -> Result<Self, Malformed> {
        let code = reader.u8("reason")?;
        let reason = code.checked_sub(1).and_then(|at| UnwelcomeReason::ALL.get(at as usize)).copied();
        let reason = reason.ok_or(Malformed::UnknownCode { field: "reason", code })?;
        Ok(Self { reason, known: reader.process()? })
    }
}

/// A peer on its present connection.
#[derive(Clone, Copy, Debug)]
struct Met {
    process: Process,
    /// Whether it was accepted on a connection of this process.
    is_current: bool,
    /// Whether it has said on this connection that its log has lost records.
    has_lost: bool,
}

/// Which processes a node heeds, and which it is itself.
#[derive(Debug)]
pub struct Fencing {
    own: Process,
    /// The latest starts of this log, with what was drawn at each.
    starts: BTreeMap<u32, u64>,
    /// Which process is heeded under each number.
    fences: BTreeMap<u32, Process>,
    met: BTreeMap<u32, Met>,
    peers_max: usize,
    /// Whether an operator has given up what this log had lost, starts among it.
    is_loss_accepted: bool,
    /// Whether that was after its latest start.
    is_first_after_loss: bool,
}

impl Fencing {
    /// Of a node that heeds at most so many numbers.
    #[must_use]
    pub fn new(peers_max: usize) -> Self {
        Self {
            own: Process::NONE,
            starts: BTreeMap::new(),
            fences: BTreeMap::new(),
            met: BTreeMap::new(),
            peers_max,
            is_loss_accepted: false,
            is_first_after_loss: false,
        }
    }

    /// Which process this is; none before its start.
    #[must_use]
    pub fn own(&self) -> Process {
        self.own
    }

    /// The log says that an operator has given up what it had lost.
    pub fn replay_loss(&mut self) {
        (self.is_loss_accepted, self.is_first_after_loss) = (true, true);
    }

    /// The log says that it was started.
    pub fn replay_start(&mut self, epoch: u32, start: u64) {
        self.is_first_after_loss = false;
        self.starts.insert(epoch, start);
        while self.starts.len() > STARTS_MAX {
            self.starts.pop_first();
        }
    }

    /// The log says who was accepted.
    pub fn replay_fence(&mut self, peer: u32, process: Process) {
        self.fences.insert(peer, process);
    }

    /// Begins a process, under an epoch that this log has never seen.
    pub fn start(&mut self, origin: Origin, effects: &mut Effects<'_>) {
        let latest = self.starts.last_key_value().map_or(0, |(epoch, _)| *epoch);
        let raised = u32::from(!planted!("epoch-not-raised") || latest == 0);
        // Every start is an opening of the log. So twice their number is above all epochs that starts had which were lost.
        let lost = if self.is_first_after_loss { u32::try_from(origin.opening * 2).unwrap_or(u32::MAX) } else { 0 };
        let epoch = latest.saturating_add(raised).max(origin.first_epoch).max(lost);
        self.own = Process { log: origin.log, epoch, start: origin.start };
        self.replay_start(epoch, origin.start);
        effects.log(&Record::Started { epoch, start: origin.start });
    }

    /// Whether a process may connect under a number.
    ///
    /// # Errors
    /// Why not.
    pub fn welcome(&self, peer: u32, process: Process) -> Result<(), Unwelcome> {
        if process.log == 0 || process.epoch == 0 || process.start == 0 {
            return Err(UnwelcomeReason::InvalidHello.into());
        }
        let Some(known) = self.fences.get(&peer).copied() else {
            let is_full = self.fences.len() >= self.peers_max;
            return if is_full { Err(UnwelcomeReason::TooManyPeers.into()) } else { Ok(()) };
        };
        let refused = |reason| Err(Unwelcome { reason, known });
        let is_given_up = known.log == 0;
        if !is_given_up && process.log != known.log && !planted!("other-log-taken") {
            refused(UnwelcomeReason::OtherLog)
        } else if (process.epoch < known.epoch && !planted!("stale-process-taken"))
            || (is_given_up && process.epoch == known.epoch)
        {
            refused(UnwelcomeReason::StaleProcess)
        } else if process.epoch == known.epoch && process.start != known.start && !planted!("copy-taken") {
            refused(UnwelcomeReason::Copy)
        } else {
            Ok(())
        }
    }

    /// A process that is welcome has connected under a number. Whether it was another one before.
    pub fn meet(&mut self, peer: u32, process: Process) -> bool {
        let is_new = self.met.get(&peer).is_none_or(|met| met.process != process);
        if is_new {
            self.met.insert(peer, Met { process, is_current: false, has_lost: false });
            self.forget_strangers();
        } else if let Some(met) = self.met.get_mut(&peer) {
            met.has_lost = false;
        }
        is_new
    }

    /// Processes that say hello and nothing more leave no trace beyond as many as may be known.
    fn forget_strangers(&mut self) {
        let stranger = |(peer, _): (&u32, &Met)| (!self.fences.contains_key(peer)).then_some(*peer);
        let strangers: Vec<u32> = self.met.iter().filter_map(stranger).collect();
        if strangers.len() > self.peers_max {
            self.met.remove(&strangers[0]);
        }
    }

    /// The latest process that was accepted under a number: what this node claims to it.
    #[must_use]
    pub fn known(&self, peer: u32) -> Process {
        self.fences.get(&peer).copied().unwrap_or_default()
    }

    /// Whether anybody was ever accepted under a number.
    #[must_use]
    pub fn knows(&self, peer: u32) -> bool {
        self.fences.contains_key(&peer)
    }

    /// Whether this process succeeds one that a peer claims to know: it, or its predecessor on this very log. A start that is
    /// missing counts if an operator has given up what this log had lost.
    #[must_use]
    pub fn is_heir_of(&self, known: Process) -> bool {
        let is_given_up = known.log == 0 && self.own.epoch > known.epoch;
        let is_own = known.log == self.own.log && self.starts.get(&known.epoch) == Some(&known.start);
        let is_lost = self.is_loss_accepted && known.log == self.own.log && known.epoch < self.own.epoch;
        let is_lost = is_lost && !self.starts.contains_key(&known.epoch);
        !known.is_some() || is_given_up || is_own || is_lost || planted!("succession-unchecked")
    }

    /// Whether it was `by` that said hello last under a number.
    #[must_use]
    pub fn has_met(&self, peer: u32, by: Process) -> bool {
        self.met.get(&peer).is_some_and(|met| met.process == by)
    }

    /// Accepts the process that has connected: it has shown that it succeeds the one before. Whether that is news.
    ///
    /// # Errors
    /// If it is the first one under its number, and as many numbers are known as may be.
    pub fn accept(&mut self, peer: u32, effects: &mut Effects<'_>) -> Result<bool, Unwelcome> {
        let is_full = self.fences.len() >= self.peers_max && !self.fences.contains_key(&peer);
        let Some(met) = self.met.get_mut(&peer) else { return Ok(false) };
        if is_full {
            return Err(UnwelcomeReason::TooManyPeers.into());
        }
        let is_news = !std::mem::replace(&mut met.is_current, true);
        let process = met.process;
        if met.has_lost {
            return Ok(is_news);
        }
        if self.fences.insert(peer, process) != Some(process) && !planted!("fence-unlogged") {
            effects.log(&Record::Fenced { peer, process });
        }
        Ok(is_news)
    }

    /// The log of the process that has connected under a number has lost records, as it says itself: the next accept holds for
    /// this connection, and moves no fence. So the newest copy of that log is welcome when it comes.
    pub fn note_lost(&mut self, peer: u32) {
        if let Some(met) = self.met.get_mut(&peer) {
            met.has_lost = true;
        }
    }

    /// Whether the process that has connected under a number was accepted.
    #[must_use]
    pub fn is_current(&self, peer: u32) -> bool {
        self.met.get(&peer).is_some_and(|met| met.is_current)
    }

    /// The epoch of the process that is heeded.
    #[must_use]
    pub fn epoch_of(&self, peer: u32) -> u32 {
        self.known(peer).epoch
    }

    /// The log of a number is given up: any other one is taken next, under a later epoch.
    pub fn give_up(&mut self, peer: u32, effects: &mut Effects<'_>) {
        let process = Process { log: 0, start: 0, ..self.known(peer) };
        self.met.remove(&peer);
        self.fences.insert(peer, process);
        if !planted!("replacement-unlogged") {
            effects.log(&Record::Fenced { peer, process });
        }
    }

    /// A number will not come back.
    pub fn retire(&mut self, peer: u32) {
        self.met.remove(&peer);
        self.fences.remove(&peer);
    }

    /// Logs again, for a checkpoint.
    pub fn log(&self, effects: &mut Effects<'_>) {
        effects.log(&Record::Starts(self.starts.iter().map(|(epoch, start)| (*epoch, *start)).collect()));
        for (peer, process) in &self.fences {
            effects.log(&Record::Fenced { peer: *peer, process: *process });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;
    use crate::machine::{Journal, Outbox};
    use crate::message::Message;
    use seam::{Index, Logged, Room};

    struct Sink;

    impl Journal for Sink {
        fn append(&mut self, _: &Record) -> Logged {
            Logged::default()
        }

        fn end(&self) -> Index {
            Index::ZERO
        }

        fn room(&self) -> Room {
            Room::Plenty
        }
    }

    impl Outbox for Sink {
        fn post(&mut self, _: NodeId, _: Index, _: &Message) {}

        fn link(&self, _: NodeId) -> crate::Link {
            crate::Link::Open
        }

        fn disconnect(&mut self, _: NodeId) {}
    }

    fn process(log: u64, epoch: u32, start: u64) -> Process {
        Process { log, epoch, start }
    }

    fn accepted(all: &[Process]) -> Fencing {
        let mut fencing = Fencing::new(2);
        for process in all {
            fencing.meet(1, *process);
            fencing.accept(1, &mut Effects::new(&mut Sink, &mut Sink)).expect("it is known");
        }
        fencing
    }

    #[test]
    fn a_later_process_of_the_log_is_welcome_and_no_other() {
        let fencing = accepted(&[process(7, 3, 30)]);
        let reason = |found| fencing.welcome(1, found).map_err(|unwelcome| unwelcome.reason);
        assert_eq!(reason(process(7, 3, 30)), Ok(()));
        assert_eq!(reason(process(7, 4, 40)), Ok(()));
        assert_eq!(reason(process(7, 2, 20)), Err(UnwelcomeReason::StaleProcess));
        assert_eq!(reason(process(7, 3, 31)), Err(UnwelcomeReason::Copy));
        assert_eq!(reason(process(8, 9, 90)), Err(UnwelcomeReason::OtherLog));
        for nobody in [process(0, 4, 4), process(7, 0, 4), process(7, 4, 0)] {
            assert_eq!(reason(nobody), Err(UnwelcomeReason::InvalidHello));
        }
    }

    #[test]
    fn a_number_that_was_given_up_takes_any_log_under_a_later_epoch() {
        let mut fencing = accepted(&[process(7, 3, 30)]);
        fencing.give_up(1, &mut Effects::new(&mut Sink, &mut Sink));
        assert!(!fencing.is_current(1));
        assert!(fencing.welcome(1, process(8, 3, 1)).is_err());
        assert_eq!(fencing.welcome(1, process(8, 4, 1)), Ok(()));
    }

    #[test]
    fn numbers_are_bounded_and_come_back_when_they_are_retired() {
        let mut fencing = Fencing::new(1);
        fencing.replay_fence(1, process(7, 3, 30));
        assert_eq!(fencing.welcome(2, process(8, 1, 1)), Err(UnwelcomeReason::TooManyPeers.into()));
        fencing.meet(2, process(8, 1, 1));
        let full = Err(UnwelcomeReason::TooManyPeers.into());
        assert_eq!(fencing.accept(2, &mut Effects::new(&mut Sink, &mut Sink)), full);
        fencing.retire(1);
        assert_eq!(fencing.welcome(2, process(8, 1, 1)), Ok(()));
    }

    #[test]
    fn strangers_leave_no_more_than_a_few_traces() {
        let mut fencing = Fencing::new(2);
        for stranger in 1..100 {
            fencing.meet(stranger, process(7, 1, 1));
        }
        assert_eq!(fencing.met.len(), 2);
    }

    #[test]
    fn an_heir_knows_the_process_that_it_succeeds() {
        let mut fencing = Fencing::new(2);
        fencing.replay_start(3, 30);
        fencing
            .start(Origin { log: 7, start: 40, opening: 9, first_epoch: 0 }, &mut Effects::new(&mut Sink, &mut Sink));
        assert_eq!(fencing.own(), process(7, 4, 40));
        for own in [Process::NONE, process(7, 3, 30), process(7, 4, 40), process(0, 3, 0)] {
            assert!(fencing.is_heir_of(own), "{own}");
        }
        for other in [process(7, 3, 31), process(8, 3, 30), process(7, 2, 20), process(7, 5, 50), process(0, 4, 0)] {
            assert!(!fencing.is_heir_of(other), "{other}");
        }
    }

    #[test]
    fn starts_that_an_operator_gave_up_are_passed_and_not_missed() {
        let mut fencing = Fencing::new(2);
        fencing.replay_start(3, 30);
        fencing.replay_loss();
        fencing
            .start(Origin { log: 7, start: 40, opening: 9, first_epoch: 0 }, &mut Effects::new(&mut Sink, &mut Sink));
        let epoch = fencing.own().epoch;
        assert_eq!(epoch, 18, "above all that nine openings can have had");
        assert!(fencing.is_heir_of(process(7, 5, 50)) && fencing.is_heir_of(process(7, 3, 30)));
        assert!(!fencing.is_heir_of(process(7, 3, 31)) && !fencing.is_heir_of(process(7, epoch + 1, 1)));
        fencing
            .start(Origin { log: 7, start: 41, opening: 10, first_epoch: 0 }, &mut Effects::new(&mut Sink, &mut Sink));
        assert_eq!(fencing.own().epoch, epoch + 1, "once");
    }

    #[test]
    fn the_first_epoch_can_be_raised() {
        let mut fencing = Fencing::new(2);
        fencing.start(Origin { log: 7, start: 1, opening: 1, first_epoch: 9 }, &mut Effects::new(&mut Sink, &mut Sink));
        assert_eq!(fencing.own().epoch, 9);
    }
}
