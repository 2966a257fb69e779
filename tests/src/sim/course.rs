//! The course of a run: it opens with the first rows of the workloads, goes on under load and faults until enough was asked and
//! answered, comes to rest with all faults undone, is probed for locks, and ends with a power cut of everything and a last start.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use engine::RecoveryReport;
use protocol::{Operation, Role};

use crate::judge::Outcome;
use crate::judge::history::Transaction;
use crate::sim::check::{self, Failure};
use crate::sim::host::{Host, State};
use crate::sim::network::End;
use crate::sim::world::{Event, Phase, World};
use crate::workload::MARK;

/// Time that the load may take, in microseconds: faults may stop it for good.
const LOAD_US_MAX: u64 = 300_000_000;

/// Time in which a world without faults has to come to rest.
const REST_US_MAX: u64 = 180_000_000;

/// Time that it rests at least: a log that found no space looks again each second.
const REST_US_MIN: u64 = 3_000_000;

/// Time in which the last transactions have to commit.
const PROBE_US_MAX: u64 = 30_000_000;

/// Time in which what was written last becomes durable and is sealed, besides the idle time before that.
const QUIET_US: u64 = 500_000;

/// Their deadline, and that of the first rows, in milliseconds: whatever the seed's is, they have to be there.
pub(super) const PROBE_DEADLINE_MS: u32 = 20_000;

/// How often it is looked whether there is rest.
const LOOK_US: u64 = 20_000;

/// One seed in so many has its lists judged by the crate `adya` as well, which takes as long as everything else.
const SECOND_OPINION_EVERY: u64 = 4;

/// One seed in so many has its logs read against each other, which takes files.
const AUDIT_EVERY: u64 = 16;

/// Keys of one probe: with its deadline, little enough for one attempt.
const KEYS_PER_PROBE: usize = 64;

/// Bytes of their rows, which one record has to hold in the smallest log that is simulated.
const BYTES_PER_PROBE: usize = 24 << 10;

