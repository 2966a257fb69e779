//! The nodes under a bench: asked again and again while it runs, so that one that stands still is noticed and one that
//! starts anew is named; and what all of them did, whoever asked them to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use client::{Client, ClientError, Options};
use protocol::Role;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::bench::cut::Cut;
use crate::bench::ledger::{Counted, Ledger};
use crate::exit::Failure;

/// Pause between two questions for a node's figures: at most so much is lost of them when it ends.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);

/// How long the last figures of all nodes together are waited for.
const LAST_FIGURES_WAIT: Duration = Duration::from_secs(2);

/// All nodes of a cluster, each on a connection of its own.
#[derive(Debug)]
pub(crate) struct Daemons {
    nodes: Vec<Arc<Node>>,
    participants: Vec<u32>,
}

/// The nodes from the beginning of a run.
#[derive(Debug)]
pub(crate) struct Watch {
    nodes: Vec<Arc<Watched>>,
    begun_at: Instant,
}

#[derive(Debug)]
struct Node {
    client: Client,
    name: String,
}

#[derive(Debug)]
struct Watched {
    node: Arc<Node>,
    ledger: Mutex<Ledger>,
    /// Cleared when the node does not answer: its figures end before the run does.
    is_heard: Mutex<bool>,
}

/// What was done while a run went on.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// By all nodes, for everybody.
    pub(crate) cluster: ClusterFigures,
    pub(crate) restarts: Vec<RestartFigures>,
    /// Transactions that the coordinator was asked for, by everybody.
    pub(crate) requests: u64,
}

/// What all nodes of the cluster did while a run went on, whoever asked them to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ClusterFigures {
    /// Whether something is missing: figures of a node that has ended or does not answer.
    pub(crate) at_least: bool,
    /// The nodes that gave no figures at the end of the run.
    pub(crate) without_last_figures: Vec<String>,
    pub(crate) cpu_s: f64,
    pub(crate) log: LogFigures,
}

/// The logs of all nodes together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct LogFigures {
    pub(crate) groups: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) sync_us: SyncFigures,
}

/// How long a group took to become durable; nothing if there was none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct SyncFigures {
    pub(crate) p50: Option<u64>,
    pub(crate) p99: Option<u64>,
}

/// A node that was started again while the run went on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RestartFigures {
    pub(crate) node: String,
    /// When that was seen, in seconds from the beginning of the run.
    pub(crate) seen_at_s: f64,
    pub(crate) times: u64,
}

impl Daemons {
    /// Asks the coordinator for its participants, and connects to each. `silence_max` is how long a node may be silent.
    pub(crate) async fn find(coordinator: &Client, options: &Options, silence_max: Duration) -> Result<Self, Failure> {
        coordinator.check_coordinator()?;
        // On a connection of its own, the figures do not wait behind transactions.
        let options = Options { deadline: silence_max, ..options.clone() };
        let coordinator = Client::connect(coordinator.address().to_owned(), options.clone()).await?;
        let peers = coordinator.stats().await?.peers;
        let mut clients = vec![coordinator];
        for address in peers {
            clients.push(Client::connect(address, options.clone()).await?);
        }
        let servers = clients.iter().map(Client::server);
        let participants: Vec<u32> =
            servers.filter(|server| server.role == Role::Participant).map(|server| server.node).collect();
        if participants.is_empty() {
            return Err(Failure::Usage(format!(
                "{} is a coordinator without participants; nothing can be measured there",
                clients[0].address()
            )));
        }
        Ok(Self { nodes: clients.into_iter().map(|client| Arc::new(Node::new(client))).collect(), participants })
    }

    /// The numbers of the participants.
    pub(crate) fn participants(&self) -> &[u32] {
        &self.participants
    }

    /// Takes the figures of all nodes before a run.
    pub(crate) async fn watch(&self) -> Result<Watch, Failure> {
        let mut nodes = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let ledger = Ledger::new(node.client.stats().await?).map_err(|why| unreadable(&node.name, &why))?;
            let (ledger, is_heard) = (Mutex::new(ledger), Mutex::new(true));
            nodes.push(Arc::new(Watched { node: Arc::clone(node), ledger, is_heard }));
        }
        Ok(Watch { nodes, begun_at: Instant::now() })
    }
}

