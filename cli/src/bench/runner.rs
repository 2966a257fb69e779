//! Runs a workload: so many clients, each with one transaction at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use client::{Client, ClientError, Outcome};
use indicatif::ProgressBar;
use protocol::{Reason, Refusal, TxnId};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;

use crate::bench::figures::Figures;
use crate::bench::schedule::Schedule;
use crate::bench::settings::Settings;
use crate::bench::workload::{Kind, Plan, Workload};
use crate::exit::Failure;

/// How long all unknown outcomes together are asked for; what is unknown then stays unknown.
const RESOLVE_TIME_MAX: Duration = Duration::from_secs(30);

/// Pause before an outcome is asked for again.
const RESOLVE_PAUSE: Duration = Duration::from_millis(100);

/// A client that cannot reach the coordinator pauses before its next transaction.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(20);

/// How often the progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) figures: Figures,
    pub(crate) scheduled: u64,
    /// Outcomes that were unknown at first and found out in the end.
    pub(crate) resolved: u64,
    /// Outcomes that stayed unknown.
    pub(crate) unknown: u64,
}

struct Run {
    client: Client,
    workload: Workload,
    schedule: Schedule,
    progress: Mutex<Progress>,
}

struct Progress {
    figures: Figures,
    unknown: Vec<(Plan, TxnId, Instant)>,
}

/// Runs it to its end.
pub(crate) async fn run(client: Client, workload: Workload, settings: &Settings, seed: u64) -> Result<Ran, Failure> {
    let no_room = |error: hdrhistogram::CreationError| Failure::Start(format!("no histogram: {error:?}"));
    let figures = Figures::new(settings.duration).map_err(no_room)?;
    let schedule = Schedule::start(settings.duration, settings.rate)
        .map_err(|error| Failure::Start(format!("the system refuses a thread for the schedule: {error}")))?;
    let run =
        Arc::new(Run { client, workload, schedule, progress: Mutex::new(Progress { figures, unknown: Vec::new() }) });
    let mut clients = JoinSet::new();
    for number in 0..settings.clients {
        let run = Arc::clone(&run);
        let rng = StdRng::seed_from_u64(seed.wrapping_add((number as u64) << 32));
        clients.spawn(async move { run.client(rng).await });
    }
    let bar = progress_bar(settings.duration);
    let mut shown = 0;
    loop {
        tokio::select! {
            ended = clients.join_next() => match ended {
                Some(ended) => ended.map_err(|error| Failure::Start(format!("a client of the bench failed: {error}")))?,
                None => break,
            },
            () = tokio::time::sleep(PROGRESS_INTERVAL), if !bar.is_hidden() => shown = run.show(&bar, shown),
        }
    }
    bar.finish_and_clear();
    run.finish().await
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

    /// One client.
    async fn client(&self, mut rng: StdRng) {
        while let Some(start) = self.schedule.next().await {
            let plan = self.workload.plan(&mut rng);
            let transaction = self.workload.transaction(plan);
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
        let (at, latency) = (now - self.schedule.begun_at(), now - start);
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

    /// Finds out what became of those without an answer: submitted again, each is the same
    /// transaction and gets the outcome that it had, or its first one.
    async fn finish(self: &Arc<Self>) -> Result<Ran, Failure> {
        let unknown = std::mem::take(&mut self.progress().unknown);
        let unknown_count = unknown.len() as u64;
        let mut asking = JoinSet::new();
        for (plan, id, start) in unknown {
            let run = Arc::clone(self);
            asking.spawn(async move { run.resolve(plan, id, start).await });
        }
        let mut resolved = 0;
        let all_asked = async {
            while let Some(ended) = asking.join_next().await {
                ended.map_err(|error| Failure::Start(format!("an unknown outcome could not be asked for: {error}")))?;
                resolved += 1;
            }
            Ok::<(), Failure>(())
        };
        // At the end of the time, what is left is unknown, and counted as that.
        if let Ok(asked) = tokio::time::timeout(RESOLVE_TIME_MAX, all_asked).await {
            asked?;
        }
        asking.shutdown().await;
        let (scheduled, never_begun) = self.schedule.scheduled();
        let mut progress = self.progress();
        progress.figures.failed("scheduled but not begun in time", never_begun);
        let empty = Figures::new(Duration::ZERO).map_err(|error| Failure::Start(format!("no histogram: {error:?}")))?;
        let figures = std::mem::replace(&mut progress.figures, empty);
        Ok(Ran { figures, scheduled, resolved, unknown: unknown_count - resolved })
    }

    /// Until it is known.
    async fn resolve(&self, plan: Plan, id: TxnId, start: Instant) {
        loop {
            if let Ok(outcome) = self.client.submit(self.workload.transaction_again(plan, id)).await {
                self.count(plan, id, start, Ok(outcome));
                return;
            }
            tokio::time::sleep(RESOLVE_PAUSE).await;
        }
    }
}

fn count_outcome(figures: &mut Figures, kind: Kind, outcome: &Outcome, at: Duration, latency: Duration) {
    match outcome {
        Outcome::Committed { .. } if kind == Kind::Refused => figures.failed("committed what had to be refused", 1),
        Outcome::Committed { .. } => figures.committed(at, latency),
        Outcome::Aborted { refusal, at_deadline } if is_own_reason(refusal, *at_deadline) => {
            figures.aborted(at, latency);
        }
        Outcome::Aborted { refusal, at_deadline: true } => {
            figures.failed(&format!("{} at its deadline", refusal.reason), 1)
        }
        Outcome::Aborted { refusal, at_deadline: false } => figures.failed(refusal.reason.name(), 1),
    }
}

/// Whether the workload asked for this refusal: a balance too small, or a bound that cannot hold.
fn is_own_reason(refusal: &Refusal, at_deadline: bool) -> bool {
    refusal.reason == Reason::Bound && !at_deadline
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bound_is_an_abort_everything_else_that_is_not_a_commit_is_a_failure() {
        let mut figures = Figures::new(Duration::from_secs(1)).unwrap();
        let mut count = |kind, outcome: Outcome| {
            count_outcome(&mut figures, kind, &outcome, Duration::ZERO, Duration::from_micros(5));
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
