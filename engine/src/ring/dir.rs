//! A data directory: its lock, the superblock file, the segment files and their maps.
//!
//! Invariants: a file that has its final name is whole and durable, with mode 0600; the directory is locked as long as
//! this value lives; segment files are opened by the worker ahead of the ring thread; what a log is opened from was read
//! from the disk, not from pages that a failed write may have left in the cache. Not here: group writes (`uring`).

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use memmap2::{Advice, Mmap};
use rustix::fs::{self as system, FallocateFlags, FlockOperation, OFlags, fadvise, fallocate, flock};
use rustix::io::Errno;

use super::map::map;
use super::regular;
use crate::buffer::Buffer;
use crate::error::OpenError;
use crate::limits::{BLOCK_BYTES, OPEN_SEGMENT_FILES_MAX, SUPERBLOCK_BYTES};
use crate::storage::{ReadFailed, Storage};

const SUPERBLOCK: &str = "superblock";
const SEGMENT_PREFIX: &str = "segment-";
const UNFINISHED: &str = ".new";
const PROBE: &str = "probe.new";

/// Zero-filling goes in durable writes of this size, so that a group that is written meanwhile waits for little.
const FILL_BYTES: usize = 256 << 10;

/// The files of a log in a directory.
pub struct DirStorage {
    path: PathBuf,
    /// Held for its lock.
    directory: File,
    direct: bool,
    writable: bool,
    open: Mutex<Open>,
    /// Paths of segment files for which space is set aside, under the name of an unfinished file.
    reserved: Mutex<HashSet<PathBuf>>,
}

/// The segments that are open. A map needs no descriptor once it is made, and of files only the last ones that were used stay
/// open, so that a log of any size keeps to [`crate::limits::LOG_DESCRIPTORS`].
#[derive(Default)]
struct Open {
    /// The one that was used last stands last.
    files: VecDeque<(u32, Arc<File>)>,
    maps: HashMap<u32, Arc<Mmap>>,
}

impl Open {
    fn file(&mut self, slot: u32) -> Option<Arc<File>> {
        let at = self.files.iter().position(|(of, _)| *of == slot)?;
        let found = self.files.remove(at)?;
        self.files.push_back(found);
        self.files.back().map(|(_, file)| Arc::clone(file))
    }

    fn keep(&mut self, slot: u32, file: &Arc<File>) {
        self.files.retain(|(of, _)| *of != slot);
        if self.files.len() == OPEN_SEGMENT_FILES_MAX {
            self.files.pop_front();
        }
        self.files.push_back((slot, Arc::clone(file)));
    }

    fn forget(&mut self, slot: u32) {
        self.files.retain(|(of, _)| *of != slot);
        self.maps.remove(&slot);
    }
}

