//! `assent bench` from outside: whatever happens to it or to its nodes, it ends soon, with the figures that it has and
//! with what is wrong with them.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use client::{Client, Options, Outcome, Transaction};
use protocol::OperationResult;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::processes::{Cluster, assent, target_folder};

use crate::processes::run;

/// How long a bench may take to begin its run: it starts nodes and opens accounts first.
const BEGIN_WAIT: Duration = Duration::from_secs(60);

/// How long a bench may take to end when it has nothing to wait for: the figures of nodes that do not answer, its money,
/// its accounts. Twice what it allows itself, for a busy machine.
const END_WAIT: Duration = Duration::from_secs(20);

/// A run that is over before this was cut short, or was never meant to be long.
const LONG: &str = "120s";

/// What stands in a file of an earlier bench.
const EARLIER: &str = "{\"earlier\":true}\n";

/// A bench in a working directory of its own.
struct Bench {
    child: Child,
    folder: TempDir,
}

/// How it ended.
struct Ended {
    code: Option<i32>,
    took: Duration,
    stdout: String,
    stderr: String,
    folder: TempDir,
}

impl Bench {
    /// Starts it with few accounts and clients, and files for its figures that hold something already.
    fn start(more_args: &[&str]) -> Self {
        let mut args = vec!["bench", "--json", "json", "--report", "page.html"];
        for small in [["--accounts", "200"], ["--clients", "8"]] {
            if !more_args.contains(&small[0]) {
                args.extend(small);
            }
        }
        let folder = new_folder();
        for file in ["json", "page.html"] {
            fs::write(folder.path().join("work").join(file), EARLIER).expect("a file");
        }
        Self::start_in(folder, &[&args[..], more_args].concat())
    }

    /// Starts it with these arguments alone.
    fn start_in(folder: TempDir, args: &[&str]) -> Self {
        let output = |name| fs::File::create(folder.path().join(name)).expect("a file");
        let child = Command::new(assent())
            .args(args)
            .current_dir(folder.path().join("work"))
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .spawn()
            .expect("the binary starts");
        Self { child, folder }
    }

    /// The processes of its own cluster, the coordinator last, when there are so many.
    fn nodes(&mut self, count: usize) -> Vec<Pid> {
        let patience = Instant::now() + BEGIN_WAIT;
        loop {
            let nodes = children_of(self.child.id());
            if nodes.len() >= count {
                return nodes;
            }
            self.must_run(patience);
        }
    }

    /// Waits until its own cluster has done some transactions of the run; returns the nodes.
    fn runs_on_own_nodes(&mut self, count: usize) -> Vec<Pid> {
        let nodes = self.nodes(count);
        let coordinator = *nodes.last().expect("a coordinator");
        let patience = Instant::now() + BEGIN_WAIT;
        let port = loop {
            match listening_port(coordinator) {
                Some(port) => break port,
                None => self.must_run(patience),
            }
        };
        self.runs_at(&format!("127.0.0.1:{port}"));
        nodes
    }

    /// Waits until the coordinator has been asked for some transactions of the run.
    fn runs_at(&mut self, coordinator: &str) {
        let patience = Instant::now() + BEGIN_WAIT;
        // All but a few of what comes before are of the run.
        let until = requests(coordinator) + 300;
        while requests(coordinator) < until {
            self.must_run(patience);
        }
    }

    fn must_run(&mut self, patience: Instant) {
        let ended = self.child.try_wait().expect("it can be waited for");
        assert!(ended.is_none() && Instant::now() < patience, "the bench does not run: {ended:?}\n{}", self.said());
        std::thread::sleep(Duration::from_millis(20));
    }

    fn said(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        format!("{}\n{}", read("stdout"), read("stderr"))
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id")).expect("a process id");
        kill_process(pid, signal).expect("it can be signalled");
    }

    /// Waits until it ends, at most for so long.
    fn end(mut self, limit: Duration) -> Ended {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                break status;
            }
            if begun.elapsed() > limit {
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!("the bench does not end within {limit:?}\n{}", self.said());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let read = |name| fs::read_to_string(self.folder.path().join(name)).expect("its output");
        let (stdout, stderr) = (read("stdout"), read("stderr"));
        Ended { code: status.code(), took: begun.elapsed(), stdout, stderr, folder: self.folder }
    }
}

impl Ended {
    fn json(&self, name: &str) -> Value {
        let text = fs::read_to_string(self.folder.path().join("work").join(name)).expect("the figures");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn page(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join("work").join(name)).expect("the page")
    }

