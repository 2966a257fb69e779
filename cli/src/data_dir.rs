//! What is wrong with a data directory, said once and with its path.

use std::io::ErrorKind;
use std::path::Path;

use engine::{OpenError, Owner};
use protocol::Role;

/// One sentence, whether a node or a dump was to read it.
pub(crate) fn sentence(dir: &Path, error: &OpenError) -> String {
    let shown = dir.display();
    match error {
        OpenError::Io { source, .. } if is_missing(source.kind()) && dir.is_dir() => {
            format!("{shown}: this is no data directory (no superblock)")
        }
        OpenError::Io { source, .. } if is_missing(source.kind()) && dir.exists() => {
            format!("{shown}: this is no data directory, it is a file")
        }
        OpenError::WrongOwner { found, expected } => format!(
            "{shown}: this data directory belongs to {}, not to {}; choose the node's own directory",
            name(*found),
            name(*expected)
        ),
        OpenError::Io { .. }
        | OpenError::Corrupt { .. }
        | OpenError::Locked { .. }
        | OpenError::OtherFormat { .. }
        | OpenError::NotRegular { .. }
        | OpenError::BadOptions(_) => {
            let said = error.to_string();
            if said.starts_with(&shown.to_string()) { said } else { format!("{shown}: {said}") }
        }
    }
}

fn name(owner: Owner) -> String {
    let role = Role::from_code(owner.role).map_or_else(|| format!("role {}", owner.role), |role| role.to_string());
    format!("{role} {} of cluster {}", owner.node, owner.cluster)
}

fn is_missing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_said_once() {
        let refused = |file: &str| OpenError::Io {
            file: file.to_owned(),
            operation: "reading the superblock",
            source: ErrorKind::PermissionDenied.into(),
        };
        let said = sentence(Path::new("no/p1"), &refused("no/p1/superblock"));
        assert!(said.starts_with("no/p1/superblock: reading the superblock failed"), "{said}");
        let said = sentence(Path::new("no/p1"), &OpenError::BadOptions("too much".to_owned()));
        assert_eq!(said, "no/p1: too much");
        let (found, expected) = (Owner { role: 2, node: 1, cluster: 7 }, Owner { role: 1, node: 3, cluster: 7 });
        let said = sentence(Path::new("no/p1"), &OpenError::WrongOwner { found, expected });
        assert!(!said.contains("role"), "{said}");
        assert!(said.contains(" 1 of cluster 7, not to ") && said.contains(" 3 of cluster 7;"), "{said}");
    }
}
