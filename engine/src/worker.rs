//! Blocking file work outside the ring thread: one job after the other, in the order given.
//!
//! Invariant: jobs run in order, so a superblock is written before what may only follow it. Two forms: a thread, and an
//! inline form whose jobs run when replies are asked for, as far as its [`Pace`] lets them (deterministic, for tests and the
//! simulator).
//! Not here: what the replies mean (`ledger`, `store`).

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, unbounded};
use tokio::sync::Notify;

use crate::storage::Storage;

/// Something to do.
pub(crate) enum Job {
    /// Make the segment file of a slot ready.
    Create { slot: u32, bytes: u64 },
    /// Set aside the space for the segment file of a slot.
    Reserve { slot: u32, bytes: u64 },
    /// Write both copies of the superblock, `first` first.
    Superblock { first: usize, bytes: Vec<u8> },
    /// Delete a segment file that the superblock no longer lists.
    Delete { slot: u32 },
    /// Read segments into the page cache.
    Warm { slots: Vec<u32> },
}

/// What became of a job that somebody waits for.
pub(crate) enum Reply {
    Created { slot: u32, result: io::Result<()> },
    Reserved { slot: u32, result: io::Result<()> },
    Superblock { result: io::Result<()> },
}

/// The background worker of one log.
pub struct Worker(Form);

enum Form {
    Thread { jobs: Option<Sender<(Arc<dyn Storage>, Job)>>, replies: Receiver<Reply>, thread: Option<JoinHandle<()>> },
    Inline { jobs: VecDeque<(Arc<dyn Storage>, Job)>, pace: Pace },
}

/// When the jobs of an inline worker run: at the next poll, or while they are held one by one as they are released. Clones
/// are handles of the same.
#[derive(Clone, Default)]
pub struct Pace(Rc<Steps>);

#[derive(Default)]
struct Steps {
    is_held: Cell<bool>,
    released: Cell<u64>,
    waiting: Cell<u64>,
}

impl Pace {
    /// While held, jobs do not run; [`Pace::release`] lets single ones.
    pub fn hold(&self, is_held: bool) {
        self.0.is_held.set(is_held);
    }

    /// Lets the next job run although they are held.
    pub fn release(&self) {
        self.0.released.set(self.0.released.get() + 1);
    }

    /// Whether a job waits that is not let run.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.0.waiting.get() > 0 && !self.may_run()
    }

    fn may_run(&self) -> bool {
        !self.0.is_held.get() || self.0.released.get() > 0
    }

    fn submitted(&self) {
        self.0.waiting.set(self.0.waiting.get() + 1);
    }

    fn taken(&self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
        self.0.released.set(self.0.released.get().saturating_sub(1));
    }
}

impl Worker {
    /// A worker in a thread of its own, which wakes the ring thread through `notify` at each reply.
    ///
    /// # Errors
    /// The operating system refuses the thread.
    pub fn thread(notify: Arc<Notify>) -> io::Result<Worker> {
        let (jobs, job_queue) = unbounded::<(Arc<dyn Storage>, Job)>();
        let (reply_queue, replies) = unbounded();
        let thread = std::thread::Builder::new().name("log-worker".to_owned()).spawn(move || {
            for (storage, job) in job_queue {
                if let Some(reply) = run(storage.as_ref(), job) {
                    drop(storage);
                    if reply_queue.send(reply).is_err() {
                        return;
                    }
                    notify.notify_one();
                }
            }
        })?;
        Ok(Worker(Form::Thread { jobs: Some(jobs), replies, thread: Some(thread) }))
    }

    /// A worker whose jobs run inside `Store::poll`.
    #[must_use]
    pub fn inline() -> Worker {
        Worker::paced(Pace::default())
    }

    /// The same, whose jobs run only when they may.
    #[must_use]
    pub fn paced(pace: Pace) -> Worker {
        Worker(Form::Inline { jobs: VecDeque::new(), pace })
    }

    pub(crate) fn submit(&mut self, storage: &Arc<dyn Storage>, job: Job) {
        match &mut self.0 {
            // A send fails only if the thread is gone, which it is only after a panic that was reported there.
            Form::Thread { jobs, .. } => {
                if let Some(jobs) = jobs {
                    let _ = jobs.send((Arc::clone(storage), job));
                }
            }
            Form::Inline { jobs, pace } => {
                pace.submitted();
                jobs.push_back((Arc::clone(storage), job));
            }
        }
    }

    pub(crate) fn receive(&mut self) -> Option<Reply> {
        match &mut self.0 {
            Form::Thread { replies, .. } => replies.try_recv().ok(),
            Form::Inline { jobs, pace } => {
                while pace.may_run()
                    && let Some((storage, job)) = jobs.pop_front()
                {
                    pace.taken();
                    if let Some(reply) = run(storage.as_ref(), job) {
                        return Some(reply);
                    }
                }
                None
            }
        }
    }

    /// Whether jobs wait for the next poll to run them.
    pub(crate) fn has_inline_jobs(&self) -> bool {
        match &self.0 {
            Form::Thread { .. } => false,
            Form::Inline { jobs, pace } => !jobs.is_empty() && pace.may_run(),
        }
    }
}

impl Drop for Worker {
    /// Waits for the jobs given so far, so that none of them runs after the next open of the same log.
    fn drop(&mut self) {
        if let Form::Thread { jobs, thread, .. } = &mut self.0 {
            jobs.take();
            if let Some(thread) = thread.take() {
                let _ = thread.join();
            }
        }
    }
}

fn run(storage: &dyn Storage, job: Job) -> Option<Reply> {
    match job {
        Job::Create { slot, bytes } => Some(Reply::Created { slot, result: storage.segment_create(slot, bytes) }),
        Job::Reserve { slot, bytes } => Some(Reply::Reserved { slot, result: storage.segment_reserve(slot, bytes) }),
        Job::Superblock { first, bytes } => {
            let result =
                storage.superblock_write(first, &bytes).and_then(|()| storage.superblock_write(1 - first, &bytes));
            Some(Reply::Superblock { result })
        }
        Job::Delete { slot } => {
            if let Err(error) = storage.segment_delete(slot) {
                tracing::warn!(file = storage.segment_name(slot), %error, "a freed segment was not deleted");
            }
            None
        }
        Job::Warm { slots } => {
            slots.into_iter().for_each(|slot| storage.segment_warm(slot));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    #[test]
    fn held_jobs_run_one_by_one_as_they_are_released() {
        let (pace, storage) = (Pace::default(), Memory::new().storage());
        let mut worker = Worker::paced(pace.clone());
        pace.hold(true);
        assert!(!pace.is_awaited());
        for slot in 0..3 {
            worker.submit(&storage, Job::Create { slot, bytes: 4_096 });
        }
        let slot = |reply| match reply {
            Some(Reply::Created { slot, result: Ok(()) }) => Some(slot),
            Some(Reply::Created { .. } | Reply::Reserved { .. } | Reply::Superblock { .. }) | None => None,
        };
        assert!(pace.is_awaited() && !worker.has_inline_jobs());
        assert_eq!(slot(worker.receive()), None);
        pace.release();
        assert!(!pace.is_awaited() && worker.has_inline_jobs());
        assert_eq!([slot(worker.receive()), slot(worker.receive())], [Some(0), None]);
        pace.hold(false);
        assert_eq!([slot(worker.receive()), slot(worker.receive())], [Some(1), Some(2)]);
        assert!(!pace.is_awaited() && !worker.has_inline_jobs());
    }
}
