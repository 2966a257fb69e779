//! Runs a workload: so many clients, each with one transaction at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use client::{Client, ClientError, Outcome};
use indicatif::ProgressBar;
use protocol::{Reason, Refusal, TxnId};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;

use crate::bench::cut::Cut;
use crate::bench::daemons::own_cpu;
use crate::bench::figures::{Answered, Figures};
use crate::bench::schedule::Schedule;
use crate::bench::settings::Settings;
use crate::bench::workload::{Kind, Plan, Workload};
use crate::exit::Failure;

/// How long all unknown outcomes together are asked for; what is unknown then stays unknown.
const RESOLVE_TIME_MAX: Duration = Duration::from_secs(5);

/// Pause before an outcome is asked for again.
const RESOLVE_PAUSE: Duration = Duration::from_millis(100);

/// How long a run that is cut short waits for the answers that are on their way.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// A client that cannot reach the coordinator pauses before its next transaction.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(20);

/// How often the progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) figures: Figures,
    /// See `length`.
    pub(crate) duration: Duration,
    /// Starts of an open loop.
    pub(crate) scheduled: Option<u64>,
    /// Outcomes that were unknown at first and found out in the end.
    pub(crate) resolved: u64,
    /// Outcomes that stayed unknown, those of transactions among them that were under way when the run was cut short.
    pub(crate) unknown: u64,
    /// Processor time of this process while it ran.
    pub(crate) own_cpu: Duration,
    pub(crate) cut: Option<Cut>,
}

struct Run {
    client: Client,
    workload: Workload,
    /// Of each transaction.
    deadline: Duration,
    schedule: Schedule,
    progress: Mutex<Progress>,
    own_cpu_before: Duration,
}

struct Progress {
    figures: Figures,
    unknown: Vec<(Plan, TxnId, Instant)>,
    resolved: u64,
}

/// Runs it to its end, or until it is cut short.
pub(crate) async fn run(
    client: Client,
    workload: Workload,
    settings: &Settings,
    deadline: Duration,
    seed: u64,
    cut: impl Future<Output = Cut>,
) -> Result<Ran, Failure> {
    let figures = new_figures(settings.duration)?;
    let schedule = Schedule::start(settings.duration, settings.rate)
        .map_err(|error| Failure::Start(format!("the system refuses a thread for the schedule: {error}")))?;
    let progress = Mutex::new(Progress { figures, unknown: Vec::new(), resolved: 0 });
    let run = Arc::new(Run { client, workload, deadline, schedule, progress, own_cpu_before: own_cpu() });
    let mut clients = JoinSet::new();
    for number in 0..settings.clients {
        let run = Arc::clone(&run);
        let rng = StdRng::seed_from_u64(seed.wrapping_add((number as u64) << 32));
        clients.spawn(async move { run.client(rng).await });
    }
    let mut cut = std::pin::pin!(cut);
    let mut cut_short = tokio::select! {
        ended = run.all_ended(&mut clients, settings.duration) => ended.err(),
        cut = cut.as_mut() => Some(cut),
    };
    if cut_short.is_some() {
        run.schedule.stop();
        // Why it was cut short is known already.
        let _ = tokio::time::timeout(CUT_GRACE, run.all_ended(&mut clients, settings.duration)).await;
        clients.shutdown().await;
    }
    let duration = run.end(settings.duration);
    if cut_short.is_none() {
        tokio::select! {
            resolved = run.resolve_all() => cut_short = resolved.err(),
            cut = cut.as_mut() => cut_short = Some(cut),
        }
    }
    run.finish(duration, cut_short)
}

fn new_figures(duration: Duration) -> Result<Figures, Failure> {
    Figures::new(duration).map_err(|error| Failure::Start(format!("no histogram: {error:?}")))
}

fn progress_bar(duration: Duration) -> ProgressBar {
    let bar = crate::output::progress_bar("running (ms)", duration.as_millis() as u64);
    bar.set_message("");
    bar
}

