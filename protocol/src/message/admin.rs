//! What an operator asks of a daemon, and its figures.

use bytes::Bytes;

use crate::fields::{codes, family, field_ignored, field_named, field_put, fields, row};
use crate::id::Role;

codes! {
    /// What came of changing what is known of a peer.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum PeerChange {
        /// It is done, and durable.
        Done = 1,
        /// Nobody under this number was ever accepted here.
        NotKnown = 2,
        /// Promises are held that only it can decide.
        HasPromises = 3,
    }
}

fields! {
    /// A daemon's figures since it started.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Stats {
        /// Whose.
        pub role: Role,
        /// Which of them.
        pub node: u32,
        /// Groups written.
        pub groups: u64,
        /// Records written.
        pub records: u64,
        /// Bytes written, padding included.
        pub bytes: u64,
        /// Processor time used, in microseconds.
        pub cpu_us: u64,
        /// How long group writes took, in microseconds: a histogram in the V2 form of HdrHistogram.
        pub sync_us: Bytes,
        /// The addresses of the nodes that this one dials.
        pub peers: Vec<String>,
        /// Bytes of sealed segments that were read again in the background.
        pub scrubbed_bytes: u64,
        /// How often all of them were.
        pub scrub_passes: u64,
        /// Places where that found damage: those that the node has listed, and those beyond that the last pass counted.
        pub scrub_findings: u64,
        /// Up to where the log is durable.
        pub durable_lsn: u64,
        /// Which opening of its log this is: it rises with every start, and then all figures begin anew.
        pub opening: u64,
        /// Transactions that it was asked for: `Submit`s at a coordinator, `Prepare`s at a participant. One that comes again
        /// counts again.
        pub requests: u64,
    }
}

family! {
    /// What an operator and a daemon say to each other.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum AdminMessage in Admin {
        /// From now on take another log under this number; its own is lost for good.
        1: ReplaceLog {
            /// Whose log is lost.
            role: Role,
            /// Its number.
            node: u32,
        }, Client -> Daemon, AtOnce;
        /// Forget a coordinator's number; it will not come back.
        2: Retire {
            /// The coordinator's number.
            node: u32,
        }, Client -> Participant, AtOnce;
        /// The answer to `ReplaceLog` and `Retire`.
        3: PeerChanged {
            /// What came of it.
            outcome: PeerChange,
            /// The latest epoch that was accepted under the number: its successor needs a higher one.
            epoch: u32,
            /// Promises here that its coordinator has not decided.
            in_doubt: u32,
        }, Daemon -> Client, Durable;
        /// Your figures, please. Answered by the daemon, not by its machine.
        4: AskStats, Anyone -> Daemon, AtOnce;
        /// The answer to `AskStats`.
        5: Stats(Stats), Daemon -> Anyone, AtOnce;
    }
}