    /// Says the same in all three forms: that it is incomplete, and why. What was there before stays.
    fn assert_incomplete(&self, code: i32, why: &[&str]) -> Value {
        let said = format!("{}\n{}", self.stdout, self.stderr);
        assert_eq!(self.code, Some(code), "{said}");
        self.assert_files_untouched();
        let last = self.stdout.trim_end().lines().last().unwrap_or_default();
        assert!(last.contains("page.incomplete.html") && last.contains("keeps its earlier ones"), "{said}");
        let json = self.json("json.incomplete");
        assert_eq!(json["complete"], json!(false), "{json}");
        let reason = json["incomplete_because"].as_str().expect("a reason");
        for why in why {
            assert!(reason.contains(why), "{why}: {reason}");
        }
        let first_line = reason.lines().next().expect("a line");
        assert!(self.stdout.starts_with(&format!("INCOMPLETE  {first_line}")), "{said}");
        let page = self.page("page.incomplete.html");
        assert!(page.contains(&format!("<b>Incomplete</b>: {first_line}")), "{page}");
        assert_eq!(said.matches(first_line).count(), 1, "told once: {said}");
        json
    }

    fn assert_good(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        let json = self.json("json");
        let is = |field: &str, value: Value| assert_eq!(json[field], value, "{field}: {json}");
        is("complete", json!(true));
        is("incomplete_because", Value::Null);
        is("conserved", json!(true));
        is("failed", json!(0));
        is("unknown", json!(0));
        json
    }

    /// Nothing but the documents is left in its working directory.
    fn assert_tidy(&self) {
        let entries = fs::read_dir(self.folder.path().join("work")).expect("its folder");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.retain(|name| !["json.incomplete", "page.incomplete.html"].iter().any(|beside| name == beside));
        names.sort();
        assert_eq!(names, ["json", "page.html"]);
    }

    fn assert_files_untouched(&self) {
        for file in ["json", "page.html"] {
            let content = fs::read_to_string(self.folder.path().join("work").join(file)).expect("a file");
            assert_eq!(content, EARLIER);
        }
    }
}

fn new_folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(target_folder()).expect("a folder");
    fs::create_dir(folder.path().join("work")).expect("a folder");
    folder
}

fn number(json: &Value, field: &str) -> f64 {
    json[field].as_f64().unwrap_or_else(|| panic!("{field} is no number: {json}"))
}

/// The processes that this one has started, in the order of their start.
fn children_of(parent: u32) -> Vec<Pid> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        // What ends meanwhile cannot be read.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // After the name in parentheses: state, parent; the start is the 22nd field of all.
        let Some((_, fields)) = stat.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = fields.split(' ').collect();
        if fields[1].parse() == Ok(parent) && fields[0] != "Z" {
            let pid = stat.split(' ').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
            children.push((fields[19].parse::<u64>().expect("a time"), pid.expect("a process id")));
        }
    }
    children.sort_by_key(|(begun, pid)| (*begun, pid.as_raw_nonzero()));
    children.into_iter().map(|(_, pid)| pid).collect()
}

/// The port at which a process listens, if it does yet.
fn listening_port(pid: Pid) -> Option<u16> {
    let proc = format!("/proc/{}", pid.as_raw_nonzero());
    let descriptors = fs::read_dir(format!("{proc}/fd")).ok()?.flatten();
    let sockets: Vec<String> = descriptors
        .filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned()))
        .filter_map(|target| Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let table = fs::read_to_string(format!("{proc}/net/tcp")).ok()?;
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = fields[3] == "0A" && sockets.iter().any(|inode| inode == fields[9]);
        listens.then(|| u16::from_str_radix(fields[1].split(':').nth(1)?, 16).ok()).flatten()
    })
}

/// What a node says of itself.
fn stats(address: &str) -> Value {
    let output = Command::new(assent()).args(["stats", "--json", address]).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let documents = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON"));
    documents.into_iter().find(|node: &Value| node["address"] == address).unwrap_or_default()
}

/// How many transactions a coordinator was asked for; none if it does not answer yet.
fn requests(coordinator: &str) -> u64 {
    stats(coordinator)["requests"].as_u64().unwrap_or_default()
}

