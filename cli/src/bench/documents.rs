//! Where the figures go: JSON and a page, each to a file or to standard output.
//!
//! Invariant: a file holds its earlier content or the whole new one, whatever ends the bench in between. The new content is
//! written beside it, made durable, and takes its name. What is no regular file (a pipe, a device) is written to as it is.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// Names of standard output.
const STDOUT: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// Both documents, each if it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Documents {
    json: Option<Place>,
    report: Option<Place>,
}

/// Where one document goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Stdout,
    /// By its path without links.
    File(PathBuf),
    /// A pipe or a device.
    Special(PathBuf),
}

/// Whether this path stands for standard output.
pub(crate) fn is_stdout(path: &Path) -> bool {
    STDOUT.iter().any(|name| Path::new(name) == path)
}

impl Documents {
    /// Checks that both can be written, so that nothing is measured in vain. Changes neither.
    pub(crate) fn check(json: Option<&Path>, report: Option<&Path>) -> Result<Self, Failure> {
        let place = |path: Option<&Path>| path.map(Place::check).transpose();
        let documents = Self { json: place(json)?, report: place(report)? };
        if documents.json.is_some() && documents.json == documents.report {
            return Err(Failure::Usage(
                "--json and --report name the same place, and one would overwrite the other; name two".to_owned(),
            ));
        }
        Ok(documents)
    }

    /// Whether standard output is taken.
    pub(crate) fn take_stdout(&self) -> bool {
        [&self.json, &self.report].into_iter().any(|place| *place == Some(Place::Stdout))
    }

    /// Where the figures of an incomplete run go: beside what holds something already. Also each file that stays as it is, and
    /// the one beside it.
    pub(crate) fn beside_earlier(&self) -> (Self, Vec<(PathBuf, PathBuf)>) {
        let mut kept = Vec::new();
        let mut beside = |place: &Option<Place>, other: &Option<Place>| match place {
            Some(Place::File(path)) if holds_something(path) => {
                let is_free =
                    |path: &PathBuf| fs::symlink_metadata(path).is_err() && *other != Some(Place::File(path.clone()));
                let free = (1..).map(|count| incomplete_name(path, count)).find(is_free)?;
                kept.push((path.clone(), free.clone()));
                Some(Place::File(free))
            }
            Some(Place::File(_) | Place::Stdout | Place::Special(_)) | None => place.clone(),
        };
        let json = beside(&self.json, &self.report);
        let report = beside(&self.report, &json);
        (Self { json, report }, kept)
    }

    /// Writes both. The one is written though the other cannot be.
    pub(crate) fn write(
        &self,
        json: impl FnOnce() -> Result<String, String>,
        report: impl FnOnce() -> Result<String, String>,
    ) -> Result<(), Failure> {
        let json = self.json.as_ref().map_or(Ok(()), |place| place.write(json()));
        let report = self.report.as_ref().map_or(Ok(()), |place| place.write(report()));
        json.and(report)
    }
}

impl Place {
    fn check(path: &Path) -> Result<Self, Failure> {
        if is_stdout(path) {
            return Ok(Self::Stdout);
        }
        Self::find(path)
            .map_err(|error| Failure::Usage(format!("{}: cannot be written: {}", path.display(), said(&error))))
    }

    fn find(path: &Path) -> io::Result<Self> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Err(io::Error::other("it is a folder")),
            Ok(found) if found.is_file() => {
                // Opened alone, it stays as it is.
                OpenOptions::new().write(true).open(path)?;
                let path = fs::canonicalize(path)?;
                Beside::create(&path)?;
                Ok(Self::File(path))
            }
            Ok(_) => Ok(Self::Special(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if fs::symlink_metadata(path).is_ok() {
                    return Err(io::Error::other("it is a link to nothing"));
                }
                let name = path.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
                let path = fs::canonicalize(folder_of(path))?.join(name);
                Beside::create(&path)?;
                Ok(Self::File(path))
            }
            Err(error) => Err(error),
        }
    }

    fn write(&self, text: Result<String, String>) -> Result<(), Failure> {
        let (name, path) = match self {
            Self::Stdout => ("standard output".to_owned(), None),
            Self::File(path) | Self::Special(path) => (path.display().to_string(), Some(path)),
        };
        let cannot = |why: String| Failure::Start(format!("{name}: the figures cannot be written: {why}"));
        let text = text.map_err(cannot)?;
        match (self, path) {
            (Self::Stdout, _) | (_, None) => crate::output::line(text.trim_end_matches('\n')),
            (Self::File(_), Some(path)) => replace(path, &text).map_err(|error| cannot(said(&error))),
            (Self::Special(_), Some(path)) => OpenOptions::new()
                .write(true)
                .open(path)
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(|error| cannot(said(&error))),
        }
    }
}

fn holds_something(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.len() > 0)
}

/// `r3.json` becomes `r3.incomplete.json`, then `r3.incomplete-2.json`.
fn incomplete_name(path: &Path, count: u32) -> PathBuf {
    let part = |name: Option<&std::ffi::OsStr>| name.unwrap_or_default().to_string_lossy().into_owned();
    let (stem, number) = (part(path.file_stem()), if count > 1 { format!("-{count}") } else { String::new() });
    let extension = path.extension().map(|extension| format!(".{}", part(Some(extension)))).unwrap_or_default();
    path.with_file_name(format!("{stem}.incomplete{number}{extension}"))
}

