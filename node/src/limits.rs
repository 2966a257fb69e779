//! Every maximum of a node that is not a setting, with its reason; and the bounds of the settings.

use std::time::Duration;

use protocol::limits::FRAME_BYTES_MAX;

/// Read buffer of a connection that is quiet, so that thousands of idle ones cost little.
pub const READ_BYTES_MIN: usize = 4 << 10;

/// Read buffer of a connection that keeps filling it: one frame of the usual size.
pub const READ_BYTES_MAX: usize = 256 << 10;

/// Reads that use less than a quarter of the buffer before it shrinks again.
pub const SMALL_READS_BEFORE_SHRINKING: u32 = 64;

/// Bytes of unfinished frames on all connections together: what many half-senders can make a node
/// hold. Past it the one that has waited longest for its rest is closed.
pub const UNFINISHED_BYTES_MAX: usize = 256 << 20;

/// How long the rest of a begun frame may take. The largest frame on a slow line is well within it.
pub const FRAME_TIMEOUT: Duration = Duration::from_secs(30);

/// Smallest `network.outbox`: a full frame waiting for the disk, and one on its way.
pub const OUTBOX_BYTES_MIN: usize = 2 * FRAME_BYTES_MAX;

/// How many times `network.outbox` may wait for a node before its link is closed. What it asks for
/// is answered only while less than half of `network.outbox` waits, but timers and released locks
/// post without being asked; closing the link would have them post it all again.
pub const NODE_OUTBOX_FACTOR: usize = 4;

/// How many times `network.outbox` may wait for all clients together. Past half of it a client is not read from while its
/// share is more than that of others; past it the one for which most waits is closed.
pub const CLIENT_OUTBOXES_FACTOR: usize = 2;

/// What may wait for one client however many there are: a client that takes its answers is not held up.
pub const OUTBOX_SHARE_BYTES_MIN: usize = 256 << 10;

/// `AskStats` in one frame. A question is one byte and its answer thousands, so a full frame of
/// them would be millions of answers; nobody needs more than one.
pub const ASK_STATS_PER_FRAME_MAX: usize = 16;

/// Entries of a queue of messages whose memory is kept when it is empty; a larger one, as a flood
/// leaves it behind, is given back.
pub const KEPT_QUEUE_ENTRIES_MAX: usize = 65_536;

/// Buffers of an outbox that have grown beyond this are given back when they are empty.
pub const KEPT_BUFFER_BYTES_MAX: usize = 1 << 20;

/// First pause before a peer is dialled again; it doubles up to [`DIAL_PAUSE_MAX`].
pub const DIAL_PAUSE_MIN: Duration = Duration::from_millis(10);

/// Longest pause before a peer is dialled again: a peer that is back serves within a second.
pub const DIAL_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long one attempt to connect may take.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a node that was asked may say nothing at all before that is told, in microseconds: several turns of any timer.
pub const SILENT_US: u64 = 3_000_000;

/// Nodes that are remembered to be gone, so that it can be told when they are back: all that a participant serves, and more.
pub const GONE_NODES_MAX: usize = 1_024;

/// Reasons why a node is not connected that are remembered, so that each is told once: more than take turns.
pub const REASONS_MAX: usize = 8;

/// Pause after the system refused to accept a connection (no file descriptors, no memory).
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Silence after which the kernel asks whether the other end still exists.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(20);

/// Pause between two such questions.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Unanswered questions after which a connection is dead.
pub const KEEPALIVE_PROBES: u32 = 3;

/// How long sent bytes may stay unacknowledged. Longer than any pause of a living peer's kernel.
pub const UNACKNOWLEDGED_MS_MAX: u32 = 30_000;

/// How often connections are looked over for those that have said nothing, or half of a frame.
pub const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Pace of a checkpoint whose slices write nothing: a turn must end in a park.
pub const CHECKPOINT_PACE_US: u64 = 1_000;

/// Certificates of earlier starts that are kept beside the newest.
pub const CERTIFICATES_KEPT: usize = 8;

