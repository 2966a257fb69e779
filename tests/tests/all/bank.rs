//! `assent bank`: what is submitted again happens once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tests::processes::{Cluster, assent};

const ID: &str = "0123456789abcdef0123456789abcdef";

struct Bank {
    cluster: Cluster,
}

impl Bank {
    fn open(accounts: &str) -> Self {
        let bank = Self { cluster: Cluster::start(2, &[]) };
        assert_eq!(bank.run(&["open", accounts, "--balance", "1000"]).0, 0);
        bank
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assent());
        command.args(["bank", "--json", "--coordinator", &self.cluster.coordinator.address]).args(arguments);
        command
    }

    /// The exit code, and the last document that was printed.
    fn run(&self, arguments: &[&str]) -> (i32, Value) {
        let run = self.command(arguments).output().expect("the binary runs");
        let text = String::from_utf8(run.stdout).expect("text");
        let last = text.lines().last().unwrap_or("null");
        (run.status.code().expect("an exit code"), serde_json::from_str(last).expect("a document"))
    }

    fn balance(&self, account: &str) -> i64 {
        self.run(&["balance", account]).1["balance"].as_i64().expect("a balance")
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.cluster.folder().join(name);
        fs::write(&path, text).expect("the file is written");
        path
    }

    fn load(&self, file: &Path, more: &[&str]) -> (i32, Value) {
        self.run(&[&["load", file.to_str().expect("text")], more].concat())
    }
}

fn counts(summary: &Value) -> [u64; 4] {
    ["applied", "applied_before", "refused", "bad_lines"].map(|name| summary[name].as_u64().expect("a count"))
}

#[test]
fn a_load_that_is_run_again_applies_nothing_twice() {
    let bank = Bank::open("4");
    let file = bank.file("moves.csv", "from,to,amount\n1,2,5\n1,2,5\n3,4,7\n");
    let (code, resumed) = bank.load(&file, &["--resume"]);
    assert_eq!(code, 1, "there is nothing to go on with");
    assert!(resumed["error"].as_str().is_some_and(|error| error.contains("there is no load")), "{resumed}");
    assert_eq!(bank.balance("1"), 1000);
    let (code, first) = bank.load(&file, &[]);
    assert_eq!((code, counts(&first)), (0, [3, 0, 0, 0]));
    for more in [&[][..], &["--resume"]] {
        let (code, again) = bank.load(&file, more);
        assert_eq!((code, counts(&again)), (0, [0, 3, 0, 0]), "{more:?}");
    }
    assert_eq!((bank.balance("1"), bank.balance("4")), (990, 1007));
    // The same bytes under another name are another load.
    let (code, other) = bank.load(&file, &["--id", ID]);
    assert_eq!((code, counts(&other)), (0, [3, 0, 0, 0]));
    assert_eq!(other["load"], ID);
    assert_eq!(bank.balance("1"), 980);
    assert_eq!(bank.run(&["audit"]).0, 0);
}

#[test]
fn a_load_goes_on_after_its_bad_and_its_refused_lines_were_put_right() {
    let bank = Bank::open("3");
    let (code, first) = bank.load(&bank.file("moves.csv", "1,2,10\n1,2,x\n3,1,1001\n"), &[]);
    assert_eq!((code, counts(&first)), (1, [1, 0, 1, 1]));
    let load = first["load"].as_str().expect("its name").to_owned();
    assert_eq!(bank.run(&["transfer", "2", "3", "5"]).0, 0);
    let corrected = bank.file("corrected.csv", "1,2,10\n1,2,20\n3,1,1001\n");
    assert_eq!(bank.load(&corrected, &["--resume"]).0, 1, "a changed file is another load");
    let (code, second) = bank.load(&corrected, &["--resume", "--id", &load]);
    assert_eq!((code, counts(&second)), (0, [2, 1, 0, 0]), "{second}");
    assert_eq!(["1", "2", "3"].map(|account| bank.balance(account)), [1971, 1025, 4]);
    // A line that was applied cannot become another one.
    let changed = bank.file("changed.csv", "1,2,11\n1,2,20\n3,1,1001\n");
    let (code, third) = bank.load(&changed, &["--id", &load]);
    assert_eq!((code, counts(&third)), (1, [0, 2, 1, 0]), "{third}");
    assert_eq!(bank.balance("1"), 1971);
}

#[test]
fn an_interrupted_load_is_finished_by_the_next_one() {
    let mut bank = Bank::open("40");
    let text: String = (0..4_000).map(|line| format!("{},{},1\n", 1 + line % 20, 21 + line % 20)).collect();
    let file = bank.file("moves.csv", &text);
    let mut killed = bank.command(&["load", file.to_str().expect("text"), "--concurrency", "8"]);
    let mut killed = killed.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
    while bank.balance("40") < 1_010 {
        std::thread::sleep(Duration::from_millis(5));
    }
    killed.kill().expect("it can be killed");
    killed.wait().expect("it ends");
    // Nobody remembers outcomes in memory any more, only what is in the logs.
    for node in bank.cluster.nodes() {
        node.kill();
        node.start();
    }
    for (more, is_first) in [(&["--resume"][..], true), (&[], false)] {
        let (code, summary) = bank.load(&file, more);
        let [applied, before, refused, bad] = counts(&summary);
        assert_eq!((code, applied + before, refused, bad), (0, 4_000, 0, 0), "{summary}");
        assert!(before > 0 && (applied > 0) == is_first, "{summary}");
    }
    assert_eq!((bank.balance("1"), bank.balance("40")), (800, 1_200));
    assert_eq!(bank.run(&["audit"]).0, 0);
}

#[test]
fn a_transfer_and_an_opening_that_are_submitted_again_under_their_id_are_the_same() {
    let bank = Bank::open("3");
    // An id of one's own, and one that the command made.
    assert_eq!(bank.run(&["transfer", "1", "2", "5", "--id", ID]).0, 0);
    let made = bank.run(&["transfer", "1", "2", "7"]).1["txn"].as_str().expect("an id").to_owned();
    for (id, amount) in [(ID, "5"), (&made, "7")] {
        let (code, again) = bank.run(&["transfer", "1", "2", amount, "--id", id]);
        assert_eq!((code, &again["before"]), (0, &Value::Bool(true)), "{again}");
        let (code, other) = bank.run(&["transfer", "1", "2", "6", "--id", id]);
        assert_eq!((code, &other["refused"]), (1, &"id-reused".into()), "{other}");
    }
    assert_eq!((bank.balance("1"), bank.balance("2")), (988, 1012));
    let open = ["open", "5", "--balance", "10", "--id", ID];
    let opened = |summary: &Value| ["opened", "of_them_before"].map(|name| summary[name].as_u64());
    for before in [0, 2] {
        let (code, summary) = bank.run(&open);
        assert_eq!((code, opened(&summary)), (0, [Some(2), Some(before)]), "{summary}");
    }
    assert_eq!(bank.run(&["open", "5", "--balance", "10"]).0, 1);
    assert_eq!(bank.run(&["audit"]).0, 0);
}