fn remove_leftovers(coordinator: &str) -> String {
    let args = ["bench", "--coordinator", coordinator, "--remove-leftovers"];
    let output = Command::new(assent()).args(args).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// How many rows benches have at this cluster.
fn rows_of_benches(coordinator: &str) -> usize {
    run(async {
        let client = Client::connect(coordinator, Options::default()).await.expect("the coordinator is there");
        let scan = Transaction::new().scan("bench", "bencj", 0);
        let outcome = client.submit(scan).await.expect("an outcome");
        let Outcome::Committed { results: Some(results) } = outcome else { panic!("{outcome:?}") };
        let [OperationResult::Rows { rows, .. }] = &results[..] else { panic!("{results:?}") };
        rows.len()
    })
}

#[test]
fn a_node_that_dies_ends_the_bench_with_the_figures_so_far() {
    let mut bench = Bench::start(&["--participants", "2", "--duration", LONG]);
    let nodes = bench.runs_on_own_nodes(3);
    kill_process(nodes[1], Signal::KILL).expect("it can be killed");
    let ended = bench.end(END_WAIT);
    let json = ended.assert_incomplete(3, &["participant 2 has ended by itself (signal 9)"]);
    assert!(number(&json, "committed") > 0.0 && number(&json, "duration_s") < 100.0, "{json}");
    assert_eq!((&json["conserved"], &json["cpu_us_per_txn"]), (&Value::Null, &Value::Null));
    assert_eq!(json["cluster"]["at_least"], json!(true));
    assert!(json["cluster"]["without_last_figures"][0].as_str().expect("a node").starts_with("participant 2"));
    assert!(json["cluster"]["log"]["groups"].as_u64() > Some(0), "what was known of the nodes is kept: {json}");
    ended.assert_tidy();
}

#[test]
fn a_node_that_stands_still_ends_the_bench_with_the_figures_so_far() {
    let mut bench = Bench::start(&["--participants", "2", "--duration", LONG, "--node-timeout", "1s"]);
    let nodes = bench.runs_on_own_nodes(3);
    kill_process(nodes[0], Signal::STOP).expect("it can be stopped");
    let ended = bench.end(END_WAIT);
    let json = ended.assert_incomplete(3, &["participant 1 at", "has not answered for 1."]);
    assert!(ended.took < Duration::from_secs(15), "{:?}", ended.took);
    assert!(number(&json, "committed") > 0.0 && number(&json, "unknown") > 0.0, "{json}");
    assert!(nodes.iter().all(|node| !Path::new(&format!("/proc/{}", node.as_raw_nonzero())).exists()));
    ended.assert_tidy();
}

#[test]
fn ctrl_c_ends_the_bench_with_the_figures_so_far() {
    let mut bench = Bench::start(&["--participants", "2", "--duration", LONG]);
    let nodes = bench.runs_on_own_nodes(3);
    bench.signal(Signal::INT);
    let ended = bench.end(END_WAIT);
    let json = ended.assert_incomplete(1, &["interrupted by SIGINT"]);
    assert!(number(&json, "committed") > 0.0, "{json}");
    assert_eq!(json["conserved"], json!(true), "the nodes are there, so the money is counted");
    ended.assert_tidy();
    assert!(nodes.iter().all(|node| !Path::new(&format!("/proc/{}", node.as_raw_nonzero())).exists()));
}

#[test]
fn a_terminal_that_is_closed_ends_the_bench_as_sigterm_does() {
    let folder = new_folder();
    let terminal = tests::terminal::Terminal::open();
    let args = ["bench", "--participants", "2", "--duration", LONG, "--accounts", "200", "--clients", "8"];
    // Its own session, so that the terminal is its own: closing it sends SIGHUP, and nothing can be written there any more.
    let child = Command::new("setsid")
        .arg("--ctty")
        .arg(assent())
        .args(args)
        .args(["--json", "json"])
        .current_dir(folder.path().join("work"))
        .stdin(terminal.other_end())
        .stdout(terminal.other_end())
        .stderr(terminal.other_end())
        .spawn()
        .expect("setsid runs");
    for name in ["stdout", "stderr"] {
        fs::write(folder.path().join(name), "").expect("a file");
    }
    let mut bench = Bench { child, folder };
    let nodes = bench.runs_on_own_nodes(3);
    drop(terminal);
    let ended = bench.end(END_WAIT);
    assert_eq!(ended.code, Some(1));
    let json = ended.json("json");
    assert_eq!(json["incomplete_because"], json!("interrupted by SIGHUP"));
    assert!(nodes.iter().all(|node| !Path::new(&format!("/proc/{}", node.as_raw_nonzero())).exists()));
    let left = fs::read_dir(ended.folder.path().join("work")).expect("its folder").count();
    assert_eq!(left, 1, "nothing but the figures");
}

#[test]
fn a_deadline_too_short_for_anything_is_that_of_the_run_alone() {
    let ended = Bench::start(&["--participants", "2", "--duration", "1s", "--deadline", "3ms"]).end(END_WAIT);
    let json = ended.json("json");
    assert_eq!((&json["complete"], &json["conserved"]), (&json!(true), &json!(true)), "{}", ended.stderr);
}

#[test]
fn sigterm_ends_a_bench_at_a_running_cluster_and_leaves_nothing_there() {
    let cluster = Cluster::start(2, &[]);
    let mut bench = Bench::start(&["--coordinator", &cluster.coordinator.address, "--duration", LONG, "--rate", "500"]);
    bench.runs_at(&cluster.coordinator.address);
    bench.signal(Signal::TERM);
    let ended = bench.end(END_WAIT);
    let json = ended.assert_incomplete(1, &["interrupted by SIGTERM"]);
    assert_eq!(json["conserved"], json!(true), "{json}");
    let [scheduled, begun] = [number(&json, "scheduled"), number(&json, "duration_s") * 500.0];
    assert!(scheduled <= begun + 1.0, "what was not due yet was not scheduled: {json}");
    let counted: f64 = ["committed", "aborted", "failed", "unknown"].iter().map(|field| number(&json, field)).sum();
    assert_eq!(counted, scheduled, "{json}");
    assert_eq!(rows_of_benches(&cluster.coordinator.address), 0);
    ended.assert_tidy();
}

#[test]
fn an_interrupt_before_anything_is_measured_leaves_earlier_figures_alone() {
    // Opening so many accounts takes long.
    let mut bench = Bench::start(&["--participants", "2", "--accounts", "2000000"]);
    bench.nodes(1);
    bench.signal(Signal::INT);
    let ended = bench.end(END_WAIT);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("interrupted"), "{}", ended.stderr);
    ended.assert_files_untouched();
    ended.assert_tidy();
}

