//! All of a coordinator's state as text: the same text, the same state. Whoever explores states tells them apart by it.

use std::collections::BTreeMap;
use std::fmt;

use crate::machine::Coordinator;

impl fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Each field is named, so that a new one has to be thought of here.
        let Self {
            config: _, // never changes
            fencing,
            bins,
            txns,
            load,
            paces,
            answers,
            committed,
            aborted,
            read,
            questions,
            last_question,
            evidence,
            accepted_by,
            claimed_at,
            doubts,
            timers,
            last_admitted_us,
            checkpoint_until,
            scratch: _, // overwritten before it is read
        } = self;
        let checksum = |sum: u64, owner: &u32| sum.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*owner);
        f.debug_struct("Coordinator")
            .field("fencing", fencing)
            .field("bins", &bins.as_ref().map(|bins| bins.owners().iter().fold(0, checksum)))
            .field("txns", &txns.iter().collect::<BTreeMap<_, _>>())
            .field("load", load)
            .field("paces", paces)
            .field("answers", answers)
            .field("committed", committed)
            .field("aborted", aborted)
            .field("read", read)
            .field("questions", &questions.iter().collect::<BTreeMap<_, _>>())
            .field("last_question", last_question)
            .field("evidence", evidence)
            .field("accepted_by", accepted_by)
            .field("claimed_at", claimed_at)
            .field("doubts", doubts)
            .field("timers", timers)
            .field("last_admitted_us", last_admitted_us)
            .field("checkpoint_until", checkpoint_until)
            .finish()
    }
}