impl DirStorage {
    /// Locks the directory `path`, and creates it if its parent exists.
    ///
    /// # Errors
    /// `Locked` if another process (or another value in this one) has it; `Io` otherwise.
    pub fn open(path: &Path) -> Result<DirStorage, OpenError> {
        let io = |operation| move |source| OpenError::io(path.display().to_string(), operation, source);
        if !path.exists() {
            fs::DirBuilder::new().mode(0o700).create(path).map_err(io("creating the directory"))?;
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            open_directory(parent).and_then(|parent| parent.sync_all()).map_err(io("syncing the parent directory"))?;
        }
        let directory = open_directory(path).map_err(io("opening the directory"))?;
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(OpenError::Locked { dir: path.display().to_string() }),
            Err(error) => return Err(io("locking the directory")(error.into())),
        }
        let direct = probe(path).map_err(io("writing a probe file"))?;
        if !direct {
            tracing::warn!(dir = %path.display(), "O_DIRECT is refused here; groups go through the page cache");
        }
        Ok(DirStorage {
            path: path.to_owned(),
            directory,
            direct,
            writable: true,
            open: Mutex::default(),
            reserved: Mutex::default(),
        })
    }

    /// Opens a directory to be read only, without a lock.
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub fn open_read_only(path: &Path) -> Result<DirStorage, OpenError> {
        let io = |source| OpenError::io(path.display().to_string(), "opening the directory", source);
        let directory = open_directory(path).map_err(io)?;
        let direct = false;
        Ok(DirStorage {
            path: path.to_owned(),
            directory,
            direct,
            writable: false,
            open: Mutex::default(),
            reserved: Mutex::default(),
        })
    }

    /// Opens a directory that nobody may have open, for an offline tool: alone, or together with other readers. Reads go
    /// past the page cache where the file system takes that.
    ///
    /// # Errors
    /// `Locked` if somebody has it; `Io` if there is no such directory, or it cannot be opened.
    pub fn open_offline(path: &Path, alone: bool) -> Result<DirStorage, OpenError> {
        let mut storage = DirStorage::open_read_only(path)?;
        let lock = if alone { FlockOperation::NonBlockingLockExclusive } else { FlockOperation::NonBlockingLockShared };
        match flock(&storage.directory, lock) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(OpenError::Locked { dir: path.display().to_string() }),
            Err(error) => {
                let (file, operation) = (path.display().to_string(), "locking the directory");
                return Err(OpenError::Io { file, operation, source: error.into() });
            }
        }
        let flags = OFlags::DIRECT.bits().cast_signed();
        let past_cache = regular::open(&storage.superblock_path(), OpenOptions::new().read(true).custom_flags(flags));
        storage.direct = past_cache.is_ok();
        Ok(storage)
    }

    /// The file of a segment, to be written in the way that this directory allows.
    pub(super) fn file(&self, slot: u32) -> io::Result<Arc<File>> {
        if let Some(file) = self.segments_open().file(slot) {
            return Ok(file);
        }
        let file = Arc::new(self.open_segment(slot)?);
        self.segments_open().keep(slot, &file);
        Ok(file)
    }

    fn open_segment(&self, slot: u32) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(self.writable).custom_flags(self.flags());
        regular::open(&self.segment_path(slot), &options)
    }

    /// How files are opened: past the page cache and durable at each write, where the file system takes that.
    fn flags(&self) -> i32 {
        let flags = if self.direct { OFlags::DIRECT | OFlags::DSYNC } else { OFlags::empty() };
        flags.bits().cast_signed()
    }

    /// Opens a file so that what is read of it in `bytes` comes from the disk. Without O_DIRECT that takes a sync, which brings out what
    /// still waits in the cache, and then its pages dropped: a page whose write failed counts as clean and is not on the
    /// disk. By a descriptor of its own, so that the one that writes groups hears of every failed sync itself.
    fn open_past_cache(&self, path: &Path, bytes: Range<u64>) -> io::Result<File> {
        let file = regular::open(path, OpenOptions::new().read(true).custom_flags(self.flags()))?;
        if !self.direct {
            if self.writable {
                file.sync_data()?;
            }
            fadvise(&file, bytes.start, NonZeroU64::new(bytes.end - bytes.start), system::Advice::DontNeed)?;
        }
        Ok(file)
    }

    fn segments_open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reserved_now(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn map(&self, slot: u32) -> io::Result<Arc<Mmap>> {
        if let Some(map) = self.segments_open().maps.get(&slot) {
            return Ok(Arc::clone(map));
        }
        let mapped = Arc::new(map(&self.open_segment(slot)?)?);
        self.segments_open().maps.insert(slot, Arc::clone(&mapped));
        Ok(mapped)
    }

    fn segment_path(&self, slot: u32) -> PathBuf {
        segment_path(&self.path, slot)
    }

    fn superblock_path(&self) -> PathBuf {
        self.path.join(SUPERBLOCK)
    }

    fn create(&self, path: &Path, flags: i32, fill: impl Fn(&File) -> io::Result<()>) -> io::Result<()> {
        let unfinished = unfinished(path);
        let is_reserved = self.reserved_now().remove(path);
        let mut options = OpenOptions::new();
        options.mode(0o600).custom_flags(flags);
        let opened = if is_reserved {
            regular::open(&unfinished, options.write(true))
        } else {
            regular::create_anew(&unfinished, &mut options)
        };
        let made = opened
            .and_then(|file| fill(&file).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&unfinished, path));
        if made.is_err() && is_reserved {
            // It is tried again, with this space.
            self.reserved_now().insert(path.to_owned());
            return made;
        }
        if made.is_err() {
            // Gives the space back, for decisions.
            let _ = fs::remove_file(&unfinished);
            return made;
        }
        self.directory.sync_all()
    }
}

