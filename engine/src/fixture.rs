//! Golden bytes of every layout: a change of the format breaks a test, and asks for a new version.

use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Compares bytes, without the zeros in their middle, with the committed fixture of this name.
pub(crate) fn assert_same(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(format!("{name}.hex"));
    let found = hex(bytes);
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        fs::write(&path, &found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    assert_eq!(found, expected, "{}: the format has changed; FORMAT.md says what that asks for", path.display());
}

/// Lines of 32 bytes with their offset; lines of zeros are left out.
fn hex(bytes: &[u8]) -> String {
    let mut text = format!("{} bytes\n", bytes.len());
    for (number, line) in bytes.chunks(32).enumerate().filter(|(_, line)| line.iter().any(|byte| *byte != 0)) {
        write!(text, "{:06x} ", number * 32).unwrap();
        line.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
        text.push('\n');
    }
    text
}
