//! The steps that all loads share: a cluster, the usual latency, the load, and what holds after it.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use client::{Client, Options, Outcome, Transaction};
use protocol::routing::{BinTable, bin_of};

use super::cage::{Cage, Limit};
use super::press::{Done, Hands, Pressing, connect};
use super::report::{NodeFigures, Report};
use super::watch;
use crate::processes::{Cluster, Launch, Node};

/// When, after a load's end, a fresh client has to be served at the usual latency.
const RECOVERY_MAX: Duration = Duration::from_secs(5);

/// How long after that it is still tried, to say how long it takes.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(30);

/// How long one fresh client waits for an answer.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// What a fresh client writes: always as much, so that it fits where nothing may grow.
const PROBE_VALUE: &str = "probed";

/// Rounds of one fresh client; their median counts.
const PROBE_ROUNDS: usize = 10;

/// Fresh clients whose median is the usual latency.
const USUAL_PROBES: usize = 3;

/// Up to so many times the latency before the load is usual, ...
const USUAL_FACTOR: u32 = 3;

/// ... and so much more always: others work on this machine as well.
const USUAL_SLACK: Duration = Duration::from_millis(20);

/// The same for a short run, which shares the machine with other tests, and whose figures rest on little.
const USUAL_SLACK_SHORT: Duration = Duration::from_millis(200);

/// How much less of a bystander's transactions has to commit in a short run.
const SHORT_SHARE: f64 = 0.5;

/// How long filling a cluster may take, before a load or by it.
const FILL_PATIENCE: Duration = Duration::from_secs(120);

/// Over how long processor use after the load is measured.
const PROCESSOR_WINDOW: Duration = Duration::from_secs(1);

/// Processor use of a node that has nothing to do, in percent of one processor: a checkpoint may be under way.
const PROCESSOR_PERCENT_MAX: f64 = 50.0;

/// How long a node may take to stop when it is told to.
const STOP_MAX: Duration = Duration::from_secs(15);

/// Bytes by which a node's memory may grow under a load, if the load does not say otherwise.
const GROWTH_BYTES_MAX: u64 = 256 << 20;

/// How often nodes are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Log lines that are shown of each node after a failure.
const LOG_LINES_SHOWN: usize = 4;

/// How much is shown of each.
const LOG_LINE_CHARS_SHOWN: usize = 300;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Ends what runs, soon.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Why a load did not come to its end.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It cannot be run here.
    Skipped(String),
    /// Something is wrong, and what follows would say nothing.
    Failed(String),
    /// Whoever runs it does not want to wait.
    Interrupted,
}

impl Trouble {
    /// What a step said when it panicked.
    pub(super) fn panicked(panic: &dyn Any) -> Self {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Self::Failed(format!("panicked: {}", said.unwrap_or("without a word")))
    }
}

/// Where one load is run.
pub(super) struct Stage<'a> {
    pub(super) report: Report,
    /// Bytes by which a node's memory may grow.
    pub(super) growth_bytes_max: u64,
    /// Whether the load presses on until something was refused: what it fills is full on a slow machine too.
    pub(super) presses_until_refused: bool,
    seconds: u32,
    progress: &'a dyn Fn(&str),
    // Dropped in this order: a cage can be removed when its node has ended.
    cluster: Option<Cluster>,
    cages: Vec<Cage>,
    ended: Instant,
    is_stopped: bool,
}

impl<'a> Stage<'a> {
    pub(super) fn new(name: &str, seconds: u32, progress: &'a dyn Fn(&str)) -> Self {
        Self {
            report: Report { name: name.to_owned(), ..Report::default() },
            growth_bytes_max: GROWTH_BYTES_MAX,
            presses_until_refused: false,
            seconds,
            progress,
            cluster: None,
            cages: Vec::new(),
            ended: Instant::now(),
            is_stopped: false,
        }
    }

    /// Whether the load is to be smaller, so that what comes before and after it is short too.
    pub(super) fn is_short(&self) -> bool {
        self.seconds < 20
    }

    /// A limit, for nodes that are started with its prefix.
    pub(super) fn cage(&mut self, name: &str, limit: Limit) -> Result<Vec<String>, Trouble> {
        let cage = Cage::new(name, limit).map_err(Trouble::Skipped)?;
        let prefix = cage.prefix();
        self.cages.push(cage);
        Ok(prefix)
    }

