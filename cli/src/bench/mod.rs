//! `assent bench`: a workload on a cluster, its figures, and an audit of the money.

mod accounts;
mod daemons;
mod distribution;
mod figures;
mod page;
mod plots;
mod result;
mod runner;
mod schedule;
mod settings;
mod table;
mod workload;

use std::fs::File;
use std::io::Write;
use std::path::Path;

use client::{Client, Options};
use protocol::ClusterId;

use crate::bench::daemons::Daemons;
use crate::bench::result::BenchResult;
pub(crate) use crate::bench::settings::BenchArgs;
use crate::bench::settings::Settings;
use crate::bench::table::Table;
use crate::bench::workload::Workload;
use crate::children::{Cluster, ClusterSpec, TemporaryFolder};
use crate::connect::runtime;
use crate::exit::Failure;

/// The nodes that a bench has started for itself. Dropped in this order: the nodes stop before
/// their folder is removed.
struct OwnCluster {
    cluster: Cluster,
    folder: TemporaryFolder,
}

/// Files that the figures go to; opened first, so that nothing is measured in vain.
struct Files {
    json: Option<File>,
    report: Option<File>,
}

/// Runs the command.
pub(crate) fn run(args: &BenchArgs) -> Result<(), Failure> {
    let settings = args.settings();
    if settings.duration.is_zero() {
        return Err(Failure::Usage("a bench of no duration measures nothing; see --duration".to_owned()));
    }
    let mut files = Files { json: create(args.json.as_deref())?, report: create(args.report.as_deref())? };
    let result = runtime()?.block_on(async {
        tokio::select! {
            result = measure(args, &settings, &mut files) => result,
            interrupted = crate::interrupt::wait() => {
                interrupted?;
                Err(Failure::No("interrupted; the bench's cluster is stopped and removed".to_owned()))
            }
        }
    })?;
    if result.is_good() { Ok(()) } else { Err(Failure::NoAsPrinted) }
}

fn create(path: Option<&Path>) -> Result<Option<File>, Failure> {
    path.map(|path| {
        File::create(path).map_err(|error| Failure::Usage(format!("{}: cannot be written: {error}", path.display())))
    })
    .transpose()
}

async fn measure(args: &BenchArgs, settings: &Settings, files: &mut Files) -> Result<BenchResult, Failure> {
    let mut own = match &args.coordinator {
        Some(_) => None,
        None => Some(start_own(args, settings).await?),
    };
    let address = match (&args.coordinator, &own) {
        (Some(address), _) => address.clone(),
        (None, Some(own)) => own.cluster.coordinator_address().to_owned(),
        (None, None) => unreachable!("without an address, a cluster was started"),
    };
    let measured = measure_at(address, args, settings, files).await;
    let Some(own) = &mut own else { return measured };
    if let Some(ended) = own.cluster.ended() {
        return Err(Failure::Start(ended));
    }
    let result = measured?;
    own.cluster.stop()?;
    if args.keep {
        eprintln!("kept: {}", own.folder.path().display());
    }
    Ok(result)
}

async fn start_own(args: &BenchArgs, settings: &Settings) -> Result<OwnCluster, Failure> {
    let folder = TemporaryFolder::create("assent-bench", args.keep)?;
    let spec = ClusterSpec {
        root: folder.path().to_owned(),
        participants: settings.participants,
        cluster_id: args.cluster_id,
        listen: "127.0.0.1:0".to_owned(),
        log_level: "warn".to_owned(),
        logs_to_files: true,
    };
    Ok(OwnCluster { cluster: crate::cluster::start(spec).await?, folder })
}

async fn measure_at(
    address: String,
    args: &BenchArgs,
    settings: &Settings,
    files: &mut Files,
) -> Result<BenchResult, Failure> {
    let options = Options { cluster: ClusterId(args.cluster_id), deadline: args.deadline, ..Options::default() };
    let client = Client::connect(address, options.clone()).await?;
    let daemons = Daemons::find(client.clone(), &options).await?;
    let workload = Workload::new(settings, daemons.participants()).map_err(Failure::Usage)?;
    accounts::open(&client, settings.accounts, settings.balance).await?;

    let before = daemons.snapshot().await?;
    let ran = runner::run(client.clone(), workload, settings, args.seed).await?;
    let after = daemons.snapshot().await?;

    let conserved = audit(&client, settings).await?;
    let work = after.since(&before)?;
    let result = BenchResult::new(settings, daemons.participants().len(), &ran, &work, conserved);
    crate::output::line(&Table(&result).to_string())?;
    write(&mut files.json, args.json.as_deref(), || {
        serde_json::to_string(&result).map(|text| text + "\n").map_err(|error| error.to_string())
    })?;
    write(&mut files.report, args.report.as_deref(), || page::page(settings, &result, &ran.figures))?;
    Ok(result)
}

/// Whether all money is there, and no balance is below zero.
async fn audit(client: &Client, settings: &Settings) -> Result<bool, Failure> {
    let totals = accounts::totals(client).await?;
    let expected = i128::from(settings.balance) * settings.accounts as i128;
    let conserved = totals.keys == settings.accounts as u64 && totals.sum == expected && totals.negatives == 0;
    if !conserved {
        eprintln!(
            "assent: {} accounts hold {}, {} of them less than zero; {} accounts with {expected} were opened",
            totals.keys, totals.sum, totals.negatives, settings.accounts
        );
    }
    Ok(conserved)
}

fn write(
    file: &mut Option<File>,
    path: Option<&Path>,
    text: impl FnOnce() -> Result<String, String>,
) -> Result<(), Failure> {
    let (Some(file), Some(path)) = (file, path) else { return Ok(()) };
    text()
        .and_then(|text| file.write_all(text.as_bytes()).map_err(|error| error.to_string()))
        .map_err(|error| Failure::Start(format!("{}: cannot be written: {error}", path.display())))
}
