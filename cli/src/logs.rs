//! The way of a node's log lines to standard error.
//!
//! Invariants: who logs never waits for who reads: a line goes into a bounded queue, and a thread of its own writes it; a line
//! that finds the queue full is dropped and counted, and once the reader has caught up one line says how many were; the last
//! part of the queue is kept for warnings and errors. Not here: which lines there are (`tracing`), and what one line of a
//! command says of its failure (`output`).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use node::LogLevels;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::exit::Failure;

/// Bytes of lines that wait for a slow reader: many seconds of a busy node, little against its memory.
const QUEUE_BYTES_MAX: usize = 1 << 20;

/// What lines below a warning may fill of it.
const ORDINARY_BYTES_MAX: usize = QUEUE_BYTES_MAX / 4 * 3;

/// Once lines were dropped, the queue takes ordinary ones again when it is no fuller than this: one gap, and not many.
const RESUME_BYTES: usize = QUEUE_BYTES_MAX / 2;

/// What a waiting line takes besides its text.
const LINE_BYTES: usize = 64;

/// How long the end of a process waits for the reader of its last lines.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// Pause before a write is tried again where another process has made standard error non-blocking.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// Lines on their way.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// A line was taken and is being written.
    is_writing: bool,
    /// Ordinary lines are dropped until there is room again.
    is_dropping: bool,
    lost: Lost,
}

/// Lines that were dropped and not told of yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Lost {
    lines: u64,
    /// Warnings and errors among them.
    important: u64,
}

impl Lost {
    fn line(self) -> Vec<u8> {
        let Self { lines, important } = self;
        let now = humantime::format_rfc3339_micros(SystemTime::now());
        format!(
            "{now}  WARN assent: log lines were dropped: standard error was not read fast enough \
             lost={lines} of_them_warnings_or_errors={important}\n"
        )
        .into_bytes()
    }
}

impl State {
    fn append(&mut self, line: Vec<u8>) {
        self.bytes += line.len() + LINE_BYTES;
        self.lines.push_back(line);
    }

    /// Takes a line, or drops and counts it.
    fn push(&mut self, line: Vec<u8>, is_important: bool) {
        if self.is_dropping && self.bytes <= RESUME_BYTES {
            let told = std::mem::take(&mut self.lost).line();
            self.is_dropping = false;
            self.append(told);
        }
        let max = if is_important { QUEUE_BYTES_MAX } else { ORDINARY_BYTES_MAX };
        if (self.is_dropping && !is_important) || self.bytes + line.len() + LINE_BYTES > max {
            self.is_dropping = true;
            self.lost.lines += 1;
            self.lost.important += u64::from(is_important);
        } else {
            self.append(line);
        }
    }

    /// The next line to write; a gap that no later line has told of is told when all before it is written.
    fn take(&mut self) -> Option<Vec<u8>> {
        if let Some(line) = self.lines.pop_front() {
            self.bytes -= line.len() + LINE_BYTES;
            return Some(line);
        }
        self.is_dropping = false;
        let lost = std::mem::take(&mut self.lost);
        (lost != Lost::default()).then(|| lost.line())
    }

    fn is_idle(&self) -> bool {
        self.lines.is_empty() && !self.is_writing && self.lost == Lost::default()
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: Vec<u8>, is_important: bool) {
        self.state().push(line, is_important);
        self.changed.notify_all();
    }

