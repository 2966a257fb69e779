//! The directory that a killed process left, held in memory, and copies of it with one bit flipped.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::limits::{FLIPS_DEFAULT, IMAGE_BYTES_MAX};
use crate::subject::Subject;

/// What is written of a copy: zeros between are left out, as in the file they came from.
const PAGE_BYTES: usize = 4096;

/// One bit of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Flip {
    /// The byte, counted over all bytes of log in the order of their files.
    pub(crate) position: u64,
    /// The bit in it.
    pub(crate) bit: u32,
}

struct Saved {
    path: PathBuf,
    content: Vec<u8>,
    /// Bytes from the start that are log.
    log_bytes: u64,
}

/// A directory.
pub(crate) struct Image {
    /// In the order of their names, which is the order of every swept log.
    files: Vec<Saved>,
}

impl Image {
    /// Reads a directory, and what of it is log to `subject`: its log files up to where only zeros follow.
    pub(crate) fn load(dir: &Path, subject: &dyn Subject) -> io::Result<Image> {
        let mut files = Vec::new();
        let mut left = IMAGE_BYTES_MAX;
        let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = PathBuf::from(entry.file_name());
            let bytes = entry.metadata()?.len();
            let complaint = |what: &str| io::Error::other(format!("{}: {what}", entry.path().display()));
            if !entry.file_type()?.is_file() {
                return Err(complaint("is not a file; the sweep copies files only"));
            }
            left = left.checked_sub(bytes).ok_or_else(|| complaint("too large to be copied for each case"))?;
            let content = fs::read(entry.path())?;
            let is_log = subject.is_log(&entry.file_name().to_string_lossy());
            let used = content.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1);
            let log_bytes = if is_log { used.next_multiple_of(subject.unit_bytes()).min(bytes) } else { 0 };
            files.push(Saved { path, content, log_bytes });
        }
        Ok(Image { files })
    }

    /// Bytes of log.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.log_bytes).sum()
    }

    /// The file that holds a byte of the log, and where in it.
    pub(crate) fn place(&self, position: u64) -> Option<(&Path, u64)> {
        self.find(position).map(|(file, offset)| (file.path.as_path(), offset))
    }

    fn find(&self, position: u64) -> Option<(&Saved, u64)> {
        let mut offset = position;
        for file in &self.files {
            if offset < file.log_bytes {
                return Some((file, offset));
            }
            offset -= file.log_bytes;
        }
        None
    }

    /// Writes a copy to `dir`, which must not exist, with `flip` done.
    pub(crate) fn copy_to(&self, dir: &Path, flip: Option<Flip>) -> io::Result<()> {
        fs::create_dir(dir)?;
        for saved in &self.files {
            let file = File::create(dir.join(&saved.path))?;
            file.set_len(saved.content.len() as u64)?;
            for (page, bytes) in saved.content.chunks(PAGE_BYTES).enumerate() {
                if bytes.iter().any(|&byte| byte != 0) {
                    file.write_all_at(bytes, (page * PAGE_BYTES) as u64)?;
                }
            }
        }
        let Some(flip) = flip else { return Ok(()) };
        let (saved, offset) = self.find(flip.position).ok_or_else(|| io::Error::other("a flip outside the log"))?;
        let flipped = [saved.content[offset as usize] ^ (1 << flip.bit)];
        File::options().write(true).open(dir.join(&saved.path))?.write_all_at(&flipped, offset)
    }
}

/// The stride that makes about [`FLIPS_DEFAULT`] cases of a log. Odd, so that it meets every field of whatever is laid out
/// in powers of two.
pub(crate) fn stride_for(log_bytes: u64) -> u64 {
    log_bytes.div_ceil(FLIPS_DEFAULT) | 1
}

/// One bit in every `stride`-th byte of a log, which bit is spread over the positions.
pub(crate) fn flips(log_bytes: u64, stride: u64) -> impl Iterator<Item = Flip> {
    let positions = (0..log_bytes).step_by(stride as usize);
    // Fibonacci hashing (Knuth, TAOCP 6.4): the top bits differ from one position to the next.
    positions.map(|position| Flip { position, bit: (position.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61) as u32 })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::subject::find;

    #[test]
    fn a_copy_differs_in_the_one_bit() {
        let temp = tempfile::tempdir().unwrap();
        let left = temp.path().join("left");
        fs::create_dir(&left).unwrap();
        let mut log = vec![0; 3 * PAGE_BYTES];
        log[..3].copy_from_slice(&[1, 2, 3]);
        log[PAGE_BYTES + 9] = 7;
        fs::write(left.join("control.log"), &log).unwrap();
        fs::write(left.join("another"), [9; 5]).unwrap();

        let image = Image::load(&left, find("control-stop").unwrap()).unwrap();
        assert_eq!(image.log_bytes(), PAGE_BYTES as u64 + 10, "zeros at the end are not log");
        for (copy, flip) in flips(image.log_bytes(), 1).step_by(97).enumerate() {
            let dir = temp.path().join(copy.to_string());
            image.copy_to(&dir, Some(flip)).unwrap();
            let mut expected = log.clone();
            expected[flip.position as usize] ^= 1 << flip.bit;
            assert!(fs::read(dir.join("control.log")).unwrap() == expected, "{flip:?}");
            assert_eq!(fs::read(dir.join("another")).unwrap(), [9; 5]);
        }
        assert!(image.copy_to(&temp.path().join("x"), Some(Flip { position: image.log_bytes(), bit: 0 })).is_err());
    }

    #[test]
    fn flips_are_a_stride_apart_and_meet_every_bit_everywhere() {
        let positions: Vec<u64> = flips(30, 3).map(|flip| flip.position).collect();
        assert_eq!(positions, (0..10).map(|index| index * 3).collect::<Vec<_>>());
        let met: BTreeSet<_> = flips(4096, 7).map(|flip| (flip.position % 8, flip.bit)).collect();
        assert_eq!(met.len(), 64, "every bit at every place in a word");
    }

    #[test]
    fn every_log_gives_about_as_many_cases() {
        assert_eq!(stride_for(100), 1);
        for log_bytes in [FLIPS_DEFAULT, 34_567, 540_672, 1 << 30] {
            let cases = flips(log_bytes, stride_for(log_bytes)).count() as u64;
            assert!((FLIPS_DEFAULT / 2..=FLIPS_DEFAULT).contains(&cases), "{log_bytes} bytes: {cases} cases");
        }
    }
}
