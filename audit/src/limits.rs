//! Every maximum of an audit, with its reason.

/// Findings that are told one by one; what exceeds them is counted. More say nothing new.
pub const FINDINGS_MAX: usize = 10_000;

/// Transactions in doubt that are told one by one; what exceeds them is counted.
pub const IN_DOUBT_MAX: usize = 10_000;

/// Events of one log since its checkpoint that are kept, at some 100 bytes each: many times what a log holds that
/// makes checkpoints. What exceeds them is not judged, and the log counts as not read whole.
pub const EVENTS_MAX: usize = 16 << 20;

/// Parts of one log that cannot be read and are told one by one; further ones are one part with all that follows.
pub const UNREAD_MAX: usize = 10_000;