impl Watch {
    /// Asks all nodes for their figures, again and again; ends when one does not answer.
    pub(crate) async fn until_silent(&self) -> Cut {
        let mut asking = JoinSet::new();
        for node in &self.nodes {
            let (node, begun_at) = (Arc::clone(node), self.begun_at);
            asking.spawn(async move { node.until_silent(begun_at).await });
        }
        match asking.join_next().await {
            Some(Ok(cut)) => cut,
            Some(Err(error)) => Cut::node(format!("the nodes can no longer be watched: {error}")),
            None => std::future::pending().await,
        }
    }

    /// Takes the last figures of all nodes that give them soon.
    pub(crate) async fn end(&self) {
        let mut asking = JoinSet::new();
        for node in self.nodes.iter().filter(|node| *node.is_heard()) {
            let (node, begun_at) = (Arc::clone(node), self.begun_at);
            // Until it has answered.
            *node.is_heard() = false;
            asking.spawn(async move {
                if let Ok(Ok(())) = tokio::time::timeout(LAST_FIGURES_WAIT, node.ask(begun_at)).await {
                    *node.is_heard() = true;
                }
            });
        }
        while asking.join_next().await.is_some() {}
    }

    /// What is known of the nodes' work by now.
    pub(crate) fn work(&self) -> Result<Work, Failure> {
        let mut total = Counted::nothing().map_err(|why| unreadable("a node", &why))?;
        let (mut requests, mut restarts, mut without_last_figures) = (0, Vec::new(), Vec::new());
        for watched in &self.nodes {
            let name = &watched.node.name;
            let ledger = watched.ledger();
            let counted = ledger.total().map_err(|why| unreadable(name, &why))?;
            total.add(&counted).map_err(|why| unreadable(name, &why))?;
            if watched.node.client.server().role == Role::Coordinator {
                requests += counted.requests;
            }
            restarts.extend(ledger.restarts().iter().map(|restart| RestartFigures {
                node: name.clone(),
                seen_at_s: restart.at.as_secs_f64(),
                times: restart.times,
            }));
            if !*watched.is_heard() {
                without_last_figures.push(name.clone());
            }
        }
        let log = LogFigures {
            groups: total.groups,
            records: total.records,
            bytes: total.bytes,
            sync_us: SyncFigures {
                p50: crate::bench::figures::quantile(&total.sync_us, 0.50),
                p99: crate::bench::figures::quantile(&total.sync_us, 0.99),
            },
        };
        let at_least = !restarts.is_empty() || !without_last_figures.is_empty();
        let cluster = ClusterFigures { at_least, without_last_figures, cpu_s: total.cpu_us as f64 / 1e6, log };
        Ok(Work { cluster, restarts, requests })
    }
}

impl Node {
    fn new(client: Client) -> Self {
        let server = client.server();
        Self { name: format!("{} {} at {}", server.role, server.node, client.address()), client }
    }
}

impl Watched {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_heard(&self) -> MutexGuard<'_, bool> {
        self.is_heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn until_silent(&self, begun_at: Instant) -> Cut {
        loop {
            tokio::time::sleep(SAMPLE_INTERVAL).await;
            if let Err(why) = self.ask(begun_at).await {
                *self.is_heard() = false;
                return Cut::node(why);
            }
        }
    }

    async fn ask(&self, begun_at: Instant) -> Result<(), String> {
        let asked_at = Instant::now();
        let name = &self.node.name;
        let stats = self.node.client.stats().await.map_err(|error| {
            let silent_s = asked_at.elapsed().as_secs_f64();
            match error {
                ClientError::Unreachable { why, .. } => format!("{name} has not answered for {silent_s:.1} s: {why}"),
                ClientError::NotAccepted { .. }
                | ClientError::WrongCluster { .. }
                | ClientError::NotACoordinator { .. }
                | ClientError::Violation { .. }
                | ClientError::Unsendable(_)
                | ClientError::Unknown { .. } => format!("{name} has given no figures for {silent_s:.1} s: {error}"),
            }
        })?;
        self.ledger().note(stats, begun_at.elapsed()).map_err(|why| unreadable(name, &why).to_string())
    }
}

fn unreadable(name: &str, why: &str) -> Failure {
    Failure::Start(format!("{name}: its figures cannot be read ({why}): is it of this version?"))
}

/// Processor time of this process, all threads.
pub(crate) fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.clamp(0, 999_999_999) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_processor_time_grows_with_work() {
        let before = own_cpu();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(20) {
            std::hint::black_box(0);
        }
        assert!(own_cpu() > before);
    }
}
