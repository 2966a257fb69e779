//! Versions of the engines, from the lock file that they were built from.

/// The version that the lock file has of a package.
pub(crate) fn locked(package: &str) -> String {
    let lines = include_str!("../../../../Cargo.lock").lines();
    let name = format!("name = \"{package}\"");
    let version = lines.skip_while(|line| *line != name).nth(1);
    version.and_then(|line| line.split('"').nth(1)).unwrap_or("of unknown version").to_owned()
}
