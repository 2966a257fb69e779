//! What presses: a load in a thread of its own, and what came of its transactions.

use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::{Client, ClientError, Options, Outcome, Transaction};
use tokio::sync::oneshot;

/// What came of transactions.
#[derive(Debug, Default)]
pub(super) struct Counts {
    committed: AtomicU64,
    refused: AtomicU64,
    unknown: AtomicU64,
}

impl Counts {
    fn add(&self, outcome: &Result<Outcome, ClientError>) {
        let counter = match outcome {
            Ok(Outcome::Committed { .. }) => &self.committed,
            Ok(Outcome::Aborted { .. }) => &self.refused,
            Err(_) => &self.unknown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn done(&self) -> Done {
        let [committed, refused, unknown] =
            [&self.committed, &self.refused, &self.unknown].map(|count| count.load(Ordering::Relaxed));
        Done { committed, refused, unknown, seconds: 0.0 }
    }
}

/// What was done, and in what time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    pub(super) committed: u64,
    pub(super) refused: u64,
    pub(super) unknown: u64,
    pub(super) seconds: f64,
}

impl Done {
    pub(super) fn per_second(&self) -> f64 {
        self.committed as f64 / self.seconds.max(0.001)
    }

    /// The share of what was asked for that committed.
    pub(super) fn share(&self) -> f64 {
        self.committed as f64 / ((self.committed + self.refused + self.unknown) as f64).max(1.0)
    }
}

impl AddAssign for Done {
    fn add_assign(&mut self, other: Self) {
        self.committed += other.committed;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.seconds += other.seconds;
    }
}

/// What a load is given.
#[derive(Clone)]
pub(super) struct Hands {
    /// Where the coordinator is.
    pub(super) address: String,
    /// What came of the load's transactions.
    pub(super) load: Arc<Counts>,
    /// What came of those of a bystander.
    pub(super) bystander: Arc<Counts>,
}

impl Hands {
    /// A connection of its own, however long the node takes to answer.
    pub(super) async fn connect(&self) -> Client {
        connect(&self.address).await
    }

    /// Asks for `next(0)`, `next(1)`, ... one after the other, for ever.
    pub(super) async fn keep_asking(self, client: Client, mut next: impl FnMut(u64) -> Transaction) {
        for number in 0.. {
            let outcome = client.submit(next(number)).await;
            self.load.add(&outcome);
            pause_after(&outcome).await;
        }
    }

    /// The same as a bystander: a client that has nothing to do with the load.
    pub(super) async fn stand_by(self, client: Client, mut next: impl FnMut(u64) -> Transaction) {
        for number in 0.. {
            let outcome = client.submit(next(number)).await;
            self.bystander.add(&outcome);
            pause_after(&outcome).await;
        }
    }

    /// Asks once.
    pub(super) async fn ask(&self, client: &Client, transaction: Transaction) {
        self.load.add(&client.submit(transaction).await);
    }
}

pub(super) async fn connect(address: &str) -> Client {
    loop {
        match Client::connect(address, Options::default()).await {
            Ok(client) => return client,
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// A client that is refused comes again, but does not turn in a circle.
async fn pause_after(outcome: &Result<Outcome, ClientError>) {
    if !matches!(outcome, Ok(Outcome::Committed { .. })) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A load that presses; it ends with its value, and its clients are gone then.
pub(super) struct Pressing {
    hands: Hands,
    began: Instant,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Pressing {
    /// Lets it begin.
    pub(super) fn begin(address: &str, load: impl AsyncFnOnce(Hands) + Send + 'static) -> Self {
        let hands = Hands { address: address.to_owned(), load: Arc::default(), bystander: Arc::default() };
        let (stop, stopped) = oneshot::channel();
        let of_thread = hands.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                tokio::select! {
                    _ = stopped => {}
                    () = load(of_thread) => {}
                }
            });
        });
        Self { hands, began: Instant::now(), stop: Some(stop), thread: Some(thread) }
    }

    /// How it goes.
    pub(super) fn counts(&self) -> &Counts {
        &self.hands.load
    }

    /// Ends it, and says what came of its transactions and of the bystander's.
    ///
    /// # Panics
    /// If the load has panicked.
    pub(super) fn end(mut self) -> (Done, Done) {
        let seconds = self.began.elapsed().as_secs_f64();
        let [load, bystander] =
            [&self.hands.load, &self.hands.bystander].map(|counts| Done { seconds, ..counts.done() });
        self.stop = None;
        let thread = self.thread.take().expect("ended once");
        assert!(thread.join().is_ok(), "the load has panicked");
        (load, bystander)
    }
}

impl Drop for Pressing {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}