/// The name of a file that is being made.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    PathBuf::from(name)
}

/// Writes a file's zeros.
fn fill(mut file: &File, bytes: u64, is_synced: bool) -> io::Result<()> {
    let zeros = Buffer::zeroed(FILL_BYTES.min(bytes as usize));
    let mut left = bytes as usize;
    while left > 0 {
        let part = left.min(FILL_BYTES);
        file.write_all(&zeros.content()[..part])?;
        left -= part;
        if is_synced {
            file.sync_data()?;
        }
    }
    Ok(())
}

/// Opens a directory; in its place there may be anything.
fn open_directory(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlags::DIRECTORY.bits().cast_signed()).open(path)
}

/// The slot whose file has this name, if it is the name of a segment file. The number after the last one is always free.
fn slot_of(name: &str) -> Option<u32> {
    let slot = name.strip_prefix(SEGMENT_PREFIX)?.parse().ok().filter(|&slot| slot < u32::MAX)?;
    (segment_path(Path::new(""), slot) == Path::new(name)).then_some(slot)
}

/// Whether a name looks like that of a segment file and is none.
pub(crate) fn is_nearly_a_segment(name: &str) -> bool {
    name.starts_with(SEGMENT_PREFIX) && !name.ends_with(UNFINISHED) && slot_of(name).is_none()
}

/// The file of a slot in a data directory.
pub(super) fn segment_path(dir: &Path, slot: u32) -> PathBuf {
    dir.join(format!("{SEGMENT_PREFIX}{slot:04}"))
}

/// Fills `into` as far as the file goes; returns how far. What fails is read again block by block, to say where.
fn read(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        let at = offset + filled as u64;
        let read = match file.read_at(&mut into[filled..], at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => {
                let block = BLOCK_BYTES.min(into.len() - filled);
                let one = file.read_at(&mut into[filled..filled + block], at);
                one.map_err(|source| io::Error::new(source.kind(), ReadFailed { offset: at, source }))?
            }
            Ok(read) => read,
        };
        filled += read;
        // Past the page cache a read that is not whole blocks long has met the file's end.
        if read == 0 || !filled.is_multiple_of(BLOCK_BYTES) {
            break;
        }
    }
    Ok(filled)
}

/// A file system that cannot allocate ahead is no reason to stop: the zeros allocate too.
fn allocation_refused(error: Errno) -> io::Result<()> {
    if error == Errno::OPNOTSUPP { Ok(()) } else { Err(error.into()) }
}

/// Whether the directory's file system takes O_DIRECT writes of whole blocks.
fn probe(path: &Path) -> io::Result<bool> {
    let path = path.join(PROBE);
    let flags = (OFlags::DIRECT | OFlags::DSYNC).bits().cast_signed();
    let opened = regular::create_anew(&path, OpenOptions::new().mode(0o600).custom_flags(flags));
    let block = Buffer::zeroed(BLOCK_BYTES);
    let written = opened.and_then(|file| file.write_all_at(block.content(), 0));
    let removed = fs::remove_file(&path);
    match written {
        Ok(()) => removed.map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(false),
        // What else is wrong shows, with its place, where it matters.
        Err(_other) => Ok(true),
    }
}

impl Storage for DirStorage {
    fn random_u64(&self) -> u64 {
        // The keys of each `RandomState` come from the operating system's random numbers.
        RandomState::new().hash_one(std::process::id())
    }

    fn superblock_read(&self) -> io::Result<Option<Vec<u8>>> {
        let file = match self.open_past_cache(&self.superblock_path(), 0..2 * SUPERBLOCK_BYTES as u64) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut buffer = Buffer::zeroed(2 * SUPERBLOCK_BYTES);
        let filled = read(&file, buffer.content_mut(), 0)?;
        Ok(Some(buffer.content()[..filled].to_vec()))
    }

    fn superblock_create(&self, bytes: &[u8]) -> io::Result<()> {
        self.create(&self.superblock_path(), 0, |mut file| file.write_all(bytes))
    }