    /// Writes what comes, for ever.
    fn write_all_to(&self, mut file: File) {
        loop {
            let mut state = self.state();
            let line = loop {
                if let Some(line) = state.take() {
                    break line;
                }
                self.changed.notify_all();
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            state.is_writing = true;
            drop(state);
            write(&mut file, &line);
            self.state().is_writing = false;
        }
    }

    /// Waits until all is written, for a bounded time: nobody may be reading.
    fn flush(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut state = self.state();
        while !state.is_idle() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            (state, _) = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Writes one line, as one write if the system takes it. A reader that has gone hears nothing, and that is all.
fn write(file: &mut File, mut line: &[u8]) {
    while !line.is_empty() {
        match file.write(line) {
            Ok(0) => return,
            Ok(written) => line = &line[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(RETRY_PAUSE),
            Err(_) => return,
        }
    }
}

/// One line of `tracing`, which writes each as a whole.
struct OneLine {
    queue: Arc<Queue>,
    is_important: bool,
}

impl Write for OneLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.push(line.to_vec(), self.is_important);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct IntoQueue(Arc<Queue>);

impl<'a> MakeWriter<'a> for IntoQueue {
    type Writer = OneLine;

    fn make_writer(&'a self) -> OneLine {
        OneLine { queue: Arc::clone(&self.0), is_important: true }
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> OneLine {
        OneLine { queue: Arc::clone(&self.0), is_important: *meta.level() <= tracing::Level::WARN }
    }
}

/// Sends the log lines of this process, its complaints and its panics through a queue to standard error, from now on.
pub(crate) fn start(levels: &LogLevels) -> Result<(), Failure> {
    let refused = |error: io::Error| Failure::Start(format!("the system refuses what writes the log: {error}"));
    let filter = EnvFilter::try_new(levels.as_filter())
        .map_err(|error| Failure::Usage(format!("the log level {levels} is not understood: {error}")))?;
    let file = File::from(io::stderr().as_fd().try_clone_to_owned().map_err(refused)?);
    let queue = Arc::new(Queue::default());
    let writing = Arc::clone(&queue);
    let thread = std::thread::Builder::new().name("log-lines".to_owned());
    thread.spawn(move || writing.write_all_to(file)).map_err(refused)?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(IntoQueue(Arc::clone(&queue)))
        .with_ansi(is_coloured())
        .init();
    if QUEUE.set(queue).is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            let trace = std::backtrace::Backtrace::capture();
            complain(format!("{panic}\n{trace}\n"));
            flush();
        }));
    }
    Ok(())
}

/// Colours are for a terminal that shows them to someone who wants them (no-color.org).
fn is_coloured() -> bool {
    let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stderr().is_terminal() && !is_unwanted && !is_dumb
}

/// Takes a line for standard error if a queue leads there, and hands it back otherwise.
pub(crate) fn complain(line: String) -> Option<String> {
    match QUEUE.get() {
        Some(queue) => {
            queue.push(line.into_bytes(), true);
            None
        }
        None => Some(line),
    }
}

/// Before the end of the process: lets the last lines be written, if somebody reads.
pub(crate) fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(FLUSH_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(number: usize) -> Vec<u8> {
        format!("line {number:06} {}\n", "x".repeat(100)).into_bytes()
    }

    fn fill(state: &mut State, from: usize, is_important: bool) -> usize {
        let mut number = from;
        while state.lost == Lost::default() {
            state.push(text(number), is_important);
            number += 1;
        }
        number
    }

    #[test]
    fn a_full_queue_drops_counts_and_tells_once_where_the_gap_is() {
        let mut state = State::default();
        let ordinary = fill(&mut state, 0, false);
        assert!(state.bytes <= ORDINARY_BYTES_MAX);
        for number in 0..10 {
            state.push(text(number), false);
        }
        assert_eq!(state.lost, Lost { lines: 11, important: 0 });
        // Some room is not enough to go on: the gap would be many.
        state.take().unwrap();
        state.push(text(0), false);
        assert_eq!(state.lost.lines, 12);
        let mut written = 1;
        while state.bytes > RESUME_BYTES {
            state.take().unwrap();
            written += 1;
        }
        state.push(text(999_999), false);
        let rest: Vec<String> = std::iter::from_fn(|| state.take()).map(|l| String::from_utf8(l).unwrap()).collect();
        assert_eq!(rest.len(), ordinary - 1 - written + 2);
        assert!(rest[rest.len() - 2].contains("lost=12 of_them_warnings_or_errors=0"), "{}", rest[rest.len() - 2]);
        assert!(rest[rest.len() - 1].starts_with("line 999999"));
        assert!(state.is_idle());
    }

    #[test]
    fn warnings_have_room_when_other_lines_have_none() {
        let mut state = State::default();
        fill(&mut state, 0, false);
        state.push(b"a warning\n".to_vec(), true);
        assert_eq!(state.lines.back().unwrap(), b"a warning\n");
        while state.lost.important == 0 {
            state.push(text(1), true);
        }
        assert!(state.bytes <= QUEUE_BYTES_MAX);
        assert_eq!(state.lost, Lost { lines: 2, important: 1 });
    }

    #[test]
    fn a_gap_with_nothing_after_it_is_told_when_the_rest_is_written() {
        let mut state = State::default();
        fill(&mut state, 0, false);
        let last = std::iter::from_fn(|| state.take()).last().unwrap();
        assert!(String::from_utf8(last).unwrap().contains("lost=1 "));
        assert!(state.is_idle() && !state.is_dropping);
    }

    #[test]
    fn the_end_waits_for_a_reader_only_so_long() {
        let queue = Queue::default();
        queue.push(text(1), true);
        let begun = Instant::now();
        queue.flush(Duration::from_millis(50));
        assert!(begun.elapsed() >= Duration::from_millis(50) && begun.elapsed() < Duration::from_secs(5));
    }
}
