//! The sweep: an engine writes a log and is killed; then, for bit after bit, a copy with that bit flipped is read.
//!
//! Invariants: the log is read back intact before any bit is flipped; each case has a fresh directory, used once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use crate::child::ACKNOWLEDGED;
use crate::image::{Flip, Image, flips, stride_for};
use crate::limits::{CASES_PER_CHILD_MAX, WRITE_TIMEOUT};
use crate::process::{Answer, Process};
use crate::record::Outcome;
use crate::report::Row;
use crate::subject::Subject;

/// How much is swept, and where.
pub(crate) struct Plan {
    /// Records of a log.
    pub(crate) records: u64,
    /// A bit is flipped in one byte of so many; by default what makes the same number of cases of every log.
    pub(crate) stride: Option<u64>,
    /// Children at a time.
    pub(crate) workers: u64,
    /// Time for one case.
    pub(crate) case_timeout: Duration,
    /// Where the logs are written.
    pub(crate) logs: PathBuf,
    /// Where the copies go.
    pub(crate) copies: PathBuf,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SweepError {
    #[error("{subject}: the log could not be written: {reason}")]
    Write { subject: &'static str, reason: String },
    #[error("{subject}: the log does not read back before any bit is flipped: {outcome:?}")]
    Baseline { subject: &'static str, outcome: Outcome },
    #[error("{subject}: the child answered {answer:?}, which is no outcome")]
    Answer { subject: &'static str, answer: String },
    #[error("{path}: {source}; choose another directory with --dir")]
    Io { path: String, source: io::Error },
}

fn at(path: &Path) -> impl Fn(io::Error) -> SweepError {
    move |source| SweepError::Io { path: path.display().to_string(), source }
}

/// Sweeps one subject.
pub(crate) fn sweep(subject: &'static dyn Subject, plan: &Plan, bar: &ProgressBar) -> Result<Row, SweepError> {
    let started = Instant::now();
    let image = written(subject, plan)?;
    let mut first = Prober::new(subject, plan, &image, 0)?;
    let unflipped = first.probe(None)?;
    if unflipped != Outcome::Intact {
        return Err(SweepError::Baseline { subject: subject.name(), outcome: unflipped });
    }
    drop(first);
    let stride = plan.stride.unwrap_or_else(|| stride_for(image.log_bytes()));
    let total = image.log_bytes().div_ceil(stride);
    bar.set_length(total);
    bar.set_position(0);
    bar.set_message(format!("{} {}", subject.engine(), subject.mode()));
    let cases = Mutex::new(flips(image.log_bytes(), stride));
    let row = Mutex::new(Row::new(subject, &image, stride));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..plan.workers.min(total))
            .map(|worker| {
                let (cases, row, image) = (&cases, &row, &image);
                scope.spawn(move || {
                    let mut prober = Prober::new(subject, plan, image, worker)?;
                    while let Some(flip) = lock(cases).next() {
                        let outcome = prober.probe(Some(flip))?;
                        lock(row).count(flip, image, &outcome);
                        bar.inc(1);
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    let mut row = row.into_inner().expect("a worker does not panic");
    row.finish(started.elapsed());
    Ok(row)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("a worker does not panic")
}

/// The directory of a process that was killed when all its records were acknowledged.
fn written(subject: &dyn Subject, plan: &Plan) -> Result<Image, SweepError> {
    let dir = plan.logs.join(subject.name());
    fs::create_dir(&dir).map_err(at(&dir))?;
    let stderr = plan.logs.join(format!("{}.stderr", subject.name()));
    let arguments = ["child-write", subject.name(), &plan.records.to_string(), &dir.to_string_lossy()];
    let mut writer = Process::start(&arguments, &stderr).map_err(at(&stderr))?;
    let failed = |reason| SweepError::Write { subject: subject.name(), reason };
    match writer.hear(WRITE_TIMEOUT).map_err(at(&stderr))? {
        Answer::Line(line) if line == ACKNOWLEDGED => {}
        Answer::Line(line) => return Err(SweepError::Answer { subject: subject.name(), answer: line }),
        Answer::Late => return Err(failed(format!("not done after {} s", WRITE_TIMEOUT.as_secs()))),
        Answer::Gone(how) => return Err(failed(how)),
    }
    writer.kill().map_err(at(&stderr))?;
    let image = Image::load(&dir, subject).map_err(at(&dir))?;
    fs::remove_dir_all(&dir).map_err(at(&dir))?;
    if image.log_bytes() == 0 {
        return Err(failed(format!("{}: no file in it is the log", dir.display())));
    }
    Ok(image)
}

/// One worker: a directory for copies, and the child that reads them.
struct Prober<'a> {
    subject: &'static dyn Subject,
    plan: &'a Plan,
    image: &'a Image,
    dir: PathBuf,
    reader: Option<Process>,
    cases: u64,
}

impl<'a> Prober<'a> {
    fn new(subject: &'static dyn Subject, plan: &'a Plan, image: &'a Image, worker: u64) -> Result<Self, SweepError> {
        let dir = plan.copies.join(format!("{}-{worker}", subject.name()));
        fs::create_dir(&dir).map_err(at(&dir))?;
        Ok(Prober { subject, plan, image, dir, reader: None, cases: 0 })
    }

    fn start(&self) -> Result<Process, SweepError> {
        let arguments = ["child-read", self.subject.name(), &self.plan.records.to_string()];
        Process::start(&arguments, &self.dir.join("stderr")).map_err(at(&self.dir))
    }

    fn probe(&mut self, flip: Option<Flip>) -> Result<Outcome, SweepError> {
        let copy = self.dir.join(self.cases.to_string());
        self.cases += 1;
        self.image.copy_to(&copy, flip).map_err(at(&copy))?;
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.start()?,
        };
        let answer = reader.ask(&copy.to_string_lossy(), self.plan.case_timeout).map_err(at(&self.dir))?;
        let outcome = match answer {
            Answer::Line(line) => serde_json::from_str(&line)
                .map_err(|_| SweepError::Answer { subject: self.subject.name(), answer: line })?,
            Answer::Late => {
                Outcome::Crashed { message: format!("no answer in {} ms", self.plan.case_timeout.as_millis()) }
            }
            Answer::Gone(how) => Outcome::Crashed { message: how },
        };
        // What a panic leaves locked or half done in the process must not meet the next case.
        if !matches!(outcome, Outcome::Crashed { .. }) && !self.cases.is_multiple_of(CASES_PER_CHILD_MAX) {
            self.reader = Some(reader);
        }
        fs::remove_dir_all(&copy).map_err(at(&copy))?;
        Ok(outcome)
    }
}

impl Drop for Prober<'_> {
    fn drop(&mut self) {
        self.reader = None;
        // What is left goes with the directory above it.
        let _ = fs::remove_dir_all(&self.dir);
    }
}
