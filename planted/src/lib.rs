//! Planted bugs: mistakes that the product does not make, to see whether the simulator would find them.
//!
//! In the product one reads as a short condition at the line that it breaks: `if due && !planted!("seal-forgotten")`. Only a
//! build with `RUSTFLAGS="--cfg planted"` contains any; in every other one `planted!` is the constant `false`. There, one bug
//! at a time is on, in one thread, while [`with`] runs something.
//!
//! Not here: running seeds until a bug is found (`tests/src/sim/plant.rs`); the tests that find those that no seed shows
//! (`tests/tests/all/planted.rs`).

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bug {
    /// What `planted!` and `sim --plant` call it.
    pub name: &'static str,
    /// What it breaks.
    pub breaks: &'static str,
    /// Whether simulated worlds show it. Others show only in what simulated nodes never say, or too rarely: a test of one
    /// machine finds these.
    pub is_simulated: bool,
}

const fn bug(name: &'static str, breaks: &'static str) -> Bug {
    Bug { name, breaks, is_simulated: true }
}

const fn bug_of_one_machine(name: &'static str, breaks: &'static str) -> Bug {
    Bug { name, breaks, is_simulated: false }
}

/// Every planted bug.
pub const BUGS: &[Bug] = &[
    bug("vote-ungated", "a vote leaves before its promise is durable"),
    bug("read-ungated", "the answer to a read leaves before what it read is durable"),
    bug("one-phase-ungated", "a participant says that it has committed in one phase before that is durable"),
    bug("commit-ungated", "commits leave before the decision is durable"),
    bug("ack-ungated", "an acknowledgement leaves before the outcome is durable"),
    bug("answer-ungated", "the client is told \"committed\" before the decision is durable"),
    bug("outcomes-forgotten", "a checkpoint forgets the outcomes that are remembered"),
    bug("payload-unchecked", "recovery takes a group whose checksum is wrong"),
    bug("durable-mark-ignored", "recovery cuts off damage below the durable mark as if it were torn"),
    bug("last-group-skipped", "recovery leaves out the last group of a segment"),
    bug("checkpoint-early", "the superblock names a checkpoint that is not durable yet"),
    bug("seal-forgotten", "an idle log is not sealed"),
    bug("last-slice-forgotten", "a checkpoint forgets its last slice of the table"),
    bug("failure-ignored", "a log goes on after a failed write"),
    bug("short-write-taken", "a short write counts as a whole one"),
    bug("needed-segment-freed", "a checkpoint frees the segment in which it begins"),
    bug("segment-unlisted", "a segment is written to before a superblock lists it"),
    bug("space-forgotten", "a log that found no space does not try again"),
    bug("opening-uncounted", "an opening of the log does not raise its number"),
    bug("promises-forgotten", "a checkpoint forgets the promises"),
    bug("doubt-aborted", "a participant in doubt loses patience and aborts"),
    bug("doubt-unasked", "a participant in doubt does not ask"),
    bug("locks-dropped", "a promise does not keep its locks"),
    bug("retry-done-anew", "a participant does again what it has committed"),
    bug("refusal-forgotten", "a one-phase attempt that was refused is taken when it comes again"),
    bug("participant-unbounded", "a participant takes more transactions than it may"),
    bug("upgrade-forgotten", "a key that is read and written is locked for reading only"),
    bug("read-locks-dropped", "locks for reading end with the vote"),
    bug("read-locks-unlogged", "a promise does not name its locks for reading, and a restart drops them"),
    bug("scans-unlocked", "scans lock nothing"),
    bug("commit-unlogged", "a participant does not log the outcome"),
    bug("old-abort-taken", "an abort of an earlier attempt ends the present one"),
    bug("late-vote-counted", "a vote on an earlier attempt counts for the present one"),
    bug("vote-counted-twice", "a vote that comes twice counts for another participant"),
    bug("no-ignored", "a coordinator takes a NO as agreement"),
    bug(
        "reader-not-held-back",
        "the branch that only reads is asked with the others, and lets go of its locks at once",
    ),
    bug("one-phase-given-up", "a coordinator aborts in one phase although the participant may have committed"),
    bug("timer-unset", "a decision is not told again if its acknowledgement stays away"),
    bug("decision-not-replayed", "a coordinator that starts again has forgotten its decisions"),
    bug("epoch-not-raised", "a coordinator that starts again keeps its epoch"),
    bug("loss-unheard", "a node that is told of a record that its log has lost goes on"),
    bug("decisions-forgotten", "a checkpoint forgets the decisions that are not acknowledged"),
    bug("id-reused", "a coordinator answers another transaction under a known id as if it were the first"),
    bug("coordinator-unbounded", "a coordinator begins more transactions than it may"),
    bug("gate-ignored", "the gate lets everything go at the end of a turn"),
    bug("last-message-dropped", "the last message that has arrived is not heard"),
    bug("length-trusted", "recovery reads as many bytes as a group's length says before that was checked"),
    bug("again-counted", "a record that a checkpoint logs again counts as another record"),
    bug("record-replayed-twice", "recovery hands out each record once more after the next one"),
    bug("loss-acknowledged", "a participant acknowledges the commit of a promise that it does not have"),
    bug("locks-leaked", "a transaction that is refused keeps its locks"),
    bug_of_one_machine("stale-epoch-taken", "a participant takes a prepare of an earlier epoch of its coordinator"),
    bug("stale-process-taken", "a process is accepted that a later one of the same log has replaced"),
    bug("copy-taken", "a process on a copy of a log is accepted beside the one under the same epoch"),
    bug("other-log-taken", "a process is accepted whose log is another than the number's"),
    bug("succession-unchecked", "a process goes on although its log knows nothing of the one that it follows"),
    bug("fence-unlogged", "a participant or a coordinator forgets with a crash which process it had accepted"),
    bug("replacement-unlogged", "a participant forgets with a crash that an operator has given up a coordinator's log"),
    bug_of_one_machine("stranger-obeyed", "a participant obeys a process of a coordinator that it has not accepted"),
    bug_of_one_machine(
        "stranger-heard",
        "a coordinator listens to a process of a participant that it has not accepted",
    ),
    bug_of_one_machine("abort-forgotten", "a late copy of a prepare begins an attempt anew that was aborted"),
    bug_of_one_machine("epoch-ahead-taken", "a participant takes a prepare of a later epoch than its sender's"),
    bug_of_one_machine(
        "one-phase-of-several",
        "a participant takes a prepare in one phase that lists several participants",
    ),
    bug("claims-after-questions", "a participant asks what was decided before the coordinator's claim was judged"),
    bug("outbox-unbounded", "any number of bytes may wait for a connection"),
    bug("silence-ignored", "a coordinator decides without a vote that is missing"),
];

