//! The workloads on the real machines, several transactions at a time: they run, little of them is refused, and the checkers
//! find nothing wrong with what clients saw.

use std::collections::BTreeMap;

use protocol::message::Submit;
use protocol::{ClientMessage, Message, NodeId, TxnId};
use tests::judge::{History, Layout, Outcome, Transaction, adya, judge};
use tests::random::Random;
use tests::workload::Workload;
use tests::workload::bank::Bank;
use tests::workload::lists::Lists;
use tests::workload::pages::Pages;
use tests::workload::ring::Ring;
use tests::workload::sums::Sums;
use tests::world::{Setup, World};

const PARTICIPANTS: u32 = 3;
const LAYOUT: Layout = Layout { accounts: 8, links: 8, sets: 2 };
const AT_ONCE: usize = 4;
const ROUNDS: usize = 60;
const STEP_US: u64 = 1_000;

struct Run {
    world: World,
    random: Random,
    now_us: u64,
    history: History,
    /// Where each transaction that has no answer stands in the history, and whose it is.
    open: BTreeMap<TxnId, (usize, usize)>,
    workloads: Vec<Box<dyn Workload>>,
    heard: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let workloads: Vec<Box<dyn Workload>> = vec![
            Box::new(Bank::new(PARTICIPANTS, LAYOUT.accounts)),
            Box::new(Ring::new(PARTICIPANTS, LAYOUT.links)),
            Box::new(Sums::new(PARTICIPANTS, LAYOUT.sets, 4)),
            Box::new(Lists::new(PARTICIPANTS, 4, 20)),
            Box::new(Pages::new(PARTICIPANTS, 2)),
        ];
        let world = World::new(&Setup { participants: PARTICIPANTS, ..Setup::default() });
        let (history, open, random) = (History::default(), BTreeMap::new(), Random(seed));
        Self { world, random, now_us: 0, history, open, workloads, heard: 0 }
    }

    fn ask(&mut self, which: usize, is_opening: bool) {
        let at = self.history.transactions.len();
        let id = TxnId(1 + at as u128);
        let workload = &mut self.workloads[which];
        let operations = if is_opening { workload.opening(id) } else { workload.next(id, &mut self.random) };
        let client = NodeId::client(1 + (at % AT_ONCE) as u64);
        let submit = Submit { txn: id, deadline_ms: 0, operations: operations.clone() };
        self.history.transactions.push(Transaction {
            id,
            client: (at % AT_ONCE) as u32,
            invoked_us: self.now_us,
            completed_us: None,
            operations,
            outcome: Outcome::Unknown,
            submissions: 1,
        });
        self.open.insert(id, (at, which));
        self.world.submit(client, NodeId::coordinator(1), submit);
    }

    /// Time goes on until everybody has an answer.
    fn settle(&mut self) {
        while !self.open.is_empty() {
            self.world.run();
            self.now_us += STEP_US;
            self.world.tick(STEP_US);
            let fresh = self.world.answers[self.heard..].to_vec();
            self.heard = self.world.answers.len();
            fresh.into_iter().for_each(|(_, answer)| self.hear(answer));
        }
    }

    fn hear(&mut self, answer: Message) {
        let (txn, outcome) = if let Message::Client(ClientMessage::Committed { txn, results }) = answer {
            (txn, Outcome::Committed(results))
        } else if let Message::Client(ClientMessage::Aborted { txn, refusal, .. }) = answer {
            (txn, Outcome::Aborted(refusal.reason))
        } else {
            panic!("a client heard {answer:?}");
        };
        let (at, which) = self.open.remove(&txn).expect("it was asked for");
        let transaction = &mut self.history.transactions[at];
        (transaction.completed_us, transaction.outcome) = (Some(self.now_us), outcome);
        self.workloads[which].heard(&transaction.operations, &transaction.outcome);
    }
}

fn run(seed: u64) -> History {
    let mut run = Run::new(seed);
    (0..run.workloads.len()).for_each(|which| run.ask(which, true));
    run.settle();
    for _ in 0..ROUNDS {
        for _ in 0..AT_ONCE {
            let which = run.random.below(run.workloads.len());
            run.ask(which, false);
        }
        run.settle();
    }
    run.history.rows = run.world.rows().into_iter().collect();
    run.history
}

#[test]
fn workloads_run_on_the_real_machines_and_are_found_right() {
    let (mut asked, mut committed) = (0, 0);
    for seed in 0..10 {
        let history = run(seed);
        asked += history.transactions.len();
        committed += history.transactions.iter().filter(|one| one.is_committed()).count();
        assert_eq!(judge(&history, LAYOUT), [], "seed {seed}");
        assert_eq!(adya::check(&history), [], "seed {seed}");
    }
    println!("{committed} of {asked} transactions committed");
    assert!(committed * 5 > asked * 4, "only {committed} of {asked} transactions committed: little was tested");
}
