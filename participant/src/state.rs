//! All of a participant's state as text: the same text, the same state. Whoever explores states tells them apart by it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;

use engine::Table;

use crate::machine::Participant;

impl fmt::Debug for Participant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Each field is named, so that a new one has to be thought of here.
        let Self {
            config: _, // never changes
            table,
            txns,
            held_bytes,
            partial_bytes,
            promises,
            locks,
            committed,
            refused,
            evidence,
            fencing,
            timers,
            granted,
            work,
            checkpoint_until,
            scratch: _, // overwritten before it is read
        } = self;
        f.debug_struct("Participant")
            .field("table", &Rows(table))
            .field("txns", &txns.iter().collect::<BTreeMap<_, _>>())
            .field("held_bytes", held_bytes)
            .field("partial_bytes", partial_bytes)
            .field("promises", promises)
            .field("locks", locks)
            .field("committed", committed)
            .field("refused", refused)
            .field("evidence", evidence)
            .field("fencing", fencing)
            .field("timers", timers)
            .field("granted", granted)
            .field("work", work)
            .field("checkpoint_until", checkpoint_until)
            .finish()
    }
}

/// What a table holds.
struct Rows<'a>(&'a Table);

impl fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = f.debug_map();
        let scanned = self.0.scan(b"", b"", &mut |key, value| {
            rows.entry(key, value);
            ControlFlow::Continue(())
        });
        match scanned {
            Ok(()) => rows.finish(),
            Err(error) => rows.entry(&"unreadable", &error).finish(),
        }
    }
}
