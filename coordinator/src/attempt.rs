//! An attempt: prepares go out, votes come in, and it is decided, given up, or tried again.

use planted::planted;
use protocol::{
    Attempt, ClientMessage, CommitMessage, Effects, Link, Message, NodeId, OperationResult, Position, Reason, Record,
    Refusal, Tick, TxnId,
};

use crate::answers::AnswerBytes;
use crate::delivery::ELSEWHERE;
use crate::machine::{AbortedOutcome, Coordinator};
use crate::pace::Pace;
use crate::split::merge;
use crate::transaction::{Branch, Decision, Open, Phase, Tally, Txn, Vote};

/// How many times as long as `prepare_timeout` votes are waited for at most before they are asked for again.
const QUESTION_FACTOR_MAX: u64 = 8;

/// How many times as long as the longest other pause one may be before a busy participant is asked again.
const BUSY_DELAY_FACTOR: u64 = 8;

/// How many votes, one after the other, fit in the time that a transaction waits for a lock. Where votes take longer, those
/// that wait give way before the lock is free, and what other participants have promised them meanwhile was logged in vain.
const VOTES_PER_LOCK_WAIT: u64 = 2;

/// How many fit in the deadline of a transaction that states none, however long locks are waited for.
const VOTES_PER_DEADLINE: u64 = 4;

/// What votes may always take, in microseconds: some writes of a slow disk.
const VOTE_US_FREE: u64 = 100_000;

/// A vote of one participant.
pub(crate) struct Ballot {
    pub(crate) txn: TxnId,
    pub(crate) attempt: Attempt,
    pub(crate) vote: Vote,
}

impl Coordinator {
    pub(crate) fn begin_attempt(&mut self, now: Tick, txn: TxnId, effects: &mut Effects<'_>) {
        let Some(Txn::Open(open)) = self.txns.get_mut(&txn) else { return };
        let of = |branch: &Branch| branch.part.participant;
        // What writes in one phase may have been done for an earlier process of this coordinator: only its participant can say.
        let may_be_given_up = !(open.is_one_phase() && open.writes());
        let gone = open.branches.iter().map(of).find(|participant| may_be_given_up && is_gone(*participant, effects));
        if let Some(gone) = gone {
            // Nothing would leave, and the others would lock in vain.
            open.attempt.number += 1;
            return self.back_off(now, txn, Refusal::by_participant(gone, Reason::Unavailable));
        }
        open.branches.iter_mut().for_each(|branch| self.answers.set(&mut branch.answer, AnswerBytes::default()));
        if self.answers.is_too_much(open.branches.iter().map(|branch| self.answers.expected(&branch.part.operations))) {
            open.attempt.number += 1;
            return self.back_off(now, txn, Refusal::by_coordinator(Reason::Busy));
        }
        open.attempt.number += 1;
        open.phase = Phase::Preparing;
        open.asked = 0;
        let held_back = open.held_back();
        for (at, branch) in open.branches.iter_mut().enumerate() {
            branch.asked_at = now;
            let expected = self.answers.expected(&branch.part.operations);
            self.answers.set(&mut branch.answer, expected);
            branch.vote =
                if Some(at) == held_back && !planted!("reader-not-held-back") { Vote::NotAsked } else { Vote::Awaited };
        }
        self.wait_for_votes(now, txn);
        self.ask_awaited(now, txn, None, effects);
    }

    /// Until when votes are waited for before they are asked for once more: as long as they are known to take, and longer
    /// with each time.
    fn wait_for_votes(&mut self, now: Tick, txn: TxnId) {
        let Some(Txn::Open(open)) = self.txns.get_mut(&txn) else { return };
        let awaited = open.branches.iter().filter(|branch| branch.vote == Vote::Awaited);
        let slowest_us = awaited.filter_map(|branch| self.paces.get(&branch.part.participant)).map(Pace::vote_us).max();
        let least_us = self.config.prepare_timeout_us;
        let most_us = least_us.saturating_mul(QUESTION_FACTOR_MAX);
        let doublings = open.asked.min(if open.writes() { 3 } else { 1 });
        open.asked += 1;
        let wait_us = slowest_us.unwrap_or(0).clamp(least_us, most_us) << doublings;
        self.wait_until(now, txn, now.plus_us(wait_us));
    }

