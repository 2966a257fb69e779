//! The harness that flips bits: it must tell a report, silence, a crash and a hang apart, and find none silent here.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use serde_json::Value;

fn flips(arguments: &[&str]) -> (i32, Vec<Value>) {
    let temp = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_flips"))
        .args(arguments)
        .args(["--json", "--workers", "2", "--dir"])
        .arg(temp.path())
        .output()
        .unwrap();
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0, "nothing is left behind");
    let rows = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code().unwrap(), rows)
}

fn control(name: &str, counted: &str) -> Value {
    // Four records of 260 bytes, the first byte of each among those that are flipped.
    let arguments = ["--only", name, "--records", "4", "--stride", "130", "--case-timeout-ms", "500"];
    let (code, mut rows) = flips(&arguments);
    assert_eq!((code, rows.len()), (0, 1));
    let row = rows.remove(0);
    assert_eq!((&row["log_bytes"], &row["flips"]), (&Value::from(1040), &Value::from(8)));
    for count in ["refused", "intact", "silent", "crashed"] {
        let expected = if count == counted { 8 } else { 0 };
        assert_eq!(row[count], expected, "{count} of {name}: {row}");
    }
    row
}

#[test]
fn an_engine_that_reports_damage_is_refused() {
    let row = control("control-refuse", "refused");
    let refused = &row["examples"][0]["outcome"]["refused"]["message"];
    assert!(refused.as_str().unwrap().ends_with("is damaged"), "{row}");
}

#[test]
fn an_engine_that_takes_damage_for_the_end_is_silent() {
    let row = control("control-stop", "silent");
    assert_eq!((&row["silent_from"], &row["silent_to"]), (&Value::from(0), &Value::from(910)));
    assert_eq!(row["silent_percent"], 100.0);
    let silent = &row["examples"][0]["outcome"]["silent"];
    assert_eq!(silent["wrong"], 0);
    assert!(silent["missing"].as_u64().unwrap() >= 1);
}

#[test]
fn an_engine_that_panics_aborts_or_hangs_is_crashed_and_the_sweep_goes_on() {
    for (name, said) in [("control-panic", "panicked: "), ("control-abort", "SIGABRT"), ("control-hang", "500 ms")] {
        let row = control(name, "crashed");
        let message = row["examples"][0]["outcome"]["crashed"]["message"].as_str().unwrap();
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn this_log_is_silent_about_its_unsealed_last_group_alone() {
    let subjects = ["--only", "assent-killed", "--only", "assent-sealed", "--only", "assent-clean"];
    let (code, rows) = flips(&[&subjects[..], &["--records", "4", "--stride", "251"]].concat());
    assert_eq!((code, rows.len()), (0, 3));
    for row in &rows {
        assert!(row["refused"].as_u64().unwrap() > 0, "{row}");
        assert_eq!(row["crashed"], 0, "{row}");
    }
    let last_group = rows[0]["log_bytes"].as_u64().unwrap() - 4096;
    assert!(rows[0]["silent_from"].as_u64().unwrap() >= last_group, "{}", rows[0]);
    assert_eq!((&rows[1]["silent"], &rows[2]["silent"]), (&Value::from(0), &Value::from(0)));
}

#[test]
fn a_wrong_name_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_flips")).args(["--only", "nobody"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--list"));
}
