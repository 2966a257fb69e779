//! `assent cluster`: a coordinator and participants as child processes, until Ctrl-C.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use node::LogLevels;
use serde_json::json;

use crate::children::{Cluster, ClusterSpec, Told};
use crate::connect::{COORDINATOR_DEFAULT, runtime};
use crate::exit::Failure;
use crate::folder::TemporaryFolder;
use crate::output::Output;
use crate::values::{parse_address, parse_switch};

const AFTER_HELP: &str = "\
Without --data, the cluster lives in a new folder of the working directory, which is removed at the end.
With --data, it can be started again with the same number of participants, and has what it had.
A node that ends by itself is told of and started again, at most 5 times within a minute; one that ends with exit code 2 or 4
is not, and then the cluster stops.
It ends when its terminal is closed (SIGHUP), as at Ctrl-C; `nohup` lets it go on.
The participants listen on ports that are free at the moment.

Example: assent cluster --participants 3 --data my-cluster";

/// How often the nodes are looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

/// Run a cluster of child processes on this machine.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ClusterArgs {
    /// How many participants.
    #[arg(long, env = "ASSENT_CLUSTER_PARTICIPANTS", value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=64))]
    participants: u32,
    /// Where the nodes keep their data, each in a folder of its own.
    #[arg(long, env = "ASSENT_CLUSTER_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the coordinator listens; port 0 takes a free one.
    #[arg(long, env = "ASSENT_CLUSTER_LISTEN", value_name = "ADDR", default_value = COORDINATOR_DEFAULT,
          value_parser = parse_address)]
    listen: String,
    /// Number of the cluster.
    #[arg(long, env = "ASSENT_CLUSTER_ID", value_name = "N", default_value_t = 1)]
    cluster_id: u64,
    /// Which log lines the nodes write to standard error.
    #[arg(long, env = "ASSENT_LOG_LEVEL", value_name = "LEVEL", default_value = "warn")]
    log_level: LogLevels,
    /// Print JSON.
    #[arg(long, env = "ASSENT_JSON", value_parser = parse_switch)]
    pub(crate) json: bool,
}

/// Runs until Ctrl-C, SIGTERM, SIGQUIT, SIGHUP, or the end of a node that cannot be kept up.
pub(crate) fn run(args: &ClusterArgs) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let mut interrupt = std::pin::pin!(crate::interrupt::wait());
        let (folder, spec) = plan(args)?;
        let output = Output { json: args.json };
        let Started::Running(running) = start(spec.clone(), folder, interrupt.as_mut()).await? else { return Ok(()) };
        say(&running.cluster, output)?;
        keep_up(spec, running, output, interrupt).await
    })
}

/// Keeps the nodes up on a thread of its own, so that Ctrl-C is heard meanwhile, and then stops them.
async fn keep_up(
    spec: ClusterSpec,
    mut running: Running,
    output: Output,
    interrupt: Pin<&mut impl Future<Output = Result<(), Failure>>>,
) -> Result<(), Failure> {
    let cancel = Arc::new(AtomicBool::new(false));
    let cancelled = Arc::clone(&cancel);
    let mut keeping = tokio::task::spawn_blocking(move || {
        let kept = running.cluster.keep_up(&spec, &cancelled, &mut |told| tell(&told, output));
        (running, kept)
    });
    let lost = |error: tokio::task::JoinError| Failure::Start(format!("the nodes are not watched any more: {error}"));
    tokio::select! {
        kept = &mut keeping => {
            let (_running, kept) = kept.map_err(lost)?;
            kept
        }
        interrupted = interrupt => {
            cancel.store(true, Ordering::Relaxed);
            let (mut running, _) = keeping.await.map_err(lost)?;
            interrupted?;
            running.cluster.stop()
        }
    }
}

fn tell(told: &Told, output: Output) -> Result<(), Failure> {
    match told {
        Told::Ended { node, how, restart } => output.say(
            &json!({ "ended": node, "how": how, "restart": restart }),
            format_args!(
                "{node} has ended by itself ({how}); it is started again (for the {} time of late)",
                nth(*restart)
            ),
        ),
        Told::Ready { node, address } => output
            .say(&json!({ "ready_again": node, "address": address }), format_args!("{node} runs again at {address}")),
    }
}

fn nth(number: usize) -> String {
    match number {
        1 => "first".to_owned(),
        2 => "second".to_owned(),
        3 => "third".to_owned(),
        more => format!("{more}th"),
    }
}

fn plan(args: &ClusterArgs) -> Result<(Option<TemporaryFolder>, ClusterSpec), Failure> {
    let (folder, root) = match &args.data {
        Some(data) => (None, data.clone()),
        None => {
            let folder = TemporaryFolder::create("assent-cluster", false)?;
            let root = folder.path().to_owned();
            (Some(folder), root)
        }
    };
    let spec = ClusterSpec {
        root,
        participants: args.participants,
        cluster_id: args.cluster_id,
        listen: args.listen.clone(),
        log_level: args.log_level.to_string(),
        logs_to_files: false,
    };
    Ok((folder, spec))
}

/// Until a node has ended by itself; says which, and how.
pub(crate) async fn watch(cluster: &mut Cluster) -> String {
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        if let Some(ended) = cluster.ended() {
            return ended;
        }
    }
}

/// Dropped in this order: the nodes stop before their folder is removed.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) cluster: Cluster,
    pub(crate) folder: Option<TemporaryFolder>,
}

/// What came of a start.
#[derive(Debug)]
pub(crate) enum Started {
    Running(Running),
    /// All that was started has stopped again; the folder is still there.
    Interrupted(Option<TemporaryFolder>),
}

/// Starts a cluster on a thread of its own, so that Ctrl-C is heard meanwhile. The thread holds the
/// folder too: no node can still be writing there when it is removed.
pub(crate) async fn start(
    spec: ClusterSpec,
    folder: Option<TemporaryFolder>,
    interrupt: Pin<&mut impl Future<Output = Result<(), Failure>>>,
) -> Result<Started, Failure> {
    let cancel = Arc::new(AtomicBool::new(false));
    let cancelled = Arc::clone(&cancel);
    let mut starting = tokio::task::spawn_blocking(move || (Cluster::start(&spec, &cancelled), folder));
    let lost = |error: tokio::task::JoinError| Failure::Start(format!("the cluster did not start: {error}"));
    tokio::select! {
        started = &mut starting => {
            let (cluster, folder) = started.map_err(lost)?;
            Ok(Started::Running(Running { cluster: cluster?, folder }))
        }
        interrupted = interrupt => {
            cancel.store(true, Ordering::Relaxed);
            let (cluster, folder) = starting.await.map_err(lost)?;
            drop(cluster);
            interrupted?;
            Ok(Started::Interrupted(folder))
        }
    }
}

fn say(cluster: &Cluster, output: Output) -> Result<(), Failure> {
    let participants: Vec<_> = cluster
        .participant_addresses()
        .zip(1..)
        .map(|(address, id): (_, u32)| json!({ "id": id, "address": address }))
        .collect();
    let lines: Vec<_> = cluster
        .participant_addresses()
        .zip(1..)
        .map(|(address, id): (_, u32)| format!("participant {id}   {address}"))
        .collect();
    let coordinator = cluster.coordinator_address();
    let json = json!({ "ready": true, "coordinator": coordinator, "participants": participants });
    output.say(
        &json,
        format_args!("coordinator 1   {coordinator}\n{}\nready; Ctrl-C stops the cluster", lines.join("\n")),
    )
}