/// Transactions in doubt that a certificate names; it counts them all.
pub const CERTIFICATE_TXNS_MAX: usize = 1_000;

/// What scrubbing reads at once: long against the cost of a read, short against what the log writes meanwhile.
pub const SCRUB_PIECE_BYTES: usize = 256 << 10;

/// Longest pause before the first pass of scrubbing: a start has better things to do with the disk.
pub const SCRUB_START_DELAY_MAX: Duration = Duration::from_secs(30);

/// How often a pass of scrubbing that found nothing new is told of: without a pause there are hundreds in a second.
pub const SCRUB_TELL_EVERY: Duration = Duration::from_secs(60);

/// Damaged places that are listed for one segment in one pass; those beyond are counted.
pub const SCRUB_SEGMENT_FINDINGS_MAX: usize = 16;

/// Damaged places that are remembered, so that each is reported once; those beyond are counted in each pass, until segments
/// are freed. A disk with so many needs no further list.
pub const SCRUB_FINDINGS_MAX: usize = 1_024;

/// How long a stopping node waits for its last records, and for its last answers to leave.
pub const STOP_FLUSH: Duration = Duration::from_secs(3);

/// How long a stopping node waits for its log to close.
pub const STOP_CLOSE: Duration = Duration::from_secs(10);

/// How long a starting node waits for its first records to become durable.
pub const START_DURABLE: Duration = Duration::from_secs(60);

/// Warnings of one kind within [`WARNING_WINDOW_US`]; the rest is counted.
pub const WARNINGS_MAX: u32 = 10;

/// See [`WARNINGS_MAX`].
pub const WARNING_WINDOW_US: u64 = 10_000_000;

/// Entries of the submission queue; a full one is submitted at once.
pub const RING_ENTRIES: u32 = 1_024;

/// Descriptors that a node opens besides its log and its connections: the ring, what the runtime waits on, the listener and the
/// handle that ends it, a segment that is scrubbed and the one after it, the certificate, and some to spare.
pub const NODE_DESCRIPTORS: u64 = 20;

/// Descriptors for a participant that is dialled: its connection, and what looks up its name meanwhile.
pub const DIAL_DESCRIPTORS: u64 = 3;

/// Which part of a participant's connections is for nodes alone, at least one and at most [`NODES_CONNECTIONS_MAX`].
pub const NODES_CONNECTIONS_PART: usize = 4;

/// As many as coordinators can be known to a participant.
pub const NODES_CONNECTIONS_MAX: usize = 256;

/// Connections that are accepted only to be refused, at once.
pub const REFUSED_CONNECTIONS_MAX: usize = 4;

/// Connections without which a node is of no use: it does not start with fewer.
pub const CONNECTIONS_MIN: usize = 4;

/// Descriptors that are taken to be open at the start where the system does not show them (no `/proc`).
pub const OPEN_AT_START_ASSUMED: u64 = 16;

/// What the memory budget of a participant is of what its control group or machine has, in percent: the rest is for what the kernel
/// holds for it, and for what comes up between two looks.
pub const MEMORY_BUDGET_PERCENT: u64 = 75;

/// Share of the budget below which there is memory again, in percent.
pub const MEMORY_FREED_PERCENT: u64 = 95;

/// How often it is looked at.
pub const MEMORY_LOOK_US: u64 = 50_000;

/// Least memory budget: below that nothing is left beside buffers.
pub const MEMORY_BYTES_MIN: u64 = 64 << 20;

/// Longest group write that the histogram tells apart, in microseconds.
pub const SYNC_US_MAX: u64 = 60_000_000;

const _: () = assert!(READ_BYTES_MIN < READ_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX < UNFINISHED_BYTES_MAX);
const _: () = assert!(KEPT_BUFFER_BYTES_MAX < OUTBOX_BYTES_MIN);
// Whatever a machine may promise fits in the smallest log.
const _: () =
    assert!(protocol::limits::RECORD_BYTES_MAX <= engine::limits::record_bytes_max(engine::limits::SEGMENT_BYTES_MIN));