    /// Sends the prepares whose votes are awaited, of one participant or of all.
    pub(crate) fn ask_awaited(&mut self, now: Tick, txn: TxnId, only: Option<u32>, effects: &mut Effects<'_>) {
        let Some(Txn::Open(open)) = self.txns.get(&txn) else { return };
        let mut strangers = Vec::new();
        for (at, branch) in open.branches.iter().enumerate() {
            let participant = branch.part.participant;
            let is_asked = branch.vote == Vote::Awaited && only.is_none_or(|only| only == participant);
            if is_asked && !self.fencing.is_current(participant) {
                // Asked when its process is accepted.
                strangers.push(participant);
            } else if is_asked {
                let prepare = open.prepare(now, txn, (self.config.cluster, self.config.lock_wait_ms), at);
                // Promises nothing; the epoch that it names was durable before the first connection.
                effects.send_now(NodeId::participant(participant), &Message::Commit(CommitMessage::Prepare(prepare)));
            }
        }
        strangers.into_iter().for_each(|participant| self.claim_again(now, participant, effects));
    }

    /// Asks again what may have been lost. Whoever works on it already goes on. To write in one phase that is a new
    /// attempt: a refusal of the earlier one, which may still come, says nothing of what becomes of this one.
    pub(crate) fn ask_again(&mut self, now: Tick, txn: TxnId, only: Option<u32>, effects: &mut Effects<'_>) {
        if let Some(Txn::Open(open)) = self.txns.get_mut(&txn)
            && open.may_be_done()
            && only.is_none_or(|only| open.branch_of(only).is_some())
        {
            open.attempt.number += 1;
        }
        self.ask_awaited(now, txn, only, effects);
    }

    /// The open transaction whose present attempt this is.
    pub(crate) fn preparing(&mut self, txn: TxnId, attempt: Attempt) -> Option<&mut Open> {
        match self.txns.get_mut(&txn) {
            Some(Txn::Open(open))
                if open.phase == Phase::Preparing && (open.attempt == attempt || planted!("late-vote-counted")) =>
            {
                Some(open)
            }
            Some(Txn::Open(_) | Txn::Delivering(_)) | None => None,
        }
    }

    pub(crate) fn on_vote(&mut self, now: Tick, participant: u32, ballot: Ballot, effects: &mut Effects<'_>) {
        let Ballot { txn, attempt, vote } = ballot;
        let promised = match &vote {
            Vote::Yes { prepared_at, .. } => {
                self.heard(participant, *prepared_at);
                true
            }
            Vote::NotAsked | Vote::Awaited | Vote::ReadOnly { .. } => false,
        };
        let answer_bytes = self.answers.note(vote.results());
        let Some(open) = self.preparing(txn, attempt) else {
            if promised {
                self.tell_outcome(participant, txn, attempt, effects);
            }
            return;
        };
        let mut took_us = None;
        match open.branch_of(participant) {
            Some(branch) if branch.vote == Vote::Awaited => {
                branch.vote = vote;
                took_us = Some(now.0.saturating_sub(std::mem::take(&mut branch.asked_at).0));
            }
            Some(_) if planted!("vote-counted-twice") => {
                if let Some(other) = open.branches.iter_mut().find(|branch| branch.vote == Vote::Awaited) {
                    other.vote = vote;
                }
            }
            Some(_) | None => return,
        }
        let tally = open.tally();
        if let Some(took_us) = took_us {
            self.note_vote(now, participant, took_us);
        }
        match tally {
            Tally::Incomplete | Tally::AskHeldBack(_) if !self.hold_answer(txn, participant, answer_bytes) => {
                self.drop_answers(now, txn, effects);
            }
            Tally::Incomplete => {}
            Tally::AskHeldBack(at) => self.ask_held_back(now, txn, at, effects),
            Tally::Unanimous => self.decide(now, txn, effects),
        }
    }

    /// Takes note of an answer that waits for those of others; whether that is not too much.
    fn hold_answer(&mut self, txn: TxnId, participant: u32, bytes: usize) -> bool {
        let Some(Txn::Open(open)) = self.txns.get_mut(&txn) else { return true };
        if let Some(branch) = open.branch_of(participant) {
            self.answers.set(&mut branch.answer, AnswerBytes::held(bytes));
        }
        !self.answers.has_too_much(open.branches.iter().map(|branch| branch.answer))
    }