#[test]
fn a_coordinator_that_is_gone_ends_the_bench_with_the_figures_so_far_and_then_spares_earlier_ones() {
    let mut cluster = Cluster::start(2, &[]);
    let address = cluster.coordinator.address.clone();
    let args = ["--coordinator", &address, "--duration", LONG, "--node-timeout", "2s"];
    let mut bench = Bench::start(&args);
    bench.runs_at(&address);
    cluster.coordinator.kill();
    let ended = bench.end(END_WAIT);
    let json = ended.assert_incomplete(3, &["coordinator 1 at", &address, "has not answered for 2."]);
    assert!(ended.took < Duration::from_secs(15), "{:?}", ended.took);
    assert!(number(&json, "committed") > 0.0 && number(&json, "unknown") > 0.0, "{json}");
    let reason = json["incomplete_because"].as_str().expect("a reason");
    assert!(!reason.contains("cannot reach") && reason.matches(&address).count() == 1, "told once: {reason}");
    // Its accounts are where nobody can remove them now: that is told, with what to do.
    assert!(ended.stderr.contains("--remove-leftovers"), "{}", ended.stderr);

    let ended = Bench::start(&args).end(END_WAIT);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    ended.assert_files_untouched();
    ended.assert_tidy();

    cluster.coordinator.start();
    assert!(remove_leftovers(&address).starts_with("removed: run "));
    assert_eq!(rows_of_benches(&address), 0);
}

#[test]
fn a_deadline_that_passes_leaves_the_money_uncounted_and_the_figures_there() {
    let cluster = Cluster::start(2, &[]);
    let address = &cluster.coordinator.address;
    let args = ["--duration", "3s", "--deadline", "300ms", "--node-timeout", "60s"];
    let mut bench = Bench::start(&[&["--coordinator", address][..], &args].concat());
    bench.runs_at(address);
    cluster.participants[0].freeze();
    let ended = bench.end(END_WAIT);
    cluster.participants[0].thaw();
    let json = ended.assert_incomplete(3, &["the money was not counted"]);
    assert!(number(&json, "committed") > 0.0 && number(&json, "failed") > 0.0, "{json}");
    assert!(number(&json, "duration_s") < 5.0, "the duration is that of the run: {json}");
    assert_eq!((&json["conserved"], &json["money"]), (&Value::Null, &Value::Null));
    let silent = json["cluster"]["without_last_figures"].as_array().expect("a list");
    assert!(silent.len() == 1 && silent[0].as_str().is_some_and(|node| node.starts_with("participant 1")), "{json}");
}

