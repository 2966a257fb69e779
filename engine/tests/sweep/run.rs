//! Goes through the cases of a sweep, in as many threads as there are processors.

use std::time::{Duration, Instant};

use super::damage::{Damage, Sweep, undo_open};
use super::judge::{Outcome, judge};
use super::logs::Log;

/// Bad cases that are kept with their text; the others are counted.
const KEPT_MAX: usize = 5;

/// What became of the cases of one sweep over one log.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub cases: u64,
    pub refused: u64,
    pub harmless: u64,
    pub ambiguous: u64,
    /// The most acknowledged groups that one ambiguous case lost.
    pub ambiguous_groups_max: usize,
    pub silent: u64,
    pub false_refusals: u64,
    pub misnamed: u64,
    pub panics: u64,
    /// The most memory that an open of a damaged log held, and that of the undamaged one.
    pub peak_bytes: u64,
    pub clean_bytes: u64,
    pub elapsed: Duration,
    /// The first bad cases.
    pub bad: Vec<String>,
}

impl Tally {
    fn count(&mut self, outcome: Outcome, peak_bytes: u64, what: &dyn Fn() -> String) {
        self.cases += 1;
        self.peak_bytes = self.peak_bytes.max(peak_bytes);
        let text = match outcome {
            Outcome::Refused => return self.refused += 1,
            Outcome::Harmless => return self.harmless += 1,
            Outcome::Ambiguous { groups } => {
                self.ambiguous += 1;
                self.ambiguous_groups_max = self.ambiguous_groups_max.max(groups);
                return;
            }
            Outcome::Silent(text) => {
                self.silent += 1;
                text
            }
            Outcome::FalselyRefused(text) => {
                self.false_refusals += 1;
                text
            }
            Outcome::Misnamed(text) => {
                self.misnamed += 1;
                text
            }
            Outcome::Panic(text) => {
                self.panics += 1;
                text
            }
        };
        if self.bad.len() < KEPT_MAX {
            self.bad.push(format!("{}: {text}", what()));
        }
    }

    /// Adds another tally; of the same log, or of another.
    pub fn add(&mut self, other: &Tally) {
        self.cases += other.cases;
        self.refused += other.refused;
        self.harmless += other.harmless;
        self.ambiguous += other.ambiguous;
        self.ambiguous_groups_max = self.ambiguous_groups_max.max(other.ambiguous_groups_max);
        self.silent += other.silent;
        self.false_refusals += other.false_refusals;
        self.misnamed += other.misnamed;
        self.panics += other.panics;
        // The pair with the larger share.
        if other.peak_bytes * self.clean_bytes >= self.peak_bytes * other.clean_bytes {
            (self.peak_bytes, self.clean_bytes) = (other.peak_bytes, other.clean_bytes);
        }
        self.elapsed += other.elapsed;
        let room = KEPT_MAX.saturating_sub(self.bad.len());
        self.bad.extend(other.bad.iter().take(room).cloned());
    }

    /// What a log may not do, if it did any of it.
    pub fn complaints(&self, is_local: bool) -> Vec<String> {
        let counts = [
            (self.silent, "silent losses"),
            (self.panics, "panics"),
            (self.false_refusals, "refusals of a log whose acknowledged bytes are untouched"),
            (self.misnamed, "refusals without the right file and LSN"),
        ];
        let mut complaints: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if self.peak_bytes >= 2 * self.clean_bytes {
            complaints
                .push(format!("{} bytes of memory, an undamaged log takes {}", self.peak_bytes, self.clean_bytes));
        }
        if is_local && self.ambiguous_groups_max > 1 {
            complaints.push(format!("{} groups lost by one damage", self.ambiguous_groups_max));
        }
        if self.refused + self.harmless + self.ambiguous + self.bad_cases() != self.cases {
            complaints.push("the numbers do not add up".to_owned());
        }
        if !complaints.is_empty() {
            complaints.extend(self.bad.iter().cloned());
        }
        complaints
    }

    fn bad_cases(&self) -> u64 {
        self.silent + self.false_refusals + self.misnamed + self.panics
    }
}

/// The most memory that opening the undamaged log holds.
pub fn clean_bytes(log: &Log) -> u64 {
    let judged = judge(log, &log.memory.copy(), &Damage::None);
    assert_eq!(judged.outcome, Outcome::Harmless, "{}: the undamaged log", log.name);
    judged.peak_bytes
}

/// Every `step`th case of a sweep.
pub fn run(log: &Log, sweep: Sweep, step: usize, threads: usize) -> Tally {
    let begin = Instant::now();
    let cases = sweep.cases(log);
    let mut total = Tally { clean_bytes: clean_bytes(log), ..Tally::default() };
    let share = |thread: usize| {
        let mut tally = Tally { clean_bytes: total.clean_bytes, ..Tally::default() };
        let memory = log.memory.copy();
        for number in (thread * step..cases).step_by(step * threads) {
            one(log, &memory, &sweep.case(log, number), sweep, &mut tally);
        }
        tally
    };
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let share = &share;
        let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
        handles.into_iter().map(|handle| handle.join().expect("a sweep catches panics")).collect()
    });
    tallies.iter().for_each(|tally| total.add(tally));
    total.elapsed = begin.elapsed();
    total
}

fn one(log: &Log, memory: &engine::memory::Memory, damage: &Damage, sweep: Sweep, tally: &mut Tally) {
    let own = (!damage.can_undo()).then(|| memory.copy());
    let memory = own.as_ref().unwrap_or(memory);
    damage.apply(memory, log);
    let judged = judge(log, memory, damage);
    tally.count(judged.outcome, judged.peak_bytes, &|| format!("{}, {}, {damage:?}", log.name, sweep.name()));
    if own.is_none() {
        damage.undo(memory, log);
        // A log that is refused has had nothing written to it.
        if judged.opened {
            undo_open(memory, log);
        }
    }
}