    /// Limits a node that runs.
    pub(super) fn take(&mut self, node: &str, limit: Limit) -> Result<(), Trouble> {
        let cage = Cage::new(node, limit).map_err(Trouble::Skipped)?;
        let taken = cage.take(self.node(node).pid());
        self.cages.push(cage);
        taken.map_err(|error| Trouble::Skipped(format!("{node} cannot be limited: {error}")))
    }

    /// Starts a coordinator and its participants.
    pub(super) fn start(&mut self, participants: u32, launch: impl FnMut(&str) -> Launch) {
        self.say("starting");
        self.cluster = Some(Cluster::start_launched(participants, |_, address| address, launch));
    }

    pub(super) fn cluster(&mut self) -> &mut Cluster {
        self.cluster.as_mut().expect("the cluster was started")
    }

    pub(super) fn node(&mut self, name: &str) -> &mut Node {
        self.cluster().nodes().find(|node| node.name == name).expect("a node of this name")
    }

    pub(super) fn address(&mut self) -> String {
        self.cluster().coordinator.address.clone()
    }

    /// For each participant, what in braces takes a key there.
    pub(super) fn tags(&mut self) -> Vec<String> {
        tags(self.cluster().participants.len() as u32)
    }

    /// Puts into the cluster what the load needs to be there.
    pub(super) fn fill<L: Future<Output = Result<(), String>>>(
        &mut self,
        fill: impl FnOnce(Client) -> L,
    ) -> Result<(), Trouble> {
        self.say("filling");
        let address = self.address();
        let filled = runtime().block_on(async {
            let filling = async { fill(connect(&address).await).await };
            tokio::time::timeout(FILL_PATIENCE, filling).await.unwrap_or_else(|_| Err("it takes too long".to_owned()))
        });
        filled.map_err(|why| Trouble::Failed(format!("the cluster could not be filled: {why}")))
    }

    /// Measures what a fresh client waits when nobody else asks for anything.
    pub(super) fn measure_usual_latency(&mut self) -> Result<(), Trouble> {
        self.say("measuring the usual latency");
        let probe = self.probe();
        let mut latencies = Vec::new();
        // The first one finds caches cold.
        for _ in 0..=USUAL_PROBES {
            check_wanted()?;
            let measured = probe.latency(PROBE_PATIENCE);
            latencies.push(measured.map_err(|why| Trouble::Failed(format!("no client is served at first: {why}")))?);
        }
        latencies.remove(0);
        latencies.sort_unstable();
        self.report.usual_ms = Some(milliseconds(latencies[USUAL_PROBES / 2]));
        Ok(())
    }

    /// What the cluster does without overload: the best of several loads, each for a while.
    pub(super) fn measure_peak<L>(&mut self, loads: impl IntoIterator<Item = L>) -> Result<(), Trouble>
    where
        L: AsyncFnOnce(Hands) + Send + 'static,
    {
        let seconds = (self.seconds / 6).max(2);
        for load in loads {
            let pressing = Pressing::begin(&self.address(), load);
            self.wait(seconds, "measuring the peak", &pressing)?;
            let (done, _) = pressing.end();
            self.report.peak = Some(self.report.peak.unwrap_or(0.0).max(done.per_second()));
        }
        Ok(())
    }

    /// The load; returns what came of it, and what of a bystander's transactions.
    pub(super) fn press(&mut self, load: impl AsyncFnOnce(Hands) + Send + 'static) -> Result<(Done, Done), Trouble> {
        for node in self.cluster.as_mut().expect("the cluster was started").nodes() {
            watch::reset_peak(node.pid());
            let figures = NodeFigures {
                before_bytes: watch::resident_bytes(node.pid()).unwrap_or(0),
                held_before_bytes: watch::held_bytes(node.pid()).unwrap_or(0),
                ..NodeFigures::default()
            };
            self.report.nodes.insert(node.name.clone(), figures);
        }
        let pressing = Pressing::begin(&self.address(), load);
        let waited = self.wait(self.seconds, "under load", &pressing).and_then(|()| self.wait_for_refusals(&pressing));
        let (load, bystander) = pressing.end();
        self.ended = Instant::now();
        self.report.goodput = Some(load.per_second());
        waited?;
        Ok((load, bystander))
    }

    fn wait(&mut self, seconds: u32, what: &str, pressing: &Pressing) -> Result<(), Trouble> {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(seconds.into()) {
            let committed = pressing.counts().committed();
            self.say(&format!("{what}, {} of {seconds} s, {committed} committed", began.elapsed().as_secs()));
            self.pause(LOOK_EVERY)?;
        }
        Ok(())
    }

