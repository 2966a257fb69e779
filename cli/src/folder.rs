//! A folder of the working directory that lives as long as a command.

use std::fs;
use std::path::{Path, PathBuf};

use crate::children::cannot;
use crate::exit::Failure;

/// Removed with its value, unless it is to be kept.
#[derive(Debug)]
pub(crate) struct TemporaryFolder {
    path: PathBuf,
    keep: bool,
    gone: bool,
}

impl TemporaryFolder {
    /// Creates `NAME-` and a random number.
    pub(crate) fn create(name: &str, keep: bool) -> Result<Self, Failure> {
        let here = std::env::current_dir()
            .map_err(|error| Failure::Start(format!("the working directory cannot be used: {error}")))?;
        let path = here.join(format!("{name}-{:08x}", rand::random::<u32>()));
        fs::create_dir(&path).map_err(|error| cannot("create", &path, &error))?;
        Ok(Self { path, keep, gone: false })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, unless it is to be kept; says which.
    pub(crate) fn close(mut self) -> Result<Closed, Failure> {
        if self.keep {
            return Ok(Closed::Kept(self.path.clone()));
        }
        // Said once, here or by whoever is told.
        self.gone = true;
        fs::remove_dir_all(&self.path).map_err(|error| cannot("remove", &self.path, &error))?;
        Ok(Closed::Removed)
    }
}

/// What became of a folder.
#[derive(Debug)]
pub(crate) enum Closed {
    Removed,
    Kept(PathBuf),
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if !self.keep
            && !self.gone
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            crate::output::complain(&format!("{}: cannot remove it: {error}", self.path.display()));
        }
    }
}