impl Run {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for all clients, and shows how it goes.
    async fn all_ended(&self, clients: &mut JoinSet<()>, duration: Duration) -> Result<(), Cut> {
        let bar = progress_bar(duration);
        let mut shown = 0;
        loop {
            tokio::select! {
                ended = clients.join_next() => match ended {
                    Some(ended) => ended.map_err(|error| Cut::node(format!("a client of the bench failed: {error}")))?,
                    None => break,
                },
                () = tokio::time::sleep(PROGRESS_INTERVAL), if !bar.is_hidden() => shown = self.show(&bar, shown),
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// One client.
    async fn client(&self, mut rng: StdRng) {
        while let Some(start) = self.schedule.next().await {
            let plan = self.workload.plan(&mut rng);
            let transaction = self.workload.transaction(plan).deadline(self.deadline);
            let id = transaction.id();
            let result = self.client.submit(transaction).await;
            let unreachable = matches!(result, Err(ClientError::Unreachable { .. }));
            self.count(plan, id, start, result);
            if unreachable {
                tokio::time::sleep(UNREACHABLE_PAUSE).await;
            }
        }
    }

    fn count(&self, plan: Plan, id: TxnId, start: Instant, result: Result<Outcome, ClientError>) {
        let now = Instant::now();
        let (at, latency) = (Answered::At(now - self.schedule.begun_at()), now - start);
        let mut progress = self.progress();
        match result {
            Ok(outcome) => count_outcome(&mut progress.figures, plan.kind, &outcome, at, latency),
            Err(ClientError::Unknown { .. }) => progress.unknown.push((plan, id, start)),
            Err(error) => progress.figures.failed(&error.to_string(), 1),
        }
    }

    fn show(&self, bar: &ProgressBar, shown: u64) -> u64 {
        let figures = &self.progress().figures;
        let (committed, aborted) = (figures.committed, figures.aborted);
        let tps = committed.saturating_sub(shown) as f64 / PROGRESS_INTERVAL.as_secs_f64();
        bar.set_position(self.schedule.begun_at().elapsed().as_millis() as u64);
        bar.set_message(format!("{tps:.0} committed/s, {aborted} aborted, {} failed", figures.failed_total()));
        committed
    }

    /// The run is over; how long it was.
    fn end(&self, asked_for: Duration) -> Duration {
        let figures = &mut self.progress().figures;
        let duration = length(asked_for, self.schedule.stopped(), figures.last_answer);
        figures.end(duration);
        duration
    }

    /// Finds out what became of those without an answer: submitted again, each is the same
    /// transaction and gets the outcome that it had, or its first one.
    async fn resolve_all(self: &Arc<Self>) -> Result<(), Cut> {
        let unknown = std::mem::take(&mut self.progress().unknown);
        let mut asking = JoinSet::new();
        for (plan, id, start) in unknown {
            let run = Arc::clone(self);
            asking.spawn(async move { run.resolve(plan, id, start).await });
        }
        let all_asked = async {
            while let Some(ended) = asking.join_next().await {
                ended.map_err(|error| Cut::node(format!("an unknown outcome could not be asked for: {error}")))?;
            }
            Ok(())
        };
        // At the end of the time, what is left is unknown, and counted as that.
        tokio::time::timeout(RESOLVE_TIME_MAX, all_asked).await.unwrap_or(Ok(()))
    }

    /// Until it is known.
    async fn resolve(&self, plan: Plan, id: TxnId, start: Instant) {
        loop {
            if let Ok(outcome) =
                self.client.submit(self.workload.transaction_again(plan, id).deadline(self.deadline)).await
            {
                let mut progress = self.progress();
                progress.resolved += 1;
                count_outcome(&mut progress.figures, plan.kind, &outcome, Answered::Afterwards, start.elapsed());
                return;
            }
            tokio::time::sleep(RESOLVE_PAUSE).await;
        }
    }

    fn finish(&self, duration: Duration, cut: Option<Cut>) -> Result<Ran, Failure> {
        let mut progress = self.progress();
        let mut figures = std::mem::replace(&mut progress.figures, new_figures(Duration::ZERO)?);
        let unknown = self.schedule.begun() - figures.answered_total();
        let slots = self.schedule.scheduled();
        if let Some(slots) = slots {
            let why = if cut.is_some() {
                "scheduled but not begun when the run ended"
            } else {
                "scheduled but not begun in time"
            };
            figures.failed(why, slots.never_begun);
        }
        Ok(Ran {
            figures,
            duration,
            scheduled: slots.map(|slots| slots.due),
            resolved: progress.resolved,
            own_cpu: own_cpu().saturating_sub(self.own_cpu_before),
            unknown,
            cut,
        })
    }
}

fn count_outcome(figures: &mut Figures, kind: Kind, outcome: &Outcome, answered: Answered, latency: Duration) {
    match outcome {
        Outcome::Committed { .. } if kind == Kind::Refused => figures.failed("committed what had to be refused", 1),
        Outcome::Committed { .. } => figures.committed(answered, latency),
        Outcome::Aborted { refusal, at_deadline } if is_own_reason(refusal, *at_deadline) => {
            figures.aborted(answered, latency);
        }
        Outcome::Aborted { refusal, at_deadline: true } => {
            figures.failed(&format!("{} at its deadline", refusal.reason), 1)
        }
        Outcome::Aborted { refusal, at_deadline: false } => figures.failed(refusal.reason.name(), 1),
    }
}

/// How long a run was: as long as asked for, or until it was stopped, and in any case to its last answer. That nobody
/// answered in the end makes it no longer.
fn length(asked_for: Duration, stopped: Option<Duration>, last_answer: Duration) -> Duration {
    stopped.map_or(asked_for, |stopped| stopped.min(asked_for)).max(last_answer)
}

/// Whether the workload asked for this refusal: a balance too small, or a bound that cannot hold.
fn is_own_reason(refusal: &Refusal, at_deadline: bool) -> bool {
    refusal.reason == Reason::Bound && !at_deadline
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_as_long_as_it_was_loaded_or_answered() {
        let s = Duration::from_secs;
        for (stopped, last_answer, expected) in [
            (None, s(2), s(3)),
            (None, s(4), s(4)),
            (Some(s(1)), s(1), s(1)),
            (Some(s(7)), s(2), s(3)),
            (Some(s(7)), s(5), s(5)),
        ] {
            assert_eq!(length(s(3), stopped, last_answer), expected, "{stopped:?} {last_answer:?}");
        }
    }

    #[test]
    fn only_a_bound_is_an_abort_everything_else_that_is_not_a_commit_is_a_failure() {
        let mut figures = Figures::new(Duration::from_secs(1)).unwrap();
        let mut count = |kind, outcome: Outcome| {
            count_outcome(&mut figures, kind, &outcome, Answered::Afterwards, Duration::from_micros(5));
        };
        let committed = || Outcome::Committed { results: None };
        let aborted = |reason, at_deadline| Outcome::Aborted { refusal: Refusal::by_coordinator(reason), at_deadline };
        count(Kind::Transfer, committed());
        count(Kind::Read, committed());
        count(Kind::Refused, aborted(Reason::Bound, false));
        count(Kind::Transfer, aborted(Reason::Bound, false));
        count(Kind::Refused, committed());
        count(Kind::Transfer, aborted(Reason::Conflict, true));
        count(Kind::Transfer, aborted(Reason::Bound, true));
        count(Kind::Transfer, aborted(Reason::NoSpace, false));
        assert_eq!((figures.committed, figures.aborted, figures.failed_total()), (2, 2, 4));
    }
}
