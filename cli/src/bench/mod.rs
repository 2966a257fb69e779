//! `assent bench`: a workload on a cluster, its figures, and an audit of the money.
//!
//! Invariants: a run that has begun ends with its figures, printed and written, whatever cuts it short, and says that and
//! why; every wait after its end is bounded; a run touches its own accounts alone.

mod accounts;
mod cut;
mod daemons;
mod distribution;
mod documents;
mod figures;
mod ledger;
mod namespace;
mod page;
mod plots;
mod result;
mod runner;
mod schedule;
mod settings;
mod table;
mod workload;

use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use client::{Client, Options, Traffic};
use protocol::ClusterId;

use crate::bench::cut::Cut;
use crate::bench::daemons::{Daemons, Watch};
use crate::bench::documents::Documents;
use crate::bench::namespace::{Listed, Namespace};
use crate::bench::result::{BenchResult, Found, Money};
use crate::bench::runner::Ran;
pub(crate) use crate::bench::settings::BenchArgs;
use crate::bench::settings::Settings;
use crate::bench::table::Table;
use crate::bench::workload::Workload;
use crate::children::ClusterSpec;
use crate::cluster::{Running, Started, start, watch};
use crate::connect::runtime;
use crate::exit::Failure;
use crate::folder::{Closed, TemporaryFolder};
use crate::interrupt::Interrupts;

/// How long a bench that is interrupted goes on to count the money and to remove its accounts, each.
const INTERRUPTED_WAIT: Duration = Duration::from_secs(2);

/// The shortest deadline of what a bench has to do besides its run: to claim, open, count and remove its accounts.
const ACCOUNTS_DEADLINE_MIN: Duration = Duration::from_secs(10);

/// How long the money may take to be counted, beyond the deadline of that.
const AUDIT_GRACE: Duration = Duration::from_secs(2);

/// Which node has ended, and how, if one ever does.
type Ended<'a> = Pin<&'a mut dyn Future<Output = String>>;

/// Runs the command.
pub(crate) fn run(args: &BenchArgs) -> Result<(), Failure> {
    let settings = args.settings();
    settings.check().map_err(Failure::Usage)?;
    let documents = Documents::check(args.json.as_deref(), args.report.as_deref())?;
    runtime()?.block_on(async {
        let bench = Bench { args, settings, documents };
        let interrupts = Interrupts::listen()?;
        match &args.coordinator {
            Some(address) if args.remove_leftovers => bench.remove_leftovers(address, interrupts).await,
            Some(address) => bench.measure_at(address, interrupts).await,
            None => bench.measure_own(interrupts).await,
        }
    })
}

struct Bench<'a> {
    args: &'a BenchArgs,
    settings: Settings,
    documents: Documents,
}

/// A run that has a number.
struct Begun {
    client: Client,
    others: Vec<Listed>,
    namespace: Namespace,
}

/// All that a run needs.
struct Prepared {
    client: Client,
    daemons: Daemons,
    workload: Workload,
}