/// Gives a file new content, whole or not at all.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = Beside::create(path)?;
    beside.file.write_all(text.as_bytes())?;
    if let Some(mode) = mode_of(path)? {
        beside.file.set_permissions(mode)?;
    }
    beside.file.sync_all()?;
    fs::rename(&beside.path, path)?;
    beside.renamed = true;
    File::open(folder_of(path))?.sync_all()
}

fn mode_of(path: &Path) -> io::Result<Option<Permissions>> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(found.permissions())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The words of the system without the number that `io::Error` adds.
fn said(error: &io::Error) -> String {
    let said = error.to_string();
    said.split(" (os error").next().unwrap_or(&said).to_owned()
}

/// A file in the folder of another; removed with its value unless it took the other's name.
struct Beside {
    path: PathBuf,
    file: File,
    renamed: bool,
}

impl Beside {
    fn create(of: &Path) -> io::Result<Self> {
        let name = of.file_name().unwrap_or_default().to_string_lossy();
        let path = folder_of(of).join(format!(".{name}.{:08x}.tmp", rand::random::<u32>()));
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Self { path, file, renamed: false })
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.renamed {
            // It is in nobody's way; what has failed is told.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("assent-documents-{:08x}", rand::random::<u32>()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn write(documents: &Documents, json: Result<&str, &str>) -> Result<(), Failure> {
        documents.write(|| json.map(str::to_owned).map_err(str::to_owned), || Ok("page".to_owned()))
    }

    #[test]
    fn an_earlier_document_stays_until_the_new_one_is_whole() {
        let folder = Folder::new();
        let path = folder.0.join("figures.json");
        fs::write(&path, "earlier").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let documents = Documents::check(Some(&path), None).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "earlier");
        assert!(write(&documents, Err("no figures")).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "earlier");
        write(&documents, Ok("new")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(folder.names(), ["figures.json"]);
    }

    #[test]
    fn an_incomplete_run_replaces_nothing_that_holds_something() {
        let folder = Folder::new();
        let (json, page) = (folder.0.join("r3.json"), folder.0.join("page"));
        fs::write(&json, "earlier").unwrap();
        fs::write(&page, "").unwrap();
        let documents = Documents::check(Some(&json), Some(&page)).unwrap();
        for name in ["r3.incomplete.json", "r3.incomplete-2.json"] {
            let (beside, kept) = documents.beside_earlier();
            write(&beside, Ok(name)).unwrap();
            assert_eq!(fs::read_to_string(folder.0.join(name)).unwrap(), name);
            assert_eq!(kept[0].1.file_name().unwrap(), name);
        }
        assert_eq!(fs::read_to_string(&json).unwrap(), "earlier");
        assert_eq!(
            folder.names(),
            ["page", "page.incomplete", "r3.incomplete-2.json", "r3.incomplete.json", "r3.json"]
        );
    }

    #[test]
    fn the_page_is_written_although_the_json_cannot_be() {
        let folder = Folder::new();
        let (json, page) = (folder.0.join("a"), folder.0.join("b"));
        let documents = Documents::check(Some(&json), Some(&page)).unwrap();
        assert_eq!(folder.names(), [""; 0], "checking leaves nothing");
        assert!(write(&documents, Err("why")).unwrap_err().to_string().contains("why"));
        assert_eq!(folder.names(), ["b"]);
    }

    #[test]
    fn a_link_is_written_through_and_the_same_file_under_two_names_is_refused() {
        let folder = Folder::new();
        let (file, link) = (folder.0.join("file"), folder.0.join("link"));
        fs::write(&file, "earlier").unwrap();
        symlink("file", &link).unwrap();
        write(&Documents::check(Some(&link), None).unwrap(), Ok("new")).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let refused = |json: &Path, report: &Path| {
            let failure = Documents::check(Some(json), Some(report)).unwrap_err();
            assert_eq!(failure.code(), 2);
            failure.to_string()
        };
        for (json, report) in [(&file, &link), (&link, &file), (&file, &file)] {
            assert!(refused(json, report).contains("the same place"));
        }
        assert!(refused(Path::new("-"), Path::new("/dev/stdout")).contains("the same place"));
        assert!(Documents::check(Some(Path::new("-")), Some(&file)).is_ok());
    }

    #[test]
    fn what_cannot_be_written_is_refused_before_anything_is_measured() {
        let folder = Folder::new();
        symlink("nowhere", folder.0.join("dangling")).unwrap();
        for (name, why) in
            [("no/such/folder", "No such file"), ("", "it is a folder"), ("dangling", "a link to nothing")]
        {
            let failure = Documents::check(Some(&folder.0.join(name)), None).unwrap_err();
            assert_eq!(failure.code(), 2);
            assert!(failure.to_string().contains(why), "{failure}");
        }
    }

    #[test]
    fn a_device_stays_a_device() {
        let documents = Documents::check(Some(Path::new("/dev/null")), None).unwrap();
        write(&documents, Ok("figures")).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
