//! The list of all settings: name, default, meaning, and how a text becomes a value. Not here:
//! where the texts come from (`config`).

use std::time::Duration;

use protocol::limits::PARTICIPANTS_MAX;
use protocol::{ClusterId, Role};

use crate::config::Config;
use crate::limits::{MEMORY_BYTES_MIN, OUTBOX_BYTES_MIN};
use crate::units::{bytes, duration, number, show_bytes, within};

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name in a configuration file; a dot separates section and name.
    pub key: &'static str,
    /// Its flag, without the dashes.
    pub flag: &'static str,
    /// Its environment variable.
    pub env: &'static str,
    /// What it holds, for a help text: `SIZE`, `DURATION`, `N`, ...
    pub value_name: &'static str,
    /// Its default; `None` if it has to be set.
    pub default: Option<&'static str>,
    /// One sentence.
    pub help: &'static str,
    /// The only role that has it; `None` if both have.
    pub only: Option<Role>,
    pub(crate) apply: fn(&mut Config, &str) -> Result<(), String>,
}

/// All settings of a role, in the order in which a help text should name them.
pub fn settings(role: Role) -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(move |setting| setting.only.is_none_or(|only| only == role))
}

macro_rules! setting {
    ($key:literal, $flag:literal, $env:literal, $value:literal, $default:expr, $only:expr, $help:literal, $apply:expr) => {
        Setting {
            key: $key,
            flag: $flag,
            env: $env,
            value_name: $value,
            default: $default,
            help: $help,
            only: $only,
            apply: $apply,
        }
    };
}

const HOUR: Duration = Duration::from_secs(3_600);
const P: Option<Role> = Some(Role::Participant);
const C: Option<Role> = Some(Role::Coordinator);