    /// Gives way to the answers of others, and reads again later.
    fn drop_answers(&mut self, now: Tick, txn: TxnId, effects: &mut Effects<'_>) {
        let Some(Txn::Open(open)) = self.txns.get_mut(&txn) else { return };
        abort_attempt(txn, open, None, effects);
        for branch in &mut open.branches {
            branch.vote = Vote::NotAsked;
            self.answers.set(&mut branch.answer, AnswerBytes::default());
        }
        self.back_off(now, txn, Refusal::by_coordinator(Reason::Busy));
    }

    fn note_vote(&mut self, now: Tick, participant: u32, took_us: u64) {
        let load = self.load.get(&participant).copied().unwrap_or_default();
        let lock_wait_us = u64::from(self.config.lock_wait_ms) * 1_000;
        let deadline_us = u64::from(self.config.deadline_ms_default) * 1_000;
        let target_us = (lock_wait_us / VOTES_PER_LOCK_WAIT).min(deadline_us / VOTES_PER_DEADLINE).max(VOTE_US_FREE);
        let pace = self.paces.entry(participant).or_default();
        pace.note_vote(took_us);
        pace.adjust(now, load, target_us);
    }

    fn ask_held_back(&mut self, now: Tick, txn: TxnId, at: usize, effects: &mut Effects<'_>) {
        if let Some(Txn::Open(open)) = self.txns.get_mut(&txn) {
            open.branches[at].vote = Vote::Awaited;
            open.branches[at].asked_at = now;
            open.asked = 0;
        }
        self.wait_for_votes(now, txn);
        self.ask_awaited(now, txn, None, effects);
    }

    /// Everyone agrees: the transaction commits, unless its results fit in no answer.
    pub(crate) fn decide(&mut self, now: Tick, txn: TxnId, effects: &mut Effects<'_>) {
        let Some(Txn::Open(open)) = self.txns.get_mut(&txn) else { return };
        let promised = open.promised();
        let writes = open.writes();
        let limits = std::mem::take(&mut open.limits);
        match merge(&limits, open.take_results()) {
            Err(reason) => self.abort(txn, Refusal::by_coordinator(reason), false, effects),
            Ok(results) if writes && !promised.is_empty() => self.commit(now, txn, promised, results, effects),
            Ok(results) => self.finish_read_only(txn, results, effects),
        }
    }

    pub(crate) fn commit(
        &mut self,
        now: Tick,
        txn: TxnId,
        promised: Vec<(u32, Position)>,
        results: Vec<OperationResult>,
        effects: &mut Effects<'_>,
    ) {
        let Some(open) = self.close(txn) else { return };
        let (attempt, digest) = (open.attempt, open.digest);
        let decided = Record::Decided { txn, attempt, digest, participants: promised };
        let decided_at = effects.log(&decided).position;
        let committed = Message::Client(ClientMessage::Committed { txn, results: Some(results) });
        open.clients.iter().for_each(|client| effects.send(*client, &committed));
        if let Record::Decided { participants, .. } = decided {
            for (participant, prepared_at) in &participants {
                let commit =
                    Message::Commit(CommitMessage::Commit { txn, attempt, prepared_at: *prepared_at, decided_at });
                effects.send(NodeId::participant(*participant), &commit);
            }
            self.tell_of(&participants, decided_at);
            self.deliver(now, txn, Decision { attempt, digest, decided_at }, participants);
        }
    }

    /// Nothing was written anywhere: whoever still holds locks lets go of them, and no record is
    /// needed, since there is nothing that a crash could undo.
    pub(crate) fn finish_read_only(&mut self, txn: TxnId, results: Vec<OperationResult>, effects: &mut Effects<'_>) {
        let Some(open) = self.close(txn) else { return };
        let committed = Message::Client(ClientMessage::Committed { txn, results: Some(results) });
        self.read.remember(txn, open.digest);
        // What was read was durable before the participants showed it.
        open.clients.iter().for_each(|client| effects.send_now(*client, &committed));
        abort_attempt(txn, &open, None, effects);
    }

    pub(crate) fn on_committed_one_phase(
        &mut self,
        place: (u32, Position),
        ballot: (TxnId, Attempt),
        results: Option<Vec<OperationResult>>,
        effects: &mut Effects<'_>,
    ) {
        let (participant, committed_at) = place;
        let (txn, attempt) = ballot;
        self.heard(participant, committed_at);
        // Whichever attempt it was: what is committed stays so.
        let Some(Txn::Open(open)) = self.txns.get_mut(&txn) else { return };
        if !open.is_one_phase() || attempt > open.attempt {
            return;
        }
        let limits = std::mem::take(&mut open.limits);
        let places = open.branches[0].part.places.clone();
        let results = results.and_then(|results| merge(&limits, std::iter::once((places, results))).ok());
        self.finish_committed(txn, place, results, effects);
    }

