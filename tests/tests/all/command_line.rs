//! What the commands take from flags and from the environment, and what they refuse.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use tests::processes::{Cluster, assent, target_folder};
use tests::terminal::Terminal;

const ID: &str = "00000000000000000000000000000abc";

fn run(line: &str, variables: &[(&str, &str)]) -> Output {
    Command::new(assent()).args(line.split(' ')).envs(variables.iter().copied()).output().expect("the binary runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[test]
fn an_id_has_exactly_32_digits_wherever_it_is_given() {
    for id in
        ["abc", "0", "+0000000000000000000000000000abc", &format!("0{ID}"), "g0000000000000000000000000000abc", ""]
    {
        for line in ["txn status ID", "txn --id ID put:k=v", "bank transfer 1 2 3 --id ID", "bank open 5 --id ID"] {
            let refused = run(&line.replace("ID", id), &[]);
            let told = said(&refused);
            assert_eq!(refused.status.code(), Some(2), "{line} {id:?}: {told}");
            if !id.is_empty() {
                assert!(told.contains("exactly 32 hexadecimal digits"), "{line} {id:?}: {told}");
            }
        }
    }
    let cluster = Cluster::start(1, &[]);
    let at = format!("--coordinator {}", cluster.coordinator.address);
    assert_eq!(run(&format!("txn {at} --id {ID} put:k=v"), &[]).status.code(), Some(0));
    let status = run(&format!("txn status {} {at}", ID.to_uppercase()), &[]);
    assert_eq!(said(&status), "committed\n");
}

#[test]
fn a_variable_with_a_value_that_is_none_is_a_wrong_setting() {
    for (variable, value) in [
        ("ASSENT_COORDINATOR", ""),
        ("ASSENT_COORDINATOR", "localhost"),
        ("ASSENT_COORDINATOR", "127.0.0.1:port"),
        ("ASSENT_JSON", "maybe"),
        ("ASSENT_JSON", ""),
        ("ASSENT_JSON", "2"),
    ] {
        for line in ["stats", "txn get:k", "bank audit"] {
            let refused = run(line, &[(variable, value)]);
            assert_eq!(refused.status.code(), Some(2), "{variable}={value:?} {line}: {}", said(&refused));
        }
    }
    for (value, is_json) in [("true", true), ("1", true), ("no", false), ("0", false)] {
        let refused = run("stats 127.0.0.1:1", &[("ASSENT_JSON", value)]);
        assert_eq!(refused.status.code(), Some(3));
        assert_eq!(refused.stdout.starts_with(b"{"), is_json, "{value}: {}", said(&refused));
    }
}

#[test]
fn what_is_no_address_is_refused_wherever_it_is_given() {
    for line in [
        "stats ADDR",
        "txn --coordinator ADDR get:k",
        "bank --coordinator ADDR audit",
        "bench --coordinator ADDR",
        "bench --coordinator ADDR --remove-leftovers",
        "replace participant 2 --at 127.0.0.1:1 --at ADDR",
        "retire 7 --at ADDR",
        "cluster --listen ADDR",
        "participant --id 1 --data d --listen ADDR",
        "coordinator --id 1 --data d --listen 127.0.0.1:0 --participant 1=ADDR",
    ] {
        for address in ["foo", "", ":7101", "localhost:", "localhost:port"] {
            let refused = run(&line.replace("ADDR", address), &[]);
            let told = said(&refused);
            assert_eq!(refused.status.code(), Some(2), "{line} {address:?}: {told}");
            // An empty word is missing for some; what is meant is told by all the same.
            assert!(told.contains("127.0.0.1:7101"), "{line} {address:?}: {told}");
        }
    }
}

#[test]
fn a_deadline_that_passes_while_a_participant_is_down_is_an_abort_or_unknown_as_the_help_says() {
    let mut cluster = Cluster::start(2, &[]);
    let everywhere: Vec<String> = (1..=16).map(|key| format!("put:k{key}=v")).collect();
    let done = run(&format!("txn --coordinator {} {}", cluster.coordinator.address, everywhere.join(" ")), &[]);
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    cluster.node(1).kill();
    let at = format!("txn --coordinator {} --deadline 300ms ", cluster.coordinator.address);
    let aborted = run(&(at.clone() + &everywhere.join(" ")), &[]);
    assert_eq!(aborted.status.code(), Some(1), "{}", said(&aborted));
    assert!(said(&aborted).contains("a participant did not answer in time"), "{}", said(&aborted));
    // Each of these is written by one participant alone, and some of them by the one that is down.
    let alone: Vec<Output> = everywhere.iter().map(|put| run(&(at.clone() + put), &[])).collect();
    let codes: Vec<Option<i32>> = alone.iter().map(|output| output.status.code()).collect();
    assert!(codes.contains(&Some(0)) && codes.contains(&Some(3)) && !codes.contains(&Some(1)), "{codes:?}");
    let unknown = alone.iter().find(|output| output.status.code() == Some(3)).map(said).unwrap_or_default();
    assert!(unknown.contains("is unknown") && unknown.contains("when its participants are up"), "{unknown}");
}

#[test]
fn an_unreachable_coordinator_is_said_once() {
    let refused = run("txn --coordinator 127.0.0.1:1 get:k", &[]);
    let told = said(&refused);
    for part in ["cannot reach", "is the node running", "127.0.0.1:1"] {
        assert_eq!(told.matches(part).count(), 1, "{told}");
    }
}

#[test]
fn a_directory_that_may_not_be_looked_at_is_not_said_to_be_missing() {
    // A test that runs as root lets the command run as somebody who is not.
    let folder = tempfile::tempdir().expect("a folder");
    let open =
        |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    open(folder.path(), 0o755);
    let binary = folder.path().join("assent");
    fs::copy(assent(), &binary).expect("a copy");
    let hidden = folder.path().join("hidden");
    fs::create_dir_all(hidden.join("p1")).expect("a folder");
    open(&hidden, 0o000);
    let verify = |data: &std::path::Path| {
        let mut command = Command::new(&binary);
        command.args(["wal", "verify"]).arg(data).current_dir("/");
        if rustix::process::geteuid().is_root() {
            command.uid(65_534).gid(65_534);
        }
        command.output().expect("the binary runs")
    };
    let (refused, missing) = (verify(&hidden.join("p1")), verify(&folder.path().join("p2")));
    open(&hidden, 0o755);
    assert!(said(&refused).contains("Permission denied"), "{}", said(&refused));
    assert!(!said(&refused).contains("no such directory"), "{}", said(&refused));
    assert!(said(&missing).contains("there is no such directory"), "{}", said(&missing));
    assert_eq!([refused.status.code(), missing.status.code()], [Some(3), Some(3)]);
}

#[test]
fn a_log_at_a_terminal_has_colours_unless_they_are_unwanted() {
    let folder = tempfile::tempdir_in(target_folder()).expect("a folder");
    for (number, (variable, value, is_coloured)) in
        [("TERM", "xterm", true), ("NO_COLOR", "1", false), ("NO_COLOR", "", true), ("TERM", "dumb", false)]
            .into_iter()
            .enumerate()
    {
        let terminal = Terminal::open();
        let mut node = Command::new(assent())
            .args(["participant", "--id", "1", "--listen", "127.0.0.1:0", "--stop-with-stdin", "--data"])
            .arg(folder.path().join(format!("p{number}")))
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .env(variable, value)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(terminal.other_end())
            .spawn()
            .expect("the binary starts");
        let mut shown = Vec::new();
        let mut chunk = [0; 4_096];
        let mut screen = terminal.keyboard;
        // The terminal's other end closes with the process.
        while let Ok(count @ 1..) = screen.read(&mut chunk) {
            shown.extend_from_slice(&chunk[..count]);
        }
        assert!(node.wait().expect("it ends").success());
        let shown = String::from_utf8_lossy(&shown);
        assert!(shown.contains("stopped cleanly"), "{shown}");
        assert_eq!(shown.contains('\x1b'), is_coloured, "{variable}={value}:\n{shown}");
    }
}