/// Whether this build contains them.
pub const CONTAINED: bool = cfg!(planted);

/// What `planted!` is where they are not contained.
pub const NEVER: bool = false;

/// Whether there is a bug of this name.
#[must_use]
pub const fn is_known(name: &str) -> bool {
    let mut at = 0;
    while at < BUGS.len() {
        if is_same(BUGS[at].name.as_bytes(), name.as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// Whether a planted bug is on. A name that is not in the list does not compile.
#[macro_export]
#[cfg(planted)]
macro_rules! planted {
    ($name:literal) => {{
        const { assert!($crate::is_known($name), "this bug is not in the list") };
        $crate::is_on($name)
    }};
}

/// Whether a planted bug is on: never. A name that is not in the list does not compile.
#[macro_export]
#[cfg(not(planted))]
macro_rules! planted {
    ($name:literal) => {{
        const { assert!($crate::is_known($name), "this bug is not in the list") };
        $crate::NEVER
    }};
}

#[cfg(planted)]
thread_local! {
    static ON: std::cell::Cell<Option<&'static str>> = const { std::cell::Cell::new(None) };
}

/// Whether this bug is on in this thread.
#[cfg(planted)]
#[must_use]
pub fn is_on(name: &str) -> bool {
    ON.get() == Some(name)
}

/// Runs something in this thread with a bug on, or with none; a panic turns it off as well.
#[cfg(planted)]
pub fn with<T>(name: Option<&'static str>, run: impl FnOnce() -> T) -> T {
    struct Off;
    impl Drop for Off {
        fn drop(&mut self) {
            ON.set(None);
        }
    }
    ON.set(name);
    let _off = Off;
    run()
}

/// Runs something: there are no bugs in this build.
#[cfg(not(planted))]
pub fn with<T>(_: Option<&'static str>, run: impl FnOnce() -> T) -> T {
    run()
}
