//! What has to hold in every state, of logs and of what was said: `TCConsistent` and the message invariants of Lamport's `TwoPhase.tla`
//! (Gray and Lamport, *Consensus on Transaction Commit*, 2006), with what logs add to them.

use std::collections::BTreeSet;

use protocol::{ClientMessage, Message, TxnId};

use crate::explorer::cluster::Cluster;
use crate::explorer::facts::{Ballot, Facts, Said};
use crate::explorer::state::{PARTICIPANTS_MAX, State};

impl Cluster {
    /// Checks a state.
    ///
    /// # Errors
    /// What does not hold.
    pub(crate) fn check(&mut self, state: &State) -> Result<(), String> {
        let mut facts = [0; PARTICIPANTS_MAX + 1];
        self.nodes().for_each(|at| facts[at] = self.known(state, at).facts);
        if self.sound.contains(&(facts, state.told)) {
            return Ok(());
        }
        self.check_facts(state)?;
        self.sound.insert((facts, state.told));
        Ok(())
    }

    fn check_facts(&self, state: &State) -> Result<(), String> {
        let coordinator = self.facts(state, 0);
        let participants: Vec<&Facts> = self.nodes().skip(1).map(|at| self.facts(state, at)).collect();
        decisions_are_stable(coordinator)?;
        for (at, participant) in participants.iter().enumerate() {
            let number = at as u32 + 1;
            durable_before_said(participant).map_err(|what| format!("p{number} {what}"))?;
            commits_are_decided(number, participant, coordinator)?;
        }
        decisions_are_unanimous(&participants, coordinator, |txn| self.scene.parts(txn))?;
        all_or_nothing(&participants)?;
        self.clients_are_told_the_truth(state, &participants, coordinator)
    }

    /// What a client was told is durable, and stays so.
    fn clients_are_told_the_truth(&self, state: &State, all: &[&Facts], coordinator: &Facts) -> Result<(), String> {
        let answers: Vec<_> = self.told.get(state.told).iter().map(|(_, answer)| self.messages.get(*answer)).collect();
        for answer in &answers {
            if let Message::Client(ClientMessage::Committed { txn, .. }) = answer {
                let alone = |facts: &&Facts| facts.durably_committed.iter().any(|(committed, _)| committed == txn);
                let is_durable = coordinator.durably_decided.iter().any(|(decided, _)| decided == txn);
                if !is_durable && !all.iter().any(alone) {
                    return Err(format!("a client was told that {txn:?} is committed, and no durable record says so"));
                }
                let is_other = |other: &&Message| matches!(other, Message::Client(ClientMessage::Aborted { txn: aborted, .. }) if aborted == txn);
                if answers.iter().any(is_other) {
                    return Err(format!("of {txn:?} a client was told both"));
                }
            }
            if let Message::Client(ClientMessage::Aborted { txn, .. }) = answer {
                let decided = coordinator.decided.iter().any(|decision| decision.ballot.0 == *txn);
                if decided || all.iter().any(|facts| commits(facts).any(|(committed, _)| committed == *txn)) {
                    return Err(format!("a client was told that {txn:?} is aborted, and it is committed"));
                }
            }
        }
        Ok(())
    }
}

fn commits(facts: &Facts) -> impl Iterator<Item = Ballot> {
    facts.committed.iter().chain(&facts.one_phase).copied()
}

/// `TCConsistent`: no participant has committed what another has aborted. And what is committed is committed once.
fn all_or_nothing(participants: &[&Facts]) -> Result<(), String> {
    let committed: BTreeSet<Ballot> = participants.iter().flat_map(|facts| commits(facts)).collect();
    for (txn, attempt) in &committed {
        if participants.iter().any(|facts| facts.aborted.contains(&(*txn, *attempt))) {
            return Err(format!("{txn:?} {attempt} is committed at one participant and aborted at another"));
        }
        if committed.iter().any(|(other, under)| other == txn && under != attempt) {
            return Err(format!("{txn:?} is committed under two attempts"));
        }
    }
    for facts in participants {
        let mut txns: Vec<TxnId> = commits(facts).map(|(txn, _)| txn).collect();
        txns.sort_unstable();
        if txns.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("a participant has committed a transaction twice".to_owned());
        }
    }
    Ok(())
}

/// A decision is made once, is never contradicted, and is durable before it is told. An epoch is durable before it is announced.
fn decisions_are_stable(coordinator: &Facts) -> Result<(), String> {
    for decision in &coordinator.decided {
        let (txn, attempt) = decision.ballot;
        if coordinator.said.contains(&Said::Abort(decision.ballot)) {
            return Err(format!("c1 has decided to commit {txn:?} {attempt}, and has told someone to abort it"));
        }
        if coordinator.decided.iter().any(|other| other.ballot.0 == txn && other.ballot.1 != attempt) {
            return Err(format!("c1 has decided twice to commit {txn:?}"));
        }
    }
    for said in &coordinator.said {
        if let Said::Commit((txn, attempt)) = said
            && !coordinator.durably_decided.contains(&(*txn, *attempt))
        {
            return Err(format!("c1 has told someone to commit {txn:?} {attempt}, and that is not durable"));
        }
    }
    match coordinator.announced {
        Some(epoch) if !coordinator.epochs.contains(&epoch) => {
            Err(format!("c1 runs in epoch {epoch}, which is not durable"))
        }
        Some(_) | None => Ok(()),
    }
}

/// What a participant has said has its record in the durable log.
fn durable_before_said(participant: &Facts) -> Result<(), String> {
    for said in &participant.said {
        let (holds, (txn, _)) = match said {
            Said::Yes(ballot, at) => (participant.prepared.contains(&(*ballot, *at)), *ballot),
            Said::Ack(ballot) => (participant.durably_committed.contains(ballot), *ballot),
            Said::OnePhase(txn) => {
                let found = participant.durably_committed.iter().find(|(committed, _)| committed == txn);
                (found.is_some(), found.copied().unwrap_or((*txn, protocol::Attempt { epoch: 0, number: 0 })))
            }
            Said::Commit(ballot) | Said::Abort(ballot) => (false, *ballot),
        };
        if !holds {
            return Err(format!("has said {said:?} of {txn:?}, and no durable record says so"));
        }
    }
    Ok(())
}

/// A decision to commit rests on a durable promise of every participant of the transaction.
fn decisions_are_unanimous(
    participants: &[&Facts],
    coordinator: &Facts,
    parts: impl Fn(TxnId) -> Vec<u32>,
) -> Result<(), String> {
    for decision in &coordinator.decided {
        let (txn, attempt) = decision.ballot;
        let mut promised: Vec<u32> = decision.promised.iter().map(|(participant, _)| *participant).collect();
        promised.sort_unstable();
        let expected = parts(txn);
        if !expected.is_empty() && promised != expected {
            return Err(format!("{txn:?} {attempt} is decided with the promises of {promised:?} alone"));
        }
        for (participant, at) in &decision.promised {
            if !participants[*participant as usize - 1].prepared.contains(&(decision.ballot, *at)) {
                return Err(format!("{txn:?} {attempt} is decided, and the promise of p{participant} is not durable"));
            }
        }
    }
    Ok(())
}

/// A participant commits what was decided, or what is its own alone.
fn commits_are_decided(number: u32, participant: &Facts, coordinator: &Facts) -> Result<(), String> {
    match participant.committed.iter().find(|ballot| !coordinator.durably_decided.contains(ballot)) {
        Some((txn, attempt)) => Err(format!("p{number} has committed {txn:?} {attempt}, and that is not decided")),
        None => Ok(()),
    }
}
