//! `assent cluster`: a coordinator and participants as child processes, until Ctrl-C.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::children::{Cluster, ClusterSpec, TemporaryFolder};
use crate::connect::{COORDINATOR_DEFAULT, runtime};
use crate::exit::Failure;
use crate::output::Output;

const AFTER_HELP: &str = "\
Without --data, the cluster lives in a new folder of the working directory, which is removed at the end.
With --data, it can be started again with the same number of participants, and has what it had.
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
    #[arg(long, env = "ASSENT_CLUSTER_LISTEN", value_name = "ADDR", default_value = COORDINATOR_DEFAULT)]
    listen: String,
    /// Number of the cluster.
    #[arg(long, env = "ASSENT_CLUSTER_ID", value_name = "N", default_value_t = 1)]
    cluster_id: u64,
    /// Which log lines the nodes write to standard error.
    #[arg(long, env = "ASSENT_LOG_LEVEL", value_name = "LEVEL", default_value = "warn")]
    log_level: String,
    /// Print JSON.
    #[arg(long, env = "ASSENT_JSON")]
    pub(crate) json: bool,
}

/// Runs until Ctrl-C, SIGTERM, or the end of a node.
pub(crate) fn run(args: &ClusterArgs) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let mut interrupt = std::pin::pin!(crate::interrupt::wait());
        let mut running = tokio::select! {
            started = start_running(args) => started?,
            interrupted = &mut interrupt => return interrupted,
        };
        say(&running.cluster, Output { json: args.json })?;
        tokio::select! {
            ended = watch(&mut running.cluster) => return Err(Failure::Start(format!("{ended}; the cluster is stopped"))),
            interrupted = &mut interrupt => interrupted?,
        }
        running.cluster.stop()
    })
}

async fn start_running(args: &ClusterArgs) -> Result<Running, Failure> {
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
        log_level: args.log_level.clone(),
        logs_to_files: false,
    };
    Ok(Running { cluster: start(spec).await?, _folder: folder })
}

/// Until a node has ended by itself.
async fn watch(cluster: &mut Cluster) -> String {
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        if let Some(ended) = cluster.ended() {
            return ended;
        }
    }
}

/// Dropped in this order: the nodes stop before their folder is removed.
struct Running {
    cluster: Cluster,
    _folder: Option<TemporaryFolder>,
}

/// On a thread of its own, so that Ctrl-C is heard meanwhile; what it has started stops with it.
pub(crate) async fn start(spec: ClusterSpec) -> Result<Cluster, Failure> {
    tokio::task::spawn_blocking(move || Cluster::start(&spec))
        .await
        .map_err(|error| Failure::Start(format!("the cluster did not start: {error}")))?
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