#[test]
fn two_benches_at_one_cluster_do_not_meet() {
    let cluster = Cluster::start(2, &[]);
    let address = &cluster.coordinator.address;
    let args = ["--coordinator", address, "--duration", "3s", "--clients", "4"];
    // The second one's balances differ: with accounts in common, both would miss money.
    let one = Bench::start(&args);
    let two = Bench::start(&[&args[..], &["--balance", "77", "--seed", "2"]].concat());
    let (one, two) = (one.end(Duration::from_secs(60)), two.end(Duration::from_secs(60)));
    let (one, two) = (one.assert_good(), two.assert_good());
    assert_ne!(one["run"], two["run"]);
    for json in [&one, &two] {
        assert!(number(json, "committed") > 0.0 && number(json, "requests_of_others") > 0.0, "{json}");
        assert_eq!(json["cpu_us_per_txn"], Value::Null, "the nodes' work is not that of one bench: {json}");
    }
    assert_eq!(one["money"]["sum"], json!(200 * 1_000));
    assert_eq!(two["money"]["sum"], json!(200 * 77));
    assert_eq!(rows_of_benches(address), 0);

    let alone = Bench::start(&["--coordinator", address, "--duration", "1s"]).end(Duration::from_secs(60));
    let alone = alone.assert_good();
    assert_eq!(alone["requests_of_others"], json!(0));
    assert!(number(&alone, "cpu_us_per_txn") > 0.0, "{alone}");
}