#[rustfmt::skip]
pub(crate) static SETTINGS: &[Setting] = &[
    setting!("id", "id", "ASSENT_ID", "N", None, None,
        "Number of this node among the nodes of its role, from 1",
        |c, t| number(t, 1, u64::from(u32::MAX - 1)).map(|n| c.node.number = n as u32)),
    setting!("listen", "listen", "ASSENT_LISTEN", "ADDR", None, None,
        "Address to listen on, like 127.0.0.1:7101; port 0 takes a free one",
        |c, t| parse_address(t).map(|a| c.node.listen = a)),
    setting!("data", "data", "ASSENT_DATA", "DIR", None, None,
        "Data directory; created if its parent exists",
        |c, t| non_empty(t).map(|d| c.node.data = d.into())),
    setting!("participants", "participant", "ASSENT_PARTICIPANTS", "ID=ADDR", None, C,
        "A participant and its address; repeat it for each, or separate several by commas",
        |c, t| peers(t).map(|p| c.node.peers = p)),
    setting!("cluster-id", "cluster-id", "ASSENT_CLUSTER_ID", "N", Some("1"), None,
        "Number of the cluster; nodes of different clusters refuse each other",
        |c, t| number(t, 0, u64::MAX).map(|n| c.node.cluster = ClusterId(n))),
    setting!("first-epoch", "first-epoch", "ASSENT_FIRST_EPOCH", "N", Some("1"), None,
        "Least epoch of this start: a new log that takes the place of one that was given up (`assent replace`) begins above its epochs",
        |c, t| number(t, 1, u64::from(u32::MAX - 1)).map(|n| c.node.first_epoch = n as u32)),
    setting!("log-level", "log-level", "ASSENT_LOG_LEVEL", "LEVEL", Some("info"), None,
        "Which log lines are written to standard error: error, warn, info, debug, trace, or per crate like info,node=debug",
        |c, t| t.parse().map(|levels| c.log_level = levels)),

    setting!("log.segment", "log-segment", "ASSENT_LOG_SEGMENT", "SIZE", Some("32MiB"), None,
        "Size of a log segment file; an existing log keeps its own",
        |c, t| size(t, engine::limits::SEGMENT_BYTES_MIN, engine::limits::SEGMENT_BYTES_MAX)
            .and_then(whole_blocks).map(|n| c.node.segment_bytes = n)),
    setting!("log.segments", "log-segments", "ASSENT_LOG_SEGMENTS", "N", Some("1024"), None,
        "Segments that the log may have at most; may be raised for an existing log",
        |c, t| number(t, engine::limits::SEGMENTS_MIN as u64, engine::limits::SEGMENTS_MAX as u64).map(|n| c.node.segments_max = n as usize)),
    setting!("log.checkpoint", "log-checkpoint", "ASSENT_LOG_CHECKPOINT", "SIZE", Some("128MiB"), None,
        "Log written between two checkpoints: bounds the time of a restart",
        |c, t| size(t, 1 << 20, 1 << 40).map(|n| c.node.checkpoint_bytes = n)),
    setting!("log.seal-idle", "log-seal-idle", "ASSENT_LOG_SEAL_IDLE", "DURATION", Some("20ms"), None,
        "Idle time after which the log is sealed, so that later damage to its last records is recognised",
        |c, t| span(t, Duration::from_millis(1), Duration::from_secs(60)).map(|d| c.node.seal_idle = d)),

    setting!("log.scrub-rate", "log-scrub-rate", "ASSENT_LOG_SCRUB_RATE", "SIZE", Some("8MiB"), None,
        "How much of the log's finished segments is read again each second, to find damage before they are needed; 0 turns it off",
        |c, t| size(t, 0, 1 << 40).map(|n| c.node.scrub_bytes_per_second = n)),
    setting!("log.scrub-pause", "log-scrub-pause", "ASSENT_LOG_SCRUB_PAUSE", "DURATION", Some("1h"), None,
        "Pause between two such passes over the log",
        |c, t| span(t, Duration::from_millis(1), 24 * 365 * HOUR).map(|d| c.node.scrub_pause = d)),

    setting!("network.connections", "network-connections", "ASSENT_NETWORK_CONNECTIONS", "N", Some("16384"), None,
        "Connections that may be accepted at once; the next one is refused. Those to participants are besides",
        |c, t| number(t, 1, 1_000_000).map(|n| c.node.connections_max = n as usize)),
    setting!("network.outbox", "network-outbox", "ASSENT_NETWORK_OUTBOX", "SIZE", Some("64MiB"), None,
        "Bytes that may wait for a client before its connection is closed, four times as many for a node; at half of it the other end is not listened to",
        |c, t| size(t, OUTBOX_BYTES_MIN as u64, 1 << 32).map(|n| c.node.outbox_bytes_max = n as usize)),
    setting!("network.hello-timeout", "network-hello-timeout", "ASSENT_NETWORK_HELLO_TIMEOUT", "DURATION", Some("5s"), None,
        "How long a connection may take to say who it is",
        |c, t| span(t, Duration::from_millis(10), Duration::from_secs(600)).map(|d| c.node.hello_timeout = d)),

    setting!("participant.in-flight-txns", "in-flight-txns", "ASSENT_IN_FLIGHT_TXNS", "N", Some("8192"), P,
        "Transactions that may wait or be prepared here at once; the next one is refused as busy",
        |c, t| number(t, 1, 10_000_000).map(|n| c.participant.in_flight_txns_max = n as usize)),
    setting!("participant.outcomes", "outcomes", "ASSENT_OUTCOMES", "N", Some("500000"), P,
        "Committed transactions that are remembered, so that a retry gets the outcome that it had",
        |c, t| number(t, 1_000, 100_000_000).map(|n| c.participant.outcomes_max = n as usize)),
    setting!("participant.memory-max", "memory-max", "ASSENT_MEMORY_MAX", "SIZE", Some("auto"), P,
        "Memory at which what would enlarge the table is refused; auto takes three quarters of the control group's limit, or of the machine's memory",
        |c, t| memory(t).map(|n| c.node.memory_max = n)),
    setting!("participant.ask-interval", "ask-interval", "ASSENT_ASK_INTERVAL", "DURATION", Some("1s"), P,
        "How long a prepared transaction stays silent before its coordinator is asked; doubles with each question",
        |c, t| span(t, Duration::from_millis(1), HOUR).map(|d| c.participant.ask_interval = d)),
    setting!("participant.ask-interval-max", "ask-interval-max", "ASSENT_ASK_INTERVAL_MAX", "DURATION", Some("8s"), P,
        "The longest pause between two such questions",
        |c, t| span(t, Duration::from_millis(1), HOUR).map(|d| c.participant.ask_interval_max = d)),

    setting!("coordinator.max-concurrent-txns", "max-concurrent-txns", "ASSENT_MAX_CONCURRENT_TXNS", "N", Some("4096"), C,
        "Transactions that may be under way at once; the next one is answered BUSY",
        |c, t| number(t, 1, 1_000_000).map(|n| c.coordinator.max_concurrent_txns = n as usize)),
    setting!("coordinator.prepare-timeout", "prepare-timeout", "ASSENT_PREPARE_TIMEOUT", "DURATION", Some("1s"), C,
        "How long votes are waited for at least before they are asked for again; longer where they have taken longer",
        |c, t| span(t, Duration::from_millis(1), HOUR).map(|d| c.coordinator.prepare_timeout = d)),
    setting!("coordinator.lock-wait", "lock-wait", "ASSENT_LOCK_WAIT", "DURATION", Some("500ms"), C,
        "How long an attempt may wait for locks at a participant before it is refused there",
        |c, t| span(t, Duration::from_millis(1), HOUR).map(|d| c.coordinator.lock_wait = d)),
    setting!("coordinator.retry-delay", "retry-delay", "ASSENT_RETRY_DELAY", "DURATION", Some("1ms"), C,
        "The first pause before a transaction that gave way is tried again; doubles each time",
        |c, t| span(t, Duration::from_millis(1), HOUR).map(|d| c.coordinator.retry_delay_min = d)),
    setting!("coordinator.retry-delay-max", "retry-delay-max", "ASSENT_RETRY_DELAY_MAX", "DURATION", Some("64ms"), C,
        "The longest such pause",
        |c, t| span(t, Duration::from_millis(1), HOUR).map(|d| c.coordinator.retry_delay_max = d)),
    setting!("coordinator.deadline", "deadline", "ASSENT_DEADLINE", "DURATION", Some("5s"), C,
        "The deadline of a transaction that states none",
        |c, t| span(t, Duration::from_millis(1), HOUR).map(|d| c.coordinator.deadline_default = d)),
    setting!("coordinator.deadline-max", "deadline-max", "ASSENT_DEADLINE_MAX", "DURATION", Some("60s"), C,
        "The longest deadline that is kept",
        |c, t| span(t, Duration::from_millis(1), HOUR).map(|d| c.coordinator.deadline_max = d)),
    setting!("coordinator.resend-interval", "resend-interval", "ASSENT_RESEND_INTERVAL", "DURATION", Some("1s"), C,
        "How long an acknowledgement may take before a decision is sent again; doubles up to eight times as much",
        |c, t| span(t, Duration::from_millis(1), HOUR).map(|d| c.coordinator.resend_interval = d)),
    setting!("coordinator.outcomes", "outcomes", "ASSENT_OUTCOMES", "N", Some("1000000"), C,
        "Committed transactions that are remembered after they have finished: what `status` can tell of",
        |c, t| number(t, 1_000, 100_000_000).map(|n| c.coordinator.outcomes_max = n as usize)),
    setting!("coordinator.aborts", "aborts", "ASSENT_ABORTS", "N", Some("65536"), C,
        "Aborted transactions that are remembered, in memory alone",
        |c, t| number(t, 0, 100_000_000).map(|n| c.coordinator.aborts_max = n as usize)),
];