    fn superblock_write(&self, copy: usize, bytes: &[u8]) -> io::Result<()> {
        assert!(copy < 2 && bytes.len() == SUPERBLOCK_BYTES);
        let path = self.superblock_path();
        let file = regular::open(&path, OpenOptions::new().write(true).custom_flags(self.flags()))?;
        let mut buffer = Buffer::zeroed(bytes.len());
        buffer.content_mut().copy_from_slice(bytes);
        file.write_all_at(buffer.content(), (copy * SUPERBLOCK_BYTES) as u64)?;
        file.sync_data()
    }

    fn segments(&self) -> io::Result<BTreeMap<u32, u64>> {
        let mut found = BTreeMap::new();
        if self.writable {
            self.reserved_now().clear();
        }
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.ends_with(UNFINISHED) {
                if self.writable {
                    fs::remove_file(entry.path())?;
                }
                continue;
            }
            if let Some(slot) = slot_of(name) {
                let metadata = entry.metadata()?;
                if !metadata.is_file() {
                    return Err(regular::refused(&entry.path()));
                }
                found.insert(slot, metadata.len());
            }
        }
        if self.writable {
            // A process may have ended between the renaming of a file and the sync of its name.
            self.directory.sync_all()?;
        }
        Ok(found)
    }

    fn segment_reserve(&self, slot: u32, bytes: u64) -> io::Result<()> {
        let path = self.segment_path(slot);
        let unfinished = unfinished(&path);
        let made = regular::create_anew(&unfinished, OpenOptions::new().mode(0o600)).and_then(|file| {
            match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
                // Zeros allocate too.
                Err(Errno::OPNOTSUPP) => fill(&file, bytes, true),
                allocated => Ok(allocated?),
            }
        });
        match made {
            Ok(()) => _ = self.reserved_now().insert(path),
            // Gives the space back, for decisions.
            Err(_) => _ = fs::remove_file(&unfinished),
        }
        made
    }

    fn segment_create(&self, slot: u32, bytes: u64) -> io::Result<()> {
        let path = self.segment_path(slot);
        if path.exists() {
            // An attempt before this one may have failed after its renaming.
            self.directory.sync_all()?;
        } else {
            self.create(&path, self.flags(), |file| {
                fallocate(file, FallocateFlags::empty(), 0, bytes).or_else(allocation_refused)?;
                fill(file, bytes, !self.direct)
            })?;
        }
        self.file(slot).map(|_| ())
    }

    fn segment_delete(&self, slot: u32) -> io::Result<()> {
        self.segments_open().forget(slot);
        fs::remove_file(self.segment_path(slot))
    }

    fn segment_read(&self, slot: u32, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let filled = if self.direct {
            read(self.file(slot)?.as_ref(), into, offset)?
        } else {
            read(&self.open_past_cache(&self.segment_path(slot), offset..offset + into.len() as u64)?, into, offset)?
        };
        if filled < into.len() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn segment_sync(&self, slot: u32) -> io::Result<()> {
        self.file(slot)?.sync_data()
    }

    fn segment_warm(&self, slot: u32) {
        if let Ok(map) = self.map(slot) {
            // What cannot be read now is named by whoever reads the value.
            let _ = map.advise(Advice::PopulateRead);
        }
    }

    fn value(&self, slot: u32, offset: u64, length: usize) -> io::Result<Bytes> {
        let map = self.map(slot)?;
        let end = (offset as usize).checked_add(length);
        let range = end.and_then(|end| map.get(offset as usize..end)).ok_or(io::ErrorKind::UnexpectedEof)?;
        // Touching a page that the disk cannot read would end the process by SIGBUS; asked for like this it is an error.
        if let Err(error) = map.advise_range(Advice::PopulateRead, offset as usize, length)
            && Errno::from_io_error(&error) == Some(Errno::FAULT)
        {
            return Err(io::Error::other(ReadFailed { offset, source: Errno::IO.into() }));
        }
        Ok(Bytes::copy_from_slice(range))
    }

    fn is_direct(&self) -> bool {
        self.direct
    }

    fn superblock_name(&self) -> String {
        self.superblock_path().display().to_string()
    }

    fn segment_name(&self, slot: u32) -> String {
        self.segment_path(slot).display().to_string()
    }
}