impl World<'_> {
    /// Starts all nodes, and lets the first client write the first rows.
    pub(super) fn open(&mut self) {
        for host in 0..self.plan.setup.nodes() {
            _ = self.start(host);
        }
        for link in 0..self.plan.setup.links() {
            self.dial_after(link, 0);
        }
        for workload in 0..self.workloads.len() {
            self.ask_with(self.patience(PROBE_DEADLINE_MS), 0, workload, |workload, txn, _| workload.opening(txn));
        }
        self.at(LOOK_US, Event::Look);
    }

    /// Whether faults may still happen.
    pub(super) fn is_under_load(&self) -> bool {
        self.phase == Phase::Load
    }

    pub(super) fn look(&mut self) {
        match self.phase {
            Phase::Opening if self.clients[0].pending.is_empty() => {
                if !self.history.transactions.iter().all(Transaction::is_committed) {
                    return self.fail("liveness", "the first rows are refused".to_owned());
                }
                self.phase = Phase::Load;
                (0..self.plan.setup.clients).for_each(|client| self.fill(client));
            }
            Phase::Load => {
                let is_answered = self.clients.iter().all(|client| client.pending.is_empty());
                if (self.asked >= self.plan.setup.transactions && is_answered) || self.now > LOAD_US_MAX {
                    self.tell(|| "the load ends, all faults are undone".to_owned());
                    self.heal();
                    self.phase = Phase::Rest { until: self.now + REST_US_MAX };
                    self.invite_guest();
                }
            }
            Phase::Rest { until } => {
                self.look_after_guest(until - REST_US_MAX);
                if self.now > until - REST_US_MAX + REST_US_MIN && self.is_at_rest() {
                    self.tell(|| "there is rest".to_owned());
                    self.phase = Phase::Probe { until: self.now + PROBE_US_MAX };
                    self.probe();
                } else if self.now > until || (self.is_reported() && self.now > until - REST_US_MAX / 2) {
                    self.no_rest();
                }
            }
            Phase::Probe { until } => {
                let is_answered = self.clients.iter().all(|client| client.pending.is_empty());
                if is_answered || self.now > until {
                    if !(self.is_damaged && self.is_reported()) {
                        self.check_probe();
                    }
                    self.phase = Phase::Quiet { until: self.now + self.quiet_us() };
                }
            }
            Phase::Quiet { until } if self.now > until => self.phase = Phase::Over,
            Phase::Quiet { until } if self.now + self.quiet_us() / 2 < until => {
                self.hosts.iter_mut().for_each(Host::note_quiet);
            }
            Phase::Opening if self.now > REST_US_MAX => {
                self.fail("liveness", "the first rows are not written".to_owned());
            }
            Phase::Opening | Phase::Quiet { .. } | Phase::Over => {}
        }
        self.at(self.now + LOOK_US, Event::Look);
    }

    /// A fresh client has to be served in time after the load's end, if nothing was damaged.
    fn look_after_guest(&mut self, healed_us: u64) {
        let guest = self.guest();
        let last = self.history.transactions.iter().rfind(|asked| asked.client as usize == guest);
        let Some(last) = last.filter(|_| !self.is_damaged) else { return };
        let served_us = last.completed_us.filter(|_| last.is_committed());
        if served_us.is_none() && self.clients[guest].pending.is_empty() {
            // It was refused, and comes again.
            self.ask_as_guest();
        }
        let waited_us = served_us.unwrap_or(self.now).saturating_sub(healed_us);
        self.counts.guest_us_max = self.counts.guest_us_max.max(waited_us);
        let served_us_max = self.plan.setup.guest_served_us_max;
        if waited_us > served_us_max {
            self.fail("service", format!("{served_us_max} us after the load's end a fresh client is not served"));
        }
    }

    pub(super) fn is_at_rest(&mut self) -> bool {
        let is_quiet = |host: &mut Host| match &host.state {
            State::Up(running) => running.machine().in_flight() == 0 && host.memory.writes_in_flight() == 0,
            State::Down => false,
            State::Refused(_) => true,
        };
        let twin = self.twin_host();
        self.twin.is_none()
            && self.hosts[..twin].iter_mut().all(is_quiet)
            && self.clients.iter().all(|client| client.pending.is_empty())
            && self.links.iter().filter(|link| link.end_of(twin).is_none()).all(|link| {
                let refused =
                    |end: &End| matches!(end, End::Node(host) if matches!(self.hosts[*host].state, State::Refused(_)));
                link.open == [true; 2] || link.ends.iter().any(refused)
            })
    }

    /// Whether a node has told its operator of damage.
    pub(super) fn is_reported(&self) -> bool {
        // Where a number had two processes, one of them is told so.
        let is_told = |host: &Host| self.has_twins && !self.is_damaged && host.alarms() == host.succession_alarms();
        self.hosts.iter().any(|host| matches!(host.state, State::Refused(_)) || (host.alarms() > 0 && !is_told(host)))
    }

    pub(super) fn no_rest(&mut self) {
        if self.is_damaged && self.is_reported() {
            self.phase = Phase::Over;
            return;
        }
        let mut left: Vec<String> = Vec::new();
        let twin = self.twin_host();
        for host in &mut self.hosts[..twin] {
            let id = host.id;
            match &host.state {
                State::Up(running) if running.machine().in_flight() > 0 => {
                    left.push(format!("{id} has {} transactions", running.machine().in_flight()));
                }
                State::Up(_) | State::Refused(_) => {}
                State::Down => left.push(format!("{id} is down")),
            }
        }
        for client in self.clients.iter().filter(|client| !client.pending.is_empty()) {
            let first: Vec<_> = client.pending.keys().take(3).collect();
            left.push(format!("client {} waits for {} answers, as {first:?}", client.number, client.pending.len()));
        }
        if self.twin.is_some() {
            left.push("a number has two processes".to_owned());
        }
        let apart = self.links.iter().filter(|link| link.open != [true; 2] && link.end_of(twin).is_none());
        left.extend(apart.map(|link| {
            let [one, other] = link.ends.map(|end| self.name(end));
            format!("{one} and {other} are not connected")
        }));
        self.fail("liveness", format!("{} s after the last fault, {}", REST_US_MAX / 1_000_000, left.join(", ")));
    }

    /// Asks for every lock there can be.
    pub(super) fn probe(&mut self) {
        self.probed_from = self.history.transactions.len();
        // Nobody locks the marks of another transaction.
        let rows = self.rows().into_iter().filter(|(key, _)| !key.starts_with(MARK.as_bytes()));
        let mut probes: Vec<(Vec<Operation>, usize)> = vec![(Vec::new(), 0)];
        for (key, value) in rows {
            let bytes = key.len() + value.len();
            let nothing = Operation::Append { key, value: Bytes::new() };
            match probes.last_mut() {
                Some((probe, held)) if probe.len() < KEYS_PER_PROBE && *held + bytes <= BYTES_PER_PROBE => {
                    probe.push(nothing);
                    *held += bytes;
                }
                Some(_) | None => probes.push((vec![nothing], bytes)),
            }
        }
        for (operations, _) in probes.into_iter().filter(|(probe, _)| !probe.is_empty()) {
            self.ask_with(self.patience(PROBE_DEADLINE_MS), 0, 0, |_, _, _| operations);
        }
    }

    pub(super) fn rows(&mut self) -> BTreeMap<Bytes, Bytes> {
        let mut rows = BTreeMap::new();
        for host in &mut self.hosts {
            if host.id.role() != Role::Participant {
                continue;
            }
            if let Some(running) = host.up() {
                // A damaged value has been reported, or will be when it is asked for.
                let _ = running.table().scan(b"", b"", &mut |key, value| {
                    rows.insert(key.clone(), value.clone());
                    ControlFlow::Continue(())
                });
            }
        }
        rows
    }

    /// Cuts the power of everything, starts it again, and judges what is there.
    pub(super) fn end(&mut self) {
        let is_reported = self.is_reported();
        for host in 0..self.hosts.len() {
            self.note_checkpoints(host);
        }
        self.forget_given_up();
        self.count_outcomes();
        if !self.failures.is_empty() {
            return;
        }
        if is_reported && !self.is_damaged {
            return self.fail("false alarm", "a node has alarmed its operator, and nothing was damaged".to_owned());
        }
        let before = self.rows();
        for host in 0..self.hosts.len() {
            let seed = self.random.bits();
            if self.hosts[host].is_up() {
                let idle_from = self.hosts[host].idle_from();
                self.hosts[host].crash(seed);
                let read = self.start(host);
                if let (Some(read), Some(idle_from)) = (read, idle_from) {
                    self.check_seal(host, idle_from, &read);
                }
            }
        }
        let after = self.rows();
        let is_reported = self.is_reported();
        if self.is_damaged {
            self.counts.reports += self.hosts.iter().map(Host::alarms).sum::<u64>();
            self.counts.damage_reported += u64::from(is_reported);
        }
        if self.is_damaged || self.has_twins || self.plan.seed.is_multiple_of(AUDIT_EVERY) {
            // A log that was given up has decided some of what was done.
            let is_missing = self.is_damaged || self.has_twins;
            let logs = self.hosts[..self.twin_host()].iter().map(|host| &host.memory);
            let failure = check::audit(logs, is_missing);
            failure.into_iter().for_each(|Failure { checker, what }| self.fail(checker, what));
        }
        if is_reported {
            return;
        }
        if before != after {
            self.fail("durability", "the last power cut has changed rows".to_owned());
        }
        self.history.rows = after;
        let by_all = self.plan.seed.is_multiple_of(SECOND_OPINION_EVERY);
        let failures = check::judge(&self.history, self.plan.setup.load.layout(), by_all);
        for Failure { checker, what } in failures {
            self.fail(checker, what);
        }
    }

    /// Takes what may follow from the loss of the newest records, if any were destroyed: where nobody was told of them, nobody can
    /// know (`engine/FORMAT.md`, `coordinator/PROTOCOLS.md`). It is counted, and bounded over many runs.
    pub(super) fn take_unnoticed(&mut self) -> Vec<Failure> {
        if !self.is_damaged {
            return Vec::new();
        }
        // Of half of a transaction somebody has always heard: the coordinator of the vote, or the participant of the decision.
        let never = [
            "simulator",
            "panic",
            "false alarm",
            "bounds",
            "protocol",
            "log",
            "seal",
            "fence",
            "decided-differently",
            "half-done",
        ];
        let is_loss = self.failures.iter().any(|failure| failure.checker == "lost-commit");
        let is_unexcused = |failure: &Failure| !is_loss || never.contains(&failure.checker);
        let (failures, unnoticed) = std::mem::take(&mut self.failures).into_iter().partition(is_unexcused);
        self.failures = failures;
        let is_reported = self.is_reported();
        if !is_reported && self.failures.is_empty() {
            self.counts.damage_unnoticed += u64::from(!Vec::is_empty(&unnoticed));
            self.counts.damage_harmless += u64::from(Vec::is_empty(&unnoticed));
        }
        unnoticed
    }

    /// An idle log says of itself that all of it was durable, but for the seal that says so.
    fn check_seal(&mut self, host: usize, idle_from: u64, read: &RecoveryReport) {
        let (id, tail, durable) = (self.hosts[host].id, read.tail, read.durable);
        if durable.0 < idle_from {
            self.fail(
                "seal",
                format!("{id} was idle, and its log up to {tail} says that it was durable up to {durable}"),
            );
        }
    }

    fn quiet_us(&self) -> u64 {
        QUIET_US + 4 * self.plan.setup.seal_idle_us
    }

    /// Whether the last transactions were done as far as nothing stood in their way.
    fn check_probe(&mut self) {
        let is_refused = |asked: &&Transaction| !asked.is_committed();
        let probed = &self.history.transactions[self.probed_from..];
        if self.clients.iter().any(|client| !client.pending.is_empty()) {
            self.fail("liveness", format!("{} s after all has come to rest, a client waits", PROBE_US_MAX / 1_000_000));
        } else if let Some(refused) = probed.iter().find(is_refused) {
            let what = format!(
                "all has come to rest, and the last transaction {:?} ends with {:?}",
                refused.id, refused.outcome
            );
            self.fail("liveness", what);
        }
    }

    pub(super) fn count_outcomes(&mut self) {
        self.counts.transactions = self.asked;
        for transaction in &self.history.transactions {
            match transaction.outcome {
                Outcome::Committed(_) => self.counts.committed += 1,
                Outcome::Aborted(_) => self.counts.aborted += 1,
                Outcome::Unknown => self.counts.unknown += 1,
            }
        }
    }
}