    fn wait_for_refusals(&mut self, pressing: &Pressing) -> Result<(), Trouble> {
        let began = Instant::now();
        while self.presses_until_refused && pressing.counts().refused() == 0 && began.elapsed() < FILL_PATIENCE {
            self.say(&format!("under load, {} committed and nothing refused", pressing.counts().committed()));
            self.pause(LOOK_EVERY)?;
        }
        Ok(())
    }

    /// Waits, and looks at the nodes.
    pub(super) fn pause(&mut self, pause: Duration) -> Result<(), Trouble> {
        std::thread::sleep(pause);
        check_wanted()?;
        self.look()
    }

    /// Notes the memory of all nodes, which have to be there.
    fn look(&mut self) -> Result<(), Trouble> {
        for node in self.cluster.as_mut().expect("the cluster was started").nodes() {
            if let Some(figures) = self.report.nodes.get_mut(&node.name) {
                let pid = node.pid();
                figures.peak_bytes = figures.peak_bytes.max(watch::peak_bytes(pid).unwrap_or(0));
                figures.held_peak_bytes = figures.held_peak_bytes.max(watch::held_bytes(pid).unwrap_or(0));
            }
            if let Some(status) = node.ended_within(Duration::ZERO) {
                return Err(Trouble::Failed(format!("{} has ended: {status}", node.name)));
            }
        }
        Ok(())
    }

    /// The load is gone: waits until a fresh client is served as before, and checks what every node has taken.
    pub(super) fn recover(&mut self) -> Result<(), Trouble> {
        self.say("the load has ended");
        let probe = self.probe();
        let (ended, before_ms) = (self.ended, self.report.usual_ms.unwrap_or(0.0));
        let before = Duration::from_secs_f64(before_ms / 1_000.0);
        let slack = if self.is_short() { USUAL_SLACK_SHORT } else { USUAL_SLACK };
        let usual_max = (before * USUAL_FACTOR).max(before + slack);
        let (served, looked) = std::thread::scope(|scope| {
            let served = scope.spawn(move || served_again(&probe, ended, usual_max));
            let looked = self.measure_processor_use();
            (served.join(), looked)
        });
        let served = served.map_err(|_| Trouble::Failed("the fresh client has panicked".to_owned()))?;
        looked?;
        self.look()?;
        let usual = format!("{:.1} ms, at most {:.1} ms is usual", before_ms, milliseconds(usual_max));
        match served {
            Ok((came, latency)) => {
                self.report.recovered_ms = Some(milliseconds(came));
                self.report.after_ms = Some(milliseconds(latency));
                self.report.check(came <= RECOVERY_MAX, || {
                    format!("a fresh client was served at the usual latency only {:.1} s after the load's end ({usual} before it)", came.as_secs_f64())
                });
            }
            Err(last) => self.report.check(false, || {
                format!(
                    "{} s after the load's end no fresh client is served at the usual latency ({usual}): {last}",
                    RECOVERY_PATIENCE.as_secs()
                )
            }),
        }
        self.check_memory();
        Ok(())
    }

    fn measure_processor_use(&mut self) -> Result<(), Trouble> {
        while self.ended.elapsed() < RECOVERY_MAX {
            self.pause(LOOK_EVERY)?;
        }
        let times = |stage: &mut Self| -> Vec<(String, Option<Duration>)> {
            stage.cluster().nodes().map(|node| (node.name.clone(), watch::processor_time(node.pid()))).collect()
        };
        let (began, before) = (Instant::now(), times(self));
        self.pause(PROCESSOR_WINDOW)?;
        let after = times(self);
        let elapsed = began.elapsed();
        for ((name, before), (_, after)) in before.into_iter().zip(after) {
            let (Some(before), Some(after), Some(figures)) = (before, after, self.report.nodes.get_mut(&name)) else {
                continue;
            };
            let percent = after.saturating_sub(before).as_secs_f64() / elapsed.as_secs_f64() * 100.0;
            figures.processor_percent = Some(percent);
            self.report.check(percent <= PROCESSOR_PERCENT_MAX, || {
                format!("{name} uses {percent:.0} % of a processor 5 s after the load's end, at most {PROCESSOR_PERCENT_MAX:.0} % is idle")
            });
        }
        Ok(())
    }

    fn check_memory(&mut self) {
        let growth_max = self.growth_bytes_max;
        let nodes = self.report.nodes.clone();
        for (name, figures) in nodes {
            let growth = figures.held_peak_bytes.saturating_sub(figures.held_before_bytes);
            self.report.check(growth <= growth_max, || {
                format!("{name} grew by {} MiB, at most {} MiB is bounded", growth >> 20, growth_max >> 20)
            });
        }
    }

