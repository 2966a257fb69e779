//! The handle that applications hold.

use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::message::{Hello, Stats, Submit, TxnStatus};
use protocol::{ClusterId, Reason, Refusal, Role, TxnId, operation};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;

use crate::backoff::Backoff;
use crate::connection;
use crate::error::ClientError;
use crate::in_flight::{Answer, InFlight, Reply, Traffic, deadline_ms};
use crate::limits::{BUSY_PAUSE_MAX, BUSY_PAUSE_MIN, IN_FLIGHT_TXNS_MAX, LARGE_UNITS, QUESTIONS_MAX, units_of};
use crate::retry_budget::RetryBudget;
use crate::transaction::{Outcome, Transaction};

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which cluster the node must belong to.
    pub cluster: ClusterId,
    /// How long connecting and greeting may take.
    pub connect_timeout: Duration,
    /// How long a coordinator may try a transaction that does not say otherwise.
    pub deadline: Duration,
    /// How long after its deadline an answer is waited for, to save a question for the status.
    pub grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cluster: ClusterId(1),
            connect_timeout: Duration::from_secs(5),
            deadline: Duration::from_secs(10),
            grace: Duration::from_secs(1),
        }
    }
}

/// A connection to one node. Clones share it; it closes with the last of them.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    in_flight: Arc<InFlight>,
    options: Options,
    server: Hello,
    txn_room: Arc<Semaphore>,
    retry_budget: RetryBudget,
    question_room: Arc<Semaphore>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Client {
    /// Connects to a node and greets it. Must be called within a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// If nobody answers there in time, or not as a node of this cluster.
    pub async fn connect(address: impl Into<String>, options: Options) -> Result<Self, ClientError> {
        let address = address.into();
        let established = connection::establish(&address, &options).await?;
        let server = established.server;
        let in_flight = InFlight::new(address);
        let keep = tokio::spawn(connection::keep(Arc::clone(&in_flight), options.clone(), established));
        let sweep = tokio::spawn(connection::sweep(Arc::clone(&in_flight)));
        Ok(Self {
            shared: Arc::new(Shared {
                in_flight,
                options,
                server,
                txn_room: Arc::new(Semaphore::new(IN_FLIGHT_TXNS_MAX)),
                retry_budget: RetryBudget::new(Instant::now()),
                question_room: Arc::new(Semaphore::new(QUESTIONS_MAX)),
                tasks: [keep, sweep],
            }),
        })
    }

    /// What the node said of itself when the client connected.
    #[must_use]
    pub fn server(&self) -> Hello {
        self.shared.server
    }

    /// What this client and its clones have asked of the node so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.shared.in_flight.traffic()
    }

    /// Where the node is.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.shared.in_flight.address
    }

    /// Commits a transaction, or says why not. Survives lost connections and a coordinator that is
    /// busy, until the transaction's deadline: it is asked for again, as often as what the coordinator admits of this client
    /// allows. Waits while [`IN_FLIGHT_TXNS_MAX`] are in flight.
    ///
    /// # Errors
    /// [`ClientError::Unknown`] if no answer came until after the deadline: the transaction may
    /// have happened. With any other error it has not; [`ClientError::NotACoordinator`] comes at once.
    pub async fn submit(&self, transaction: Transaction) -> Result<Outcome, ClientError> {
        let Transaction { id: txn, deadline, mut operations } = transaction;
        operation::check(&operations)?;
        self.check_coordinator()?;
        let shared = &*self.shared;
        let until = Instant::now() + deadline.unwrap_or(shared.options.deadline);
        let mut backoff = Backoff::new(BUSY_PAUSE_MIN, BUSY_PAUSE_MAX);
        let mut maybe_tried = false;
        let units = units_of(operation::operations_bytes(&operations) + size_of_val(&*operations));
        let mut is_paid = self.pay_for_first(units, until, &mut backoff).await;
        loop {
            let room = self.room_for(units).await;
            let left = until.saturating_duration_since(Instant::now());
            let submit = Submit { txn, deadline_ms: deadline_ms(left), operations };
            let answer = shared.in_flight.submit(submit, until, shared.options.grace, room);
            match self.wait(answer, txn).await? {
                Reply::Outcome(outcome) => {
                    shared.retry_budget.note_admitted(units, is_paid);
                    return Ok(outcome);
                }
                Reply::Busy { sends, operations: returned } => {
                    maybe_tried |= sends > 1;
                    operations = returned;
                }
            }
            shared.retry_budget.note_busy(Instant::now());
            is_paid = self.pay(units, until, &mut backoff).await;
            if !is_paid {
                return self.busy_to_the_end(txn, maybe_tried);
            }
        }
    }

    /// Waits until what is large may be asked for, if the coordinator was busy just now; for half of its time, and then it
    /// is asked for without having paid: it may be for a participant that is not busy at all.
    async fn pay_for_first(&self, units: u32, until: Instant, backoff: &mut Backoff) -> bool {
        let now = Instant::now();
        let pays = units >= LARGE_UNITS && self.shared.retry_budget.was_busy(now);
        pays && self.pay(units, now + until.saturating_duration_since(now) / 2, backoff).await
    }

    /// Pauses until so much may be asked for; false if that is not before `until`.
    async fn pay(&self, units: u32, until: Instant, backoff: &mut Backoff) -> bool {
        loop {
            let pause = backoff.pause();
            if Instant::now() + pause >= until {
                return false;
            }
            tokio::time::sleep(pause).await;
            if self.shared.retry_budget.take(Instant::now(), units) {
                return true;
            }
        }
    }

    /// That the node is one that decides transactions.
    ///
    /// # Errors
    /// [`ClientError::NotACoordinator`] if it said otherwise when the client connected.
    pub fn check_coordinator(&self) -> Result<(), ClientError> {
        let Hello { role, node, .. } = self.server();
        match role {
            Role::Coordinator => Ok(()),
            Role::Participant | Role::Client => {
                Err(ClientError::NotACoordinator { address: self.address().to_owned(), role, node })
            }
        }
    }

    /// Room for a transaction: a permit for every started unit of the memory that it holds, roughly.
    async fn room_for(&self, permits: u32) -> OwnedSemaphorePermit {
        let semaphore = &self.shared.txn_room;
        match Arc::clone(semaphore).try_acquire_many_owned(permits) {
            Ok(room) => room,
            Err(_) => acquire(semaphore, permits).await,
        }
    }

    async fn wait<T>(&self, answer: oneshot::Receiver<Answer<T>>, txn: TxnId) -> Result<T, ClientError> {
        answer.await.unwrap_or_else(|_| {
            let why = "the client's runtime was shut down".to_owned();
            Err(ClientError::Unknown { txn, address: self.address().to_owned(), why })
        })
    }

    fn busy_to_the_end(&self, txn: TxnId, maybe_tried: bool) -> Result<Outcome, ClientError> {
        if maybe_tried {
            let why = "the connection was lost once, and the coordinator was busy from then on".to_owned();
            return Err(ClientError::Unknown { txn, address: self.address().to_owned(), why });
        }
        Ok(Outcome::Aborted { refusal: Refusal::by_coordinator(Reason::Busy), at_deadline: true })
    }

    /// What became of a transaction.
    ///
    /// # Errors
    /// If the node is no coordinator, or does not answer within the default deadline.
    pub async fn status(&self, txn: TxnId) -> Result<TxnStatus, ClientError> {
        self.check_coordinator()?;
        let room = acquire(&self.shared.question_room, 1).await;
        let give_up = Instant::now() + self.shared.options.deadline;
        self.wait(self.shared.in_flight.ask_status(txn, give_up, room), txn).await
    }

    /// The node's figures since it started.
    ///
    /// # Errors
    /// If the node does not answer within the default deadline.
    pub async fn stats(&self) -> Result<Stats, ClientError> {
        let room = acquire(&self.shared.question_room, 1).await;
        let give_up = Instant::now() + self.shared.options.deadline;
        self.wait(self.shared.in_flight.ask_stats(give_up, room), TxnId(0)).await
    }
}

/// The semaphores are never closed: they live in what `self` holds.
async fn acquire(semaphore: &Arc<Semaphore>, permits: u32) -> OwnedSemaphorePermit {
    match Arc::clone(semaphore).acquire_many_owned(permits).await {
        Ok(room) => room,
        Err(closed) => unreachable!("{closed}"),
    }
}