#[test]
fn money_that_is_missing_and_accounts_that_are_gone_are_told() {
    let cluster = Cluster::start(2, &[]);
    let address = &cluster.coordinator.address;
    let args = ["--coordinator", address, "--duration", "3s"];
    let mut bench = Bench::start(&args);
    bench.runs_at(address);
    run(async {
        let client = Client::connect(address.as_str(), Options::default()).await.expect("the coordinator is there");
        let outcome = client.submit(Transaction::new().scan("bench/", "bench0", 1)).await.expect("an outcome");
        let Outcome::Committed { results: Some(results) } = outcome else { panic!("{outcome:?}") };
        let [OperationResult::Rows { rows, .. }] = &results[..] else { panic!("{results:?}") };
        let theft = Transaction::new().add(rows[0].0.clone(), -1_000_000);
        let outcome = client.submit(theft).await.expect("an outcome");
        assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    });
    let ended = bench.end(Duration::from_secs(60));
    let json = ended.json("json");
    assert_eq!((ended.code, &json["complete"], &json["conserved"]), (Some(1), &json!(true), &json!(false)), "{json}");
    assert_eq!((&json["money"]["sum"], &json["money"]["below_zero"]), (&json!(200_000 - 1_000_000), &json!(1)));
    assert!(json["requests_of_others"].as_u64() >= Some(2), "{json}");
    let told =
        "NOT CONSERVED: 200 accounts hold -800000, 1 of them less than zero; 200 accounts with 200000 were opened";
    assert!(ended.stdout.contains(told) && ended.stderr.is_empty(), "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.page("page.html").contains("NOT conserved"));

    let mut bench = Bench::start(&args);
    bench.runs_at(address);
    remove_leftovers(address);
    let ended = bench.end(Duration::from_secs(60));
    let json = ended.assert_incomplete(1, &["someone has removed the accounts of this run"]);
    assert_eq!(json["conserved"], Value::Null);
}

#[test]
fn nodes_that_are_started_again_while_the_bench_runs_are_named() {
    let mut cluster = Cluster::start(2, &[]);
    let address = cluster.coordinator.address.clone();
    let args = ["--coordinator", &address, "--duration", "8s", "--node-timeout", "60s", "--deadline", "60s"];
    let mut bench = Bench::start(&args);
    bench.runs_at(&address);
    let groups_before = stats(&address)["groups"].as_u64().expect("a number");
    for place in [0, 2] {
        let node = cluster.node(place);
        node.kill();
        node.start();
    }
    let ended = bench.end(Duration::from_secs(90));
    let json = ended.json("json");
    assert_eq!(json["complete"], json!(true), "{json}");
    assert_eq!(json["conserved"], json!(true), "{json}");
    let restarts = json["restarts"].as_array().expect("a list");
    let named: Vec<&str> = restarts.iter().filter_map(|restart| restart["node"].as_str()).collect();
    assert_eq!(named, [format!("coordinator 1 at {address}"), format!("participant 2 at {}", cluster.node(2).address)]);
    for (restart, name) in restarts.iter().zip(named) {
        assert_eq!(restart["times"], json!(1));
        assert!((0.0..10.0).contains(&number(restart, "seen_at_s")), "{json}");
        assert!(ended.stdout.contains(&format!("restarted   {name}")), "{}", ended.stdout);
    }
    assert_eq!((&json["cluster"]["at_least"], &json["cpu_us_per_txn"]), (&json!(true), &Value::Null));
    assert!(ended.stdout.contains("at least"), "{}", ended.stdout);
    let duration = number(&json, "duration_s");
    assert!((8.0..20.0).contains(&duration), "{json}");
    // More than the coordinator had logged at first is in the sum, though its own counters have begun anew.
    assert!(json["cluster"]["log"]["groups"].as_u64() > Some(groups_before), "{json}");
}

#[test]
fn a_bench_that_was_killed_leaves_what_the_next_one_names_and_a_command_removes() {
    let cluster = Cluster::start(2, &[]);
    let address = &cluster.coordinator.address;
    let mut killed = Bench::start(&["--coordinator", address, "--duration", LONG]);
    killed.runs_at(address);
    killed.child.kill().expect("it can be killed");
    let killed = killed.end(END_WAIT);
    killed.assert_files_untouched();
    let left = rows_of_benches(address);
    assert!(left > 200, "{left}");

    let next = Bench::start(&["--coordinator", address, "--duration", "1s"]).end(Duration::from_secs(60));
    next.assert_good();
    assert!(next.stderr.contains("there is also run ") && next.stderr.contains("200 accounts"), "{}", next.stderr);
    assert_eq!(rows_of_benches(address), left, "what is not its own it does not touch");

    assert!(remove_leftovers(address).contains("200 accounts"));
    assert_eq!(rows_of_benches(address), 0);
    assert_eq!(remove_leftovers(address), "nothing to remove\n");
}

#[test]
fn what_did_not_happen_is_null_and_a_dash() {
    let args = ["--participants", "2", "--duration", "1s", "--abort", "1", "--clients", "1"];
    let ended = Bench::start(&args).end(Duration::from_secs(60));
    let json = ended.assert_good();
    let nothing = json!({ "p50": null, "p95": null, "p99": null, "p999": null, "max": null });
    assert_eq!((&json["committed"], &json["latency_us"]), (&json!(0), &nothing));
    assert_eq!((&json["cpu_us_per_txn"], &json["scheduled"]), (&Value::Null, &Value::Null));
    assert!(number(&json, "aborted") > 0.0 && number(&json["abort_latency_us"], "p50") > 0.0, "{json}");
    let row = ended.stdout.lines().find(|line| line.starts_with("committed")).expect("a row");
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["committed", "0", "0", "-", "-", "-", "-", "-"]);
    assert!(ended.stdout.contains("- for each committed transaction"), "{}", ended.stdout);
    assert!(ended.stdout.contains("2 participants, 1 client, 1."), "{}", ended.stdout);
    assert!(
        !ended.stdout.contains("scheduled") && !ended.page("page.html").contains("scheduled"),
        "a closed loop has no schedule"
    );
    assert!(ended.page("page.html").contains("no committed transaction"));
    ended.assert_tidy();
}

#[test]
fn figures_go_to_standard_output_alone_and_two_documents_to_one_place_are_refused() {
    let small = ["--participants", "2", "--duration", "1s", "--accounts", "200", "--clients", "8"];
    let bench = |more: &[&str]| {
        Bench::start_in(new_folder(), &[&["bench"], &small[..], more].concat()).end(Duration::from_secs(60))
    };
    let ended = bench(&["--rate", "200", "--json", "-"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let json: Value = serde_json::from_str(&ended.stdout).expect("one document, and nothing else");
    assert_eq!((&json["complete"], &json["scheduled"]), (&json!(true), &json!(200)));
    assert!(ended.stderr.contains("200 transactions scheduled"), "the table: {}", ended.stderr);

    for (json, report) in [("x", "x"), ("x", "./x"), ("-", "-"), ("-", "/dev/stdout")] {
        let ended = bench(&["--json", json, "--report", report]);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(ended.code == Some(2) && said.contains("name the same place"), "{said}");
        assert_eq!(fs::read_dir(ended.folder.path().join("work")).expect("a folder").count(), 0);
    }
}
