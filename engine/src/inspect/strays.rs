//! Files that look like segments and are not part of the log: told, and no damage.
//!
//! Spares are no strays: the log makes segment files ahead and keeps freed ones for reuse, all of one size.
//! Not here: a file that holds a part of the log of which the superblock does not know (`scan` refuses it).

use std::fs;
use std::path::Path;

use super::files::Files;
use crate::error::OpenError;
use crate::ring::is_nearly_a_segment;

/// A file that is nobody's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stray {
    /// Its path.
    pub file: String,
    /// Why it is not part of the log, and what a start does with it.
    pub reason: String,
}

/// The strays of a data directory, by name. Without a valid superblock only names tell.
pub(super) fn strays(dir: &Path, files: &Files) -> Result<Vec<Stray>, OpenError> {
    let failed = |source| OpenError::io(dir.display().to_string(), "listing the directory", source);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(is_nearly_a_segment) {
            let reason = "this is not the name of a segment file; the log does not use it, and a start leaves it alone";
            found.push(Stray { file: path.display().to_string(), reason: reason.to_owned() });
        }
    }
    let is_known = files.superblock.is_ok();
    let is_listed = |slot: &u32| files.segments.values().any(|listed| listed == slot);
    for (slot, bytes) in files.sizes.iter().filter(|(slot, _)| is_known && !is_listed(slot)) {
        if *bytes != files.segment_bytes {
            let reason = format!(
                "the log does not list it, and its {bytes} bytes are not the {} of a spare segment; a start deletes it",
                files.segment_bytes
            );
            found.push(Stray { file: files.storage.segment_name(*slot), reason });
        }
    }
    found.sort_by(|one, other| one.file.cmp(&other.file));
    Ok(found)
}
