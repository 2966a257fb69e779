//! What a coordinator's log says of transactions.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{Attempt, Index, Position, Record, TxnId};

/// The facts.
#[derive(Clone, Debug, Default)]
pub(crate) struct CoordinatorFacts {
    /// What it decided, each attempt once.
    pub(crate) decided: BTreeMap<TxnId, Vec<Decision>>,
    /// What a participant had committed already.
    pub(crate) elsewhere: BTreeMap<TxnId, Elsewhere>,
    /// What it remembers to have been committed; of the rest the attempt is all that is left.
    pub(crate) remembered: BTreeMap<TxnId, Attempt>,
    /// The latest position that each participant had told it before the checkpoint.
    pub(crate) stated: BTreeMap<u32, Position>,
    /// Every place of a decision that it may have told anyone, those of older ones that it logged again included.
    pub(crate) told: BTreeSet<Position>,
    /// Before here an operator has given up what is not there any more.
    pub(crate) accepted_until: Index,
    pub(crate) events: usize,
}

/// A decision to commit.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    pub(crate) attempt: Attempt,
    /// Who has to be told, and where each one's promise stood.
    pub(crate) participants: Vec<(u32, Position)>,
    /// Whether all of them have acknowledged.
    pub(crate) is_finished: bool,
}

/// A commit that a participant spoke of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elsewhere {
    pub(crate) attempt: Attempt,
    pub(crate) participant: Option<u32>,
    pub(crate) committed_at: Position,
}

impl CoordinatorFacts {
    pub(crate) fn take(&mut self, at: Position, record: Record) {
        self.events += 1;
        match record {
            Record::Decided { txn, attempt, participants, .. } => self.decide(txn, attempt, participants, at),
            Record::DecidedAgain { txn, attempt, participants, first_at, .. } => {
                self.decide(txn, attempt, participants, first_at);
            }
            Record::DecidedElsewhere { txn, attempt, participant, committed_at, .. } => {
                self.elsewhere.insert(txn, Elsewhere { attempt, participant, committed_at });
            }
            Record::Finished { txn } => {
                if let Some(decision) = self.decided.get_mut(&txn).and_then(|decisions| decisions.last_mut()) {
                    decision.is_finished = true;
                }
            }
            Record::Outcomes(outcomes) => {
                self.remembered.extend(outcomes.into_iter().map(|outcome| (outcome.txn, outcome.attempt)));
            }
            Record::Stated(stated) => self.stated.extend(stated),
            Record::StatedDecisions(stated) => self.told.extend(stated.into_iter().map(|(_, at)| at)),
            Record::LossAccepted { until } => self.accepted_until = self.accepted_until.max(until),
            Record::Started { .. } | Record::Starts(_) | Record::Fenced { .. } | Record::Bins { .. } => {}
            Record::Prepared(_)
            | Record::PreparedAgain { .. }
            | Record::CommittedOnePhase(_)
            | Record::Committed { .. }
            | Record::Aborted { .. }
            | Record::Released { .. }
            | Record::Retired { .. } => {}
        }
    }

    /// A checkpoint logs a decision again for those that have not acknowledged: the first record says more.
    fn decide(&mut self, txn: TxnId, attempt: Attempt, participants: Vec<(u32, Position)>, at: Position) {
        self.told.insert(at);
        let decisions = self.decided.entry(txn).or_default();
        if !decisions.iter().any(|decision| decision.attempt == attempt) {
            decisions.push(Decision { attempt, participants, is_finished: false });
        }
    }

    /// Whether it decided that this attempt commits.
    pub(crate) fn decided(&self, txn: TxnId, attempt: Attempt) -> bool {
        self.decided.get(&txn).is_some_and(|all| all.iter().any(|decision| decision.attempt == attempt))
            || self.remembered.get(&txn) == Some(&attempt)
    }
}