    /// Checks that under the load at least this share of the peak was done; in a short run, that something was.
    pub(super) fn check_goodput(&mut self, share_min: f64) {
        let share_min = if self.is_short() { 0.0 } else { share_min };
        let (peak, goodput) = (self.report.peak.unwrap_or(0.0), self.report.goodput.unwrap_or(0.0));
        self.report.check(goodput > 0.0 && goodput >= share_min * peak, || {
            format!("{goodput:.0} transactions a second under the load, {:.2} of the peak of {peak:.0}; at least {share_min} is right", goodput / peak.max(0.001))
        });
    }

    /// Checks that a client which has nothing to do with the load was served meanwhile.
    pub(super) fn check_bystander(&mut self, bystander: Done, share_min: f64) {
        let share_min = if self.is_short() { share_min * SHORT_SHARE } else { share_min };
        self.report.more.insert("bystander_committed", bystander.committed as f64);
        self.report.more.insert("bystander_share", bystander.share());
        let Done { committed, refused, unknown, .. } = bystander;
        self.report.check(committed > 0 && bystander.share() >= share_min, || {
            format!("of a bystander's transactions {committed} committed, {refused} were refused and {unknown} stayed unknown; a share of {share_min} has to commit")
        });
    }

    /// Stops all nodes cleanly, and says what came of it all.
    pub(super) fn finish(mut self, outcome: Result<(), Trouble>) -> Report {
        match outcome {
            Ok(()) => self.stop(),
            Err(Trouble::Skipped(why)) => self.report.skipped = Some(why),
            Err(Trouble::Failed(what)) => self.report.failures.push(what),
            Err(Trouble::Interrupted) => self.report.failures.push("interrupted".to_owned()),
        }
        if !self.report.failures.is_empty() {
            let nodes = self.cluster.iter_mut().flat_map(Cluster::nodes);
            self.report.log_lines = nodes.flat_map(|node| last_lines(node)).collect();
        }
        self.report
    }

    /// Stops all nodes cleanly, once.
    pub(super) fn stop(&mut self) {
        if std::mem::replace(&mut self.is_stopped, true) {
            return;
        }
        self.say("stopping");
        for node in self.cluster.iter_mut().flat_map(Cluster::nodes).filter(|node| node.is_running()) {
            let status = node.ended_within(Duration::ZERO).or_else(|| node.terminate_within(STOP_MAX));
            let stopped = status.is_some_and(|status| status.success());
            self.report.check(stopped, || match status {
                None => format!("{} does not stop within {} s of SIGTERM", node.name, STOP_MAX.as_secs()),
                Some(status) => format!("{} does not stop cleanly: {status}", node.name),
            });
        }
    }

    /// What follows is measured against what begins now.
    pub(super) fn begin_recovery(&mut self) {
        self.ended = Instant::now();
    }

    fn probe(&mut self) -> Probe {
        let keys = self.tags().into_iter().map(|tag| format!("probe/{{{tag}}}")).collect();
        Probe { address: self.address(), keys }
    }

    fn say(&self, what: &str) {
        (self.progress)(&format!("{}: {what}", self.report.name));
    }
}

fn last_lines(node: &Node) -> Vec<String> {
    let log = node.log();
    let lines: Vec<&str> = log.lines().collect();
    let shown = lines.len().saturating_sub(LOG_LINES_SHOWN);
    let short = |line: &str| line.chars().take(LOG_LINE_CHARS_SHOWN).collect::<String>();
    lines[shown..].iter().map(|line| format!("{}: {}", node.name, short(line))).collect()
}

fn check_wanted() -> Result<(), Trouble> {
    if INTERRUPTED.load(Ordering::Relaxed) { Err(Trouble::Interrupted) } else { Ok(()) }
}

/// What in braces takes a key to each of so many participants.
fn tags(participants: u32) -> Vec<String> {
    let bins = BinTable::even(&(1..=participants).collect::<Vec<_>>());
    let tag_of = |participant| {
        let tags = (0..).map(|number: u32| number.to_string());
        tags.into_iter().find(|tag| bins.participant_of(bin_of(tag.as_bytes())) == participant).expect("endless")
    };
    (1..=participants).map(tag_of).collect()
}