impl Bench<'_> {
    /// Measures a cluster that is started for it. The run is cut short when one of its nodes ends.
    async fn measure_own(&self, mut interrupts: Interrupts) -> Result<(), Failure> {
        let folder = TemporaryFolder::create("assent-bench", self.args.keep)?;
        let spec = ClusterSpec {
            root: folder.path().to_owned(),
            participants: self.settings.participants,
            cluster_id: self.args.cluster_id,
            listen: "127.0.0.1:0".to_owned(),
            log_level: "warn".to_owned(),
            logs_to_files: true,
        };
        let started = {
            let heard = std::pin::pin!(async {
                interrupts.next().await;
                Ok(())
            });
            start(spec, Some(folder), heard).await?
        };
        let Running { mut cluster, folder } = match started {
            Started::Running(running) => running,
            Started::Interrupted(folder) => return Err(interrupted(folder)),
        };
        let address = cluster.coordinator_address().to_owned();
        let measured = {
            let mut ended = std::pin::pin!(watch(&mut cluster));
            match self.begin(&address, &mut interrupts, ended.as_mut()).await {
                Ok(begun) => self.measure(begun.client, begun.namespace, &mut interrupts, ended.as_mut()).await,
                Err(failure) => Err(failure),
            }
        };
        let ended = cluster.ended();
        // Who wants no more of the bench does not wait for a node that stands still.
        let stopped = match measured {
            Ok(()) | Err(Failure::NoAsPrinted) => cluster.stop(),
            Err(_) => cluster.stop_within(INTERRUPTED_WAIT),
        };
        let closed = folder.map(TemporaryFolder::close).transpose();
        if let Ok(Some(Closed::Kept(path))) = &closed {
            crate::output::line_on_stderr(&format!("kept: {}", path.display()));
        }
        match (measured, ended) {
            // What failed on a node's end is told as that end.
            (Err(Failure::Client(_) | Failure::Start(_) | Failure::No(_)), Some(ended)) => Err(Failure::Start(ended)),
            (measured, Some(_)) => measured,
            (measured, None) => measured.and(stopped).and(closed.map(|_| ())),
        }
    }

    /// Measures a cluster that runs, beside whoever else uses it.
    async fn measure_at(&self, address: &str, mut interrupts: Interrupts) -> Result<(), Failure> {
        let mut never = std::pin::pin!(pending());
        let Begun { client, others, namespace } = self.begin(address, &mut interrupts, never.as_mut()).await?;
        for other in others {
            crate::output::complain(&format!(
                "note: at this cluster there is also {other}; it goes on, or was killed (then see --remove-leftovers)"
            ));
        }
        let measured = self.measure(client.clone(), namespace, &mut interrupts, never.as_mut()).await;
        let is_complete = matches!(measured, Ok(()) | Err(Failure::NoAsPrinted));
        self.tidy_up(&client, namespace, is_complete, &mut interrupts).await;
        measured
    }

    /// Finds the coordinator and who else measures there, and claims accounts.
    async fn begin(&self, address: &str, interrupts: &mut Interrupts, ended: Ended<'_>) -> Result<Begun, Failure> {
        let begin = async {
            let client = self.connect(address).await?;
            let others = Namespace::list(&client).await?;
            let namespace = Namespace::claim(&client, self.settings.accounts).await?;
            Ok(Begun { client, others, namespace })
        };
        tokio::select! {
            begun = begin => begun,
            ended = ended => Err(Failure::Start(ended)),
            signal = interrupts.next() => Err(nothing_measured(signal)),
        }
    }

    async fn connect(&self, address: &str) -> Result<Client, Failure> {
        Ok(Client::connect(address.to_owned(), self.options()).await?)
    }

    fn options(&self) -> Options {
        Options { cluster: ClusterId(self.args.cluster_id), deadline: self.accounts_deadline(), ..Options::default() }
    }

    /// Of everything but the transactions of the run, which have `--deadline`.
    fn accounts_deadline(&self) -> Duration {
        self.args.deadline.max(ACCOUNTS_DEADLINE_MIN)
    }

    async fn prepare(&self, client: Client, namespace: Namespace) -> Result<Prepared, Failure> {
        let daemons = Daemons::find(&client, &self.options(), self.args.node_timeout).await?;
        let workload = Workload::new(&self.settings, daemons.participants(), namespace).map_err(Failure::Usage)?;
        accounts::open(&client, namespace, self.settings.accounts, self.settings.balance).await?;
        Ok(Prepared { client, daemons, workload })
    }

    /// Prepares, runs, and tells what came of it. From the beginning of the run on, nothing keeps the figures back.
    async fn measure(
        &self,
        client: Client,
        namespace: Namespace,
        interrupts: &mut Interrupts,
        mut ended: Ended<'_>,
    ) -> Result<(), Failure> {
        let prepare = async {
            let prepared = self.prepare(client, namespace).await?;
            let watch = prepared.daemons.watch().await?;
            Ok::<_, Failure>((prepared, watch))
        };
        let (prepared, watch) = tokio::select! {
            prepared = prepare => prepared?,
            ended = ended.as_mut() => return Err(Failure::Start(ended)),
            signal = interrupts.next() => return Err(nothing_measured(signal)),
        };
        let Prepared { client, daemons, workload } = prepared;
        let before = client.traffic();
        let cut = async {
            tokio::select! {
                silent = watch.until_silent() => silent,
                ended = ended.as_mut() => Cut::node(ended),
                signal = interrupts.next() => Cut::interrupted(signal),
            }
        };
        let mut ran =
            runner::run(client.clone(), workload, &self.settings, self.args.deadline, self.args.seed, cut).await?;
        let own_requests = requests_between(before, client.traffic());
        let money = self.settle(&client, namespace, &watch, &mut ran, interrupts, ended).await;
        let work = watch.work().map_err(|failure| ran.cut.get_or_insert(Cut::node(failure.to_string()))).ok();
        let participants = daemons.participants().len();
        let found = Found { namespace, participants, ran: &ran, work, own_requests, money };
        let result = BenchResult::new(&self.settings, found);
        self.tell(&result, &ran)
    }

    /// Takes the last figures of the nodes, and counts the money. What is not known in time stays unknown; a run whose
    /// money was not counted is incomplete.
    async fn settle(
        &self,
        client: &Client,
        namespace: Namespace,
        watch: &Watch,
        ran: &mut Ran,
        interrupts: &mut Interrupts,
        mut ended: Ended<'_>,
    ) -> Option<Money> {
        let cut = ran.cut.clone();
        // Whoever has cut it short may have been the end of a node, which comes once.
        let nodes_serve = cut.as_ref().is_none_or(|cut| cut.nodes_serve);
        let settle = async {
            watch.end().await;
            match cut {
                None => self.audit(client, namespace, self.accounts_deadline() + AUDIT_GRACE).await,
                Some(cut) if cut.nodes_serve => {
                    Ok(self.audit(client, namespace, INTERRUPTED_WAIT).await.unwrap_or(None))
                }
                Some(_) => Ok(None),
            }
        };
        let settled = tokio::select! {
            settled = settle => settled,
            ended = ended.as_mut(), if nodes_serve => Err(Cut::node(ended)),
            signal = interrupts.next() => Err(Cut::interrupted(signal)),
        };
        settled.unwrap_or_else(|cut| {
            ran.cut.get_or_insert(cut);
            None
        })
    }

    async fn audit(&self, client: &Client, namespace: Namespace, limit: Duration) -> Result<Option<Money>, Cut> {
        let not_counted = |why: String, code| Cut::not_audited(format!("the money was not counted: {why}"), code);
        match tokio::time::timeout(limit, accounts::totals(client, namespace)).await {
            Ok(Ok(Some(totals))) => Ok(Some(Money::new(&self.settings, &totals))),
            Ok(Ok(None)) => {
                Err(not_counted("someone has removed the accounts of this run (--remove-leftovers)".to_owned(), 1))
            }
            Ok(Err(failure)) => Err(not_counted(failure.to_string(), failure.code().max(1))),
            Err(_) => Err(not_counted(format!("it was not done within {limit:?}"), 3)),
        }
    }

    /// Writes the documents and prints the table; the exit code.
    fn tell(&self, result: &BenchResult, ran: &Ran) -> Result<(), Failure> {
        let json = || serde_json::to_string(result).map(|text| text + "\n").map_err(|error| error.to_string());
        let (documents, kept) =
            if ran.cut.is_some() { self.documents.beside_earlier() } else { (self.documents.clone(), Vec::new()) };
        let written = documents.write(json, || page::page(&self.settings, result, &ran.figures));
        let mut text = Table(result).to_string();
        if written.is_ok() {
            for (earlier, beside) in kept {
                let (earlier, beside) = (earlier.display(), beside.display());
                text += &format!("\nthe incomplete figures are in {beside}; {earlier} keeps its earlier ones");
            }
        }
        if documents.take_stdout() {
            crate::output::line_on_stderr(&text);
        } else {
            crate::output::line(&text)?;
        }
        written?;
        match &ran.cut {
            Some(cut) => Err(Failure::AsPrinted(cut.code)),
            None if result.is_good() => Ok(()),
            None => Err(Failure::NoAsPrinted),
        }
    }

    /// Removes the accounts of a run from a cluster that goes on; what is left is told.
    async fn tidy_up(&self, client: &Client, namespace: Namespace, is_complete: bool, interrupts: &mut Interrupts) {
        let remove = async {
            if is_complete {
                return namespace.remove(client).await.map_err(|failure| failure.to_string());
            }
            match tokio::time::timeout(INTERRUPTED_WAIT, namespace.remove(client)).await {
                Ok(removed) => removed.map_err(|failure| failure.to_string()),
                Err(_) => Err(format!("not done within {INTERRUPTED_WAIT:?}")),
            }
        };
        let removed = tokio::select! {
            removed = remove => removed,
            signal = interrupts.next() => Err(format!("interrupted by {signal}")),
        };
        if let Err(why) = removed {
            crate::output::complain(&format!(
                "the accounts of run {namespace} are still there ({why}); `assent bench --coordinator {} \
                 --remove-leftovers` removes them",
                client.address()
            ));
        }
    }

    /// Removes what killed benches have left.
    async fn remove_leftovers(&self, address: &str, mut interrupts: Interrupts) -> Result<(), Failure> {
        let remove = async {
            let client = self.connect(address).await?;
            let runs = Namespace::list(&client).await?;
            if runs.is_empty() {
                return crate::output::line("nothing to remove");
            }
            for run in runs {
                run.namespace.remove(&client).await?;
                crate::output::line(&format!("removed: {run}"))?;
            }
            Ok(())
        };
        tokio::select! {
            removed = remove => removed,
            signal = interrupts.next() => Err(Failure::No(format!("interrupted by {signal}; call it again"))),
        }
    }
}

/// How often this bench has sent a transaction, if all went over one connection: what was under way on one that broke may
/// not have arrived.
fn requests_between(before: Traffic, after: Traffic) -> Option<u64> {
    (before.connections == after.connections).then(|| after.submits - before.submits)
}

fn nothing_measured(signal: &str) -> Failure {
    Failure::No(format!("interrupted by {signal}; nothing was measured"))
}

/// What Ctrl-C has left, of a cluster that has stopped.
fn interrupted(folder: Option<TemporaryFolder>) -> Failure {
    match folder.map(TemporaryFolder::close).transpose() {
        Ok(Some(Closed::Removed)) => Failure::No("interrupted; the bench's cluster is stopped and removed".to_owned()),
        Ok(Some(Closed::Kept(path))) => {
            Failure::No(format!("interrupted; the bench's cluster is stopped; kept: {}", path.display()))
        }
        Ok(None) => Failure::No("interrupted; the bench's cluster is stopped".to_owned()),
        Err(failure) => Failure::No(format!("interrupted; the bench's cluster is stopped, but {failure}")),
    }
}