    /// The transaction is committed and durable at a participant already.
    pub(crate) fn finish_committed(
        &mut self,
        txn: TxnId,
        place: (u32, Position),
        results: Option<Vec<OperationResult>>,
        effects: &mut Effects<'_>,
    ) {
        let Some(open) = self.close(txn) else { return };
        let (attempt, digest) = (open.attempt, open.digest);
        let committed = Message::Client(ClientMessage::Committed { txn, results });
        // Durable already, at the participant that said so.
        open.clients.iter().for_each(|client| effects.send_now(*client, &committed));
        let (participant, committed_at) = place;
        let participant = Some(participant);
        effects.log(&Record::DecidedElsewhere { txn, attempt, digest, participant, committed_at });
        self.remember(txn, ELSEWHERE, digest);
    }

    pub(crate) fn on_refusal(
        &mut self,
        now: Tick,
        participant: u32,
        ballot: (TxnId, Attempt),
        mut refusal: Refusal,
        effects: &mut Effects<'_>,
    ) {
        let (txn, attempt) = ballot;
        let Some(open) = self.preparing(txn, attempt) else { return };
        if open.may_be_done() && open.branch_of(participant).is_some() && !is_proof(refusal.reason) {
            // For all that such an answer tells, an earlier attempt may have committed: it is asked on.
            open.last_refusal = Some(Refusal::by_participant(participant, refusal.reason));
            if refusal.reason == Reason::NoClaim {
                self.claim(participant, effects);
            }
            return;
        }
        let Some(branch) = open.branch_of(participant) else { return };
        refusal.participant = Some(participant);
        refusal.operation = refusal.operation.and_then(|at| branch.part.places.get(at as usize).copied());
        if planted!("no-ignored") {
            let results = branch.part.operations.iter().map(|_| OperationResult::Done).collect();
            return self.on_vote(now, participant, Ballot { txn, attempt, vote: Vote::ReadOnly { results } }, effects);
        }
        abort_attempt(txn, open, Some(participant), effects);
        if refusal.reason == Reason::NoClaim {
            // It was lost, or overtaken by the prepare.
            self.claim(participant, effects);
        }
        if refusal.reason == Reason::AlreadyCommitted {
            self.finish_committed(txn, (participant, Position::UNKNOWN), None, effects);
        } else if refusal.reason.is_retryable() {
            self.back_off(now, txn, refusal);
        } else {
            self.end_aborted(txn, refusal, false, effects);
        }
    }

    /// Waits a while before the next attempt: longer with each, and not the same for everyone.
    pub(crate) fn back_off(&mut self, now: Tick, txn: TxnId, refusal: Refusal) {
        // Whoever has too much to do is not asked as soon as one who has given way.
        let factor = if refusal.reason == Reason::Busy { BUSY_DELAY_FACTOR } else { 1 };
        let (delay_us_min, delay_us_max) = (self.config.retry_delay_us_min, self.config.retry_delay_us_max * factor);
        let Some(Txn::Open(open)) = self.txns.get_mut(&txn) else { return };
        let doublings = (open.attempt.number - 1).min(16);
        let delay_us = (delay_us_min << doublings).min(delay_us_max);
        let jitter_us =
            (txn.0 as u64 ^ u64::from(open.attempt.number).wrapping_mul(0x9E37_79B9_7F4A_7C15)) % (delay_us / 2 + 1);
        open.phase = Phase::BackingOff;
        // Past the deadline nobody tries any more, and that says less than what came before.
        if now < open.deadline || open.last_refusal.is_none() {
            open.last_refusal = Some(refusal);
        }
        self.wait_until(now, txn, now.plus_us(delay_us - jitter_us));
    }

    /// Ends the present attempt, and the transaction.
    pub(crate) fn abort(&mut self, txn: TxnId, refusal: Refusal, at_deadline: bool, effects: &mut Effects<'_>) {
        if let Some(Txn::Open(open)) = self.txns.get(&txn) {
            abort_attempt(txn, open, None, effects);
        }
        self.end_aborted(txn, refusal, at_deadline, effects);
    }