/// Fresh clients, until one is served at the usual latency: when it came, and what it waited.
fn served_again(probe: &Probe, ended: Instant, usual_max: Duration) -> Result<(Duration, Duration), String> {
    loop {
        let came = ended.elapsed();
        let last = match probe.latency(PROBE_PATIENCE) {
            Ok(latency) if latency <= usual_max => return Ok((came, latency)),
            Ok(latency) => format!("it takes {:.1} ms", milliseconds(latency)),
            Err(why) => why,
        };
        if ended.elapsed() >= RECOVERY_PATIENCE || INTERRUPTED.load(Ordering::Relaxed) {
            return Err(last);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A fresh client: it connects, and then writes at all participants at once, and at each alone, several times.
struct Probe {
    address: String,
    keys: Vec<String>,
}

impl Probe {
    fn latency(&self, patience: Duration) -> Result<Duration, String> {
        runtime().block_on(async {
            let rounds = tokio::time::timeout(2 * patience, self.rounds(patience)).await;
            rounds.unwrap_or_else(|_| Err(format!("no answers within {} s", 2 * patience.as_secs())))
        })
    }

    async fn rounds(&self, patience: Duration) -> Result<Duration, String> {
        let options = Options { connect_timeout: patience, deadline: patience, ..Options::default() };
        let client = Client::connect(self.address.clone(), options).await.map_err(|error| error.to_string())?;
        let mut rounds = Vec::new();
        for _ in 0..PROBE_ROUNDS {
            let began = Instant::now();
            let everywhere = self.keys.iter().fold(Transaction::new(), |at, key| at.put(key.clone(), PROBE_VALUE));
            committed(&client, everywhere).await?;
            for key in &self.keys {
                committed(&client, Transaction::new().put(key.clone(), PROBE_VALUE)).await?;
            }
            rounds.push(began.elapsed());
        }
        rounds.sort_unstable();
        Ok(rounds[PROBE_ROUNDS / 2])
    }
}

/// Asks for a transaction that has to commit.
pub(super) async fn committed(client: &Client, transaction: Transaction) -> Result<(), String> {
    match client.submit(transaction).await {
        Ok(Outcome::Committed { .. }) => Ok(()),
        Ok(Outcome::Aborted { refusal, at_deadline }) => {
            Err(format!("aborted{}: {refusal}", if at_deadline { " at its deadline" } else { "" }))
        }
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stress::SECONDS_DEFAULT;

    #[test]
    fn each_participant_has_a_tag_of_its_own() {
        let bins = BinTable::even(&[1, 2, 3]);
        let at: Vec<u32> = tags(3).iter().map(|tag| bins.participant_of(bin_of(tag.as_bytes()))).collect();
        assert_eq!(at, [1, 2, 3]);
    }

    #[test]
    fn nobody_is_served_where_nobody_listens() {
        let probe = Probe { address: "127.0.0.1:1".to_owned(), keys: tags(2) };
        assert!(probe.latency(Duration::from_millis(200)).is_err());
    }

    #[test]
    fn a_short_run_asks_for_no_share_of_the_peak_but_that_something_is_done() {
        let mut stage = Stage::new("none", 3, &|_| ());
        stage.report.peak = Some(100.0);
        stage.report.goodput = Some(1.0);
        stage.check_goodput(0.8);
        assert_eq!(stage.report.failures.len(), 0, "{:?}", stage.report.failures);
        stage.report.goodput = Some(0.0);
        stage.check_goodput(0.8);
        stage.check_bystander(Done { committed: 3, refused: 10, ..Done::default() }, 0.5);
        assert_eq!(stage.report.failures.len(), 2, "{:?}", stage.report.failures);
    }

    #[test]
    fn each_check_can_fail() {
        let mut stage = Stage::new("none", SECONDS_DEFAULT, &|_| ());
        stage.report.peak = Some(100.0);
        stage.report.goodput = Some(79.0);
        stage.check_goodput(0.8);
        stage.check_bystander(Done { committed: 1, refused: 3, ..Done::default() }, 0.5);
        let figures =
            NodeFigures { held_before_bytes: 1, held_peak_bytes: GROWTH_BYTES_MAX + 2, ..NodeFigures::default() };
        stage.report.nodes.insert("p1".to_owned(), figures);
        stage.check_memory();
        assert_eq!(stage.report.failures.len(), 3, "{:?}", stage.report.failures);

        stage.report.failures.clear();
        stage.report.goodput = Some(80.0);
        stage.check_goodput(0.8);
        stage.check_bystander(Done { committed: 3, refused: 3, ..Done::default() }, 0.5);
        stage.report.nodes.insert("p1".to_owned(), NodeFigures { held_peak_bytes: GROWTH_BYTES_MAX + 1, ..figures });
        stage.check_memory();
        assert_eq!(stage.report.failures.len(), 0, "{:?}", stage.report.failures);
    }
}
