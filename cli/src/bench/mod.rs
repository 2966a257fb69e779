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
use std::pin::Pin;

use client::{Client, Options};
use protocol::ClusterId;

use crate::bench::daemons::Daemons;
use crate::bench::result::BenchResult;
pub(crate) use crate::bench::settings::BenchArgs;
use crate::bench::settings::Settings;
use crate::bench::table::Table;
use crate::bench::workload::Workload;
use crate::children::ClusterSpec;
use crate::cluster::{Running, Started, start, watch};
use crate::connect::runtime;
use crate::exit::Failure;
use crate::folder::{Closed, TemporaryFolder};

/// Files that the figures go to; opened first, so that nothing is measured in vain.
struct Files {
    json: Option<File>,
    report: Option<File>,
}

/// Runs the command.
pub(crate) fn run(args: &BenchArgs) -> Result<(), Failure> {
    let settings = args.settings();
    settings.check().map_err(Failure::Usage)?;
    let mut files = Files { json: create(args.json.as_deref())?, report: create(args.report.as_deref())? };
    let result = runtime()?.block_on(async {
        let interrupt = std::pin::pin!(crate::interrupt::wait());
        match &args.coordinator {
            Some(address) => tokio::select! {
                result = measure_at(address.clone(), args, &settings, &mut files) => result,
                interrupted = interrupt => Err(interrupted.err().unwrap_or_else(|| Failure::No("interrupted".to_owned()))),
            },
            None => measure_own(args, &settings, &mut files, interrupt).await,
        }
    })?;
    let good = result.is_good();
    crate::output::line(&Table(&result).to_string())?;
    if good { Ok(()) } else { Err(Failure::NoAsPrinted) }
}

fn create(path: Option<&Path>) -> Result<Option<File>, Failure> {
    path.map(|path| {
        File::create(path).map_err(|error| Failure::Usage(format!("{}: cannot be written: {error}", path.display())))
    })
    .transpose()
}

/// Measures a cluster that is started for it, and ends at once when one of its nodes does.
async fn measure_own(
    args: &BenchArgs,
    settings: &Settings,
    files: &mut Files,
    mut interrupt: Pin<&mut impl Future<Output = Result<(), Failure>>>,
) -> Result<BenchResult, Failure> {
    let folder = TemporaryFolder::create("assent-bench", args.keep)?;
    let spec = ClusterSpec {
        root: folder.path().to_owned(),
        participants: settings.participants,
        cluster_id: args.cluster_id,
        listen: "127.0.0.1:0".to_owned(),
        log_level: "warn".to_owned(),
        logs_to_files: true,
    };
    let Running { mut cluster, folder } = match start(spec, Some(folder), interrupt.as_mut()).await? {
        Started::Running(running) => running,
        Started::Interrupted(folder) => return Err(interrupted(folder)),
    };
    let address = cluster.coordinator_address().to_owned();
    let measured = tokio::select! {
        measured = measure_at(address, args, settings, files) => measured,
        ended = watch(&mut cluster) => Err(Failure::Start(ended)),
        heard = interrupt => {
            heard?;
            cluster.stop()?;
            return Err(interrupted(folder));
        }
    };
    // What failed on a node's end is told as that end.
    if let Some(ended) = cluster.ended() {
        return Err(Failure::Start(ended));
    }
    let result = measured?;
    cluster.stop()?;
    if let Some(Closed::Kept(path)) = folder.map(TemporaryFolder::close).transpose()? {
        eprintln!("kept: {}", path.display());
    }
    Ok(result)
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