fn size(text: &str, min: u64, max: u64) -> Result<u64, String> {
    within(bytes(text)?, min, max, show_bytes)
}

/// A size, or none for the one that is found out at the start.
fn memory(text: &str) -> Result<Option<u64>, String> {
    if text == "auto" { Ok(None) } else { size(text, MEMORY_BYTES_MIN, 1 << 48).map(Some) }
}

fn span(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    within(duration(text)?, min, max, |bound| humantime::format_duration(bound).to_string())
}

fn whole_blocks(found: u64) -> Result<u64, String> {
    let block = engine::limits::BLOCK_BYTES as u64;
    if found.is_multiple_of(block) {
        Ok(found)
    } else {
        Err(format!("{} is not a multiple of {}", show_bytes(found), show_bytes(block)))
    }
}

fn non_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// Reads `HOST:PORT`; whether the host exists is found out when it is used.
///
/// # Errors
/// If it is something else.
pub fn parse_address(text: &str) -> Result<String, String> {
    let valid = text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if valid {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not an address; write it like 127.0.0.1:7101 or [::1]:7101"))
    }
}

fn peers(text: &str) -> Result<Vec<(u32, String)>, String> {
    let mut peers: Vec<(u32, String)> = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let (id, place) = item
            .split_once('=')
            .ok_or_else(|| format!("{item:?} is not a participant; write it like 1=127.0.0.1:7101"))?;
        let id = number(id, 1, u64::from(u32::MAX - 1)).map_err(|reason| format!("{item:?}: {reason}"))? as u32;
        let place = parse_address(place.trim()).map_err(|reason| format!("participant {id}: {reason}"))?;
        if peers.iter().any(|(other, _)| *other == id) {
            return Err(format!("participant {id} is named twice"));
        }
        if peers.len() == PARTICIPANTS_MAX {
            return Err(format!("more than {PARTICIPANTS_MAX} participants"));
        }
        peers.push((id, place));
    }
    if peers.is_empty() { Err("it names no participant".to_owned()) } else { Ok(peers) }
}
