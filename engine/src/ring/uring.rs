//! Group writes through the io_uring of the calling thread's tokio-uring runtime.
//!
//! Invariant: a write that was started is awaited by a task of its own and never dropped. The write reaches the kernel when
//! the runtime parks. Not here: opening the files (`dir`, by the worker ahead of time).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;
use tokio_uring::buf::BoundedBuf;
use tokio_uring::fs::File;

use super::dir::DirStorage;
use crate::buffer::Buffer;
use crate::storage::{Completion, Disk, Storage};

/// The disk of a node's log. Must be used and dropped inside a tokio-uring runtime.
pub struct UringDisk {
    storage: Arc<DirStorage>,
    notify: Arc<Notify>,
    done: Rc<RefCell<VecDeque<Completion>>>,
    /// The file of the segment that was written last. It is never the file of a deleted slot: a segment is freed only
    /// when later ones were written, and a deleted slot's number is not used again.
    current: Option<(u32, Rc<File>)>,
}

impl UringDisk {
    /// A disk over the files of `storage`. `notify` is woken at every finished write.
    #[must_use]
    pub fn new(storage: Arc<DirStorage>, notify: Arc<Notify>) -> UringDisk {
        UringDisk { storage, notify, done: Rc::default(), current: None }
    }

    fn file(&mut self, slot: u32) -> io::Result<Rc<File>> {
        if let Some((held, file)) = &self.current
            && *held == slot
        {
            return Ok(Rc::clone(file));
        }
        let file = Rc::new(File::from_std(self.storage.file(slot)?.try_clone()?));
        self.current = Some((slot, Rc::clone(&file)));
        Ok(file)
    }
}

impl Disk for UringDisk {
    fn write(&mut self, slot: u32, offset: u64, buffer: Buffer) {
        assert!(buffer.is_aligned(), "O_DIRECT needs aligned memory");
        let file = match self.file(slot) {
            Ok(file) => file,
            Err(error) => {
                self.done.borrow_mut().push_back(Completion { result: Err(error), buffer, elapsed_us: 0 });
                self.notify.notify_one();
                return;
            }
        };
        let (done, notify, direct) = (Rc::clone(&self.done), Arc::clone(&self.notify), self.storage.is_direct());
        tokio_uring::spawn(async move {
            let started = Instant::now();
            let (bytes, start) = buffer.into_parts();
            let end = bytes.len();
            let (mut result, slice) = file.write_at(bytes.slice(start..end), offset).submit().await;
            if !direct && result.is_ok() {
                // Only after the write's completion: a sync that overtakes it would sync nothing.
                result = file.sync_data().await.and(result);
            }
            let elapsed_us = started.elapsed().as_micros() as u64;
            let buffer = Buffer::from_parts(slice.into_inner(), start);
            done.borrow_mut().push_back(Completion { result, buffer, elapsed_us });
            notify.notify_one();
        });
    }

    fn reap(&mut self) -> Option<Completion> {
        self.done.borrow_mut().pop_front()
    }
}
