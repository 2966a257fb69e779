//! What has to hold where nothing moves any more: everyone has done with everything, all know the same, nothing is locked.

use std::collections::BTreeMap;

use protocol::{ClientMessage, Message, OperationResult};

use crate::explorer::cluster::Cluster;
use crate::explorer::scene::Scene;
use crate::explorer::state::State;

impl Cluster {
    /// Checks a state where nothing moves.
    ///
    /// # Errors
    /// What does not hold.
    pub(crate) fn check_rest(&mut self, state: &State) -> Result<(), String> {
        if self.is_unfinished(state) {
            return Err("nothing moves, and someone has not done with everything".to_owned());
        }
        let mut sums: BTreeMap<u32, i64> = (1..=self.scene.participants).map(|number| (number, 0)).collect();
        for (at, parts) in self.scene.txns.iter().enumerate() {
            if self.outcome(state, at)? {
                parts.iter().for_each(|(participant, delta)| *sums.entry(*participant).or_default() += delta);
            }
        }
        self.answers_have_an_order(state)?;
        match self.probe(state) {
            Some(Message::Client(ClientMessage::Committed { results: Some(results), .. })) => {
                let expected: Vec<_> = sums.into_values().map(OperationResult::Number).collect();
                if results == expected { Ok(()) } else { Err(format!("the keys hold {results:?}, not {expected:?}")) }
            }
            Some(_) | None => Err("nothing moves, and something is locked".to_owned()),
        }
    }

    /// Whether a transaction is committed: its client knows, and each of its participants agrees.
    fn outcome(&self, state: &State, at: usize) -> Result<bool, String> {
        let id = Scene::txn(at);
        let told = self.told.get(state.told).iter().filter(|(client, _)| *client as usize == at);
        let answers: Vec<_> = told.map(|(_, answer)| self.messages.get(*answer)).collect();
        let committed = answers.iter().any(|answer| matches!(answer, Message::Client(ClientMessage::Committed { .. })));
        // BUSY: a coordinator that has started anew has not met everyone, and has begun nothing.
        if !committed
            && !answers.iter().any(|answer| {
                matches!(answer, Message::Client(ClientMessage::Aborted { .. } | ClientMessage::Busy { .. }))
            })
        {
            return Err(format!("the client of {id:?} has no answer"));
        }
        for participant in self.scene.parts(id) {
            let facts = self.facts(state, participant as usize);
            if facts.durably_committed.iter().any(|(txn, _)| *txn == id) != committed {
                return Err(format!("p{participant} and the client know otherwise of {id:?}"));
            }
        }
        Ok(committed)
    }

    /// Of two transactions one is before the other at every participant that they share.
    fn answers_have_an_order(&self, state: &State) -> Result<(), String> {
        let mut seen: Vec<BTreeMap<u32, i64>> = Vec::new();
        for (client, answer) in self.told.get(state.told) {
            if let Message::Client(ClientMessage::Committed { results: Some(results), .. }) = self.messages.get(*answer)
            {
                let numbers = results.iter().map(|result| match result {
                    OperationResult::Number(number) => *number,
                    OperationResult::Done
                    | OperationResult::Value(_)
                    | OperationResult::Rows { .. }
                    | OperationResult::Totals(_) => 0,
                });
                let parts = self.scene.txns[*client as usize].iter().map(|(participant, _)| *participant);
                seen.push(parts.zip(numbers).collect());
            }
        }
        for (one, other) in seen.iter().flat_map(|one| seen.iter().map(move |other| (one, other))) {
            let mut orders: Vec<_> = one.iter().filter_map(|(at, number)| Some(number.cmp(other.get(at)?))).collect();
            orders.dedup();
            if orders.len() > 1 {
                return Err(format!("{one:?} and {other:?} have no order"));
            }
        }
        Ok(())
    }
}