    pub(crate) fn end_aborted(&mut self, txn: TxnId, refusal: Refusal, at_deadline: bool, effects: &mut Effects<'_>) {
        let Some(open) = self.close(txn) else { return };
        if self.read.get(txn).is_none() {
            self.aborted.remember(txn, AbortedOutcome { digest: open.digest, refusal, at_deadline });
        }
        let aborted = Message::Client(ClientMessage::Aborted { txn, refusal, at_deadline });
        // An abort needs no record: what has no decision is aborted.
        open.clients.iter().for_each(|client| effects.send_now(*client, &aborted));
    }

    /// Takes an open transaction off the books.
    pub(crate) fn close(&mut self, txn: TxnId) -> Option<Box<Open>> {
        match self.txns.remove(&txn) {
            Some(Txn::Open(mut open)) => {
                for branch in &mut open.branches {
                    self.unload(branch.part.participant, branch.bytes);
                    self.answers.set(&mut branch.answer, AnswerBytes::default());
                }
                Some(open)
            }
            Some(delivering @ Txn::Delivering(_)) => {
                self.txns.insert(txn, delivering);
                None
            }
            None => None,
        }
    }

    pub(crate) fn unload(&mut self, participant: u32, bytes: usize) {
        let load = self.load.get_mut(&participant).expect("a loaded participant");
        load.txns -= 1;
        load.bytes -= bytes;
    }

    pub(crate) fn wait_until(&mut self, now: Tick, txn: TxnId, due: Tick) {
        if let Some(Txn::Open(open)) = self.txns.get_mut(&txn) {
            // A single participant may have committed already: only it can say, so it is asked
            // for as long as it takes.
            let goes_on = open.may_be_done() && now >= open.deadline;
            open.due = if goes_on { due } else { due.min(open.deadline) };
            self.timers.set(open.due, txn);
        }
    }

    /// Votes have not come. Silence says nothing: whoever is there is asked again, and whoever works on it goes on. A
    /// participant that is not there ends the attempt, so that the others hold no locks for it.
    pub(crate) fn on_votes_missing(&mut self, now: Tick, txn: TxnId, effects: &mut Effects<'_>) {
        let Some(Txn::Open(open)) = self.txns.get(&txn) else { return };
        let awaited = open.branches.iter().filter(|branch| branch.vote == Vote::Awaited);
        let silent = awaited.map(|branch| branch.part.participant).collect::<Vec<_>>();
        let gone = silent.iter().copied().find(|participant| is_gone(*participant, effects));
        let refusal =
            Refusal { reason: Reason::Unavailable, participant: gone.or(silent.first().copied()), operation: None };
        let is_wanted = open.writes() || open.clients.iter().any(|client| effects.link(*client) != Link::Down);
        if open.may_be_done() {
            self.wait_for_votes(now, txn);
            self.ask_again(now, txn, None, effects);
        } else if now >= open.deadline {
            self.abort(txn, refusal, true, effects);
        } else if !is_wanted {
            // It only reads, and nobody is there to be told.
            self.abort(txn, refusal, false, effects);
        } else if gone.is_some() {
            abort_attempt(txn, open, None, effects);
            self.back_off(now, txn, refusal);
        } else {
            self.wait_for_votes(now, txn);
            self.ask_again(now, txn, None, effects);
        }
    }
}

/// Whether what is sent to a participant does not leave.
fn is_gone(participant: u32, effects: &Effects<'_>) -> bool {
    effects.link(NodeId::participant(participant)) == Link::Down
}

/// Tells everyone who was asked that the attempt is over, except the one that refused.
fn abort_attempt(txn: TxnId, open: &Open, refuser: Option<u32>, effects: &mut Effects<'_>) {
    for branch in &open.branches {
        let participant = branch.part.participant;
        let holds_or_waits = match branch.vote {
            Vote::Awaited | Vote::Yes { .. } => true,
            Vote::NotAsked | Vote::ReadOnly { .. } => false,
        };
        if holds_or_waits && Some(participant) != refuser {
            // Presumed abort: an abort needs no record.
            effects.send_now(
                NodeId::participant(participant),
                &Message::Commit(CommitMessage::Abort { txn, attempt: open.attempt }),
            );
        }
    }
}

/// Whether a refusal to write in one phase says that no earlier attempt has committed either: its participant has looked, in a
/// log that is not known to lack anything, for a coordinator that it obeys.
fn is_proof(reason: Reason) -> bool {
    !matches!(reason, Reason::LogLost | Reason::NoClaim | Reason::StaleEpoch)
}
