//! What a node can be told: defaults, under a TOML file, under the environment, under flags.
//!
//! Invariant: a value is checked where it is set, and an error names the setting, where the value
//! came from and what is allowed. [`crate::settings`] is the list of all settings; files,
//! environment and flags are read through it, so none can know a setting that the others do not.
//!
//! A command line in `clap` takes three lines for all of them: for each of [`settings`] an
//! `Arg::new(setting.key).long(setting.flag).env(setting.env).help(setting.help)`, then
//! [`Config::load_file`], then [`Config::set`] for each argument that was given.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::{ClusterId, Role};

use crate::log_levels::LogLevels;
use crate::settings::{SETTINGS, Setting, settings};

/// All that a daemon can be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// What [`crate::run`] needs.
    pub node: NodeConfig,
    /// What the machine of a participant needs.
    pub participant: ParticipantSettings,
    /// What the machine of a coordinator needs.
    pub coordinator: CoordinatorSettings,
    /// Which log lines are written, for the subscriber that the command line installs.
    pub log_level: LogLevels,
}

/// What runs a machine: identity, place, log and network.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// What the node does.
    pub role: Role,
    /// Its number among the nodes of its role, from 1.
    pub number: u32,
    /// Its cluster; it talks to no other.
    pub cluster: ClusterId,
    /// The address to listen on; port 0 takes a free one.
    pub listen: String,
    /// The data directory; created if its parent exists.
    pub data: PathBuf,
    /// The participants to connect to, by number, with their addresses. Empty for a participant.
    pub peers: Vec<(u32, String)>,
    /// Its epoch is at least this one, however often its log was started.
    pub first_epoch: u32,
    /// Size of a log segment, for a new log.
    pub segment_bytes: u64,
    /// Segments that the log may have.
    pub segments_max: usize,
    /// A participant's memory budget, in bytes; `None` for a share of what there is.
    pub memory_max: Option<u64>,
    /// Log between two checkpoints.
    pub checkpoint_bytes: u64,
    /// Idle time after which the log is sealed.
    pub seal_idle: Duration,
    /// How fast sealed segments are read again to find damage; 0 for not at all.
    pub scrub_bytes_per_second: u64,
    /// The pause between two such passes over the log.
    pub scrub_pause: Duration,
    /// Connections that may be accepted at once; the next one is refused. Those that are dialled are besides.
    pub connections_max: usize,
    /// Bytes that may wait for one connection; at half of it the node stops listening there, beyond
    /// it a client's connection is closed, and a node's beyond [`crate::limits::NODE_OUTBOX_FACTOR`]
    /// times as much.
    pub outbox_bytes_max: usize,
    /// How long a connection may take to say who it is.
    pub hello_timeout: Duration,
}

/// Settings of a participant's machine.
#[derive(Clone, Debug)]
pub struct ParticipantSettings {
    /// Transactions that may wait or be prepared at once; the next one is refused as busy.
    pub in_flight_txns_max: usize,
    /// Committed transactions that are remembered.
    pub outcomes_max: usize,
    /// How long a prepared transaction stays silent before its coordinator is asked.
    pub ask_interval: Duration,
    /// The longest pause between two questions.
    pub ask_interval_max: Duration,
}

/// Settings of a coordinator's machine.
#[derive(Clone, Debug)]
pub struct CoordinatorSettings {
    /// Transactions that may be under way at once; the next one is answered BUSY.
    pub max_concurrent_txns: usize,
    /// How long votes are waited for at least before they are asked for again.
    pub prepare_timeout: Duration,
    /// How long an attempt may wait for locks at a participant.
    pub lock_wait: Duration,
    /// The first pause before a transaction that gave way is tried again.
    pub retry_delay_min: Duration,
    /// The longest such pause.
    pub retry_delay_max: Duration,
    /// The deadline of a transaction that states none.
    pub deadline_default: Duration,
    /// The longest deadline that is kept.
    pub deadline_max: Duration,
    /// How long an acknowledgement may take before a decision is sent again.
    pub resend_interval: Duration,
    /// Committed transactions that are remembered.
    pub outcomes_max: usize,
    /// Aborted transactions that are remembered, in memory alone.
    pub aborts_max: usize,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A configuration file.
    File(PathBuf),
    /// An environment variable.
    Environment,
    /// A flag.
    Flag,
}

/// What is wrong with a configuration, for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: the configuration file cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path}: line {line}: {reason}")]
    Toml {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// There is no such setting.
    #[error("{origin}: there is no setting `{key}` for a {role}; there are: {known}")]
    Unknown {
        /// Where it stands.
        origin: String,
        /// Its name.
        key: String,
        /// Whose configuration this is.
        role: Role,
        /// The names of all settings.
        known: String,
    },
    /// A setting's value is wrong.
    #[error("{origin}: {reason}")]
    Value {
        /// Where it stands: the flag, the variable, or the file and the key.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting that has no default is not set.
    #[error("`{key}` is not set: give --{flag}, {env}, or `{key}` in the configuration file")]
    Missing {
        /// Its name in a file.
        key: &'static str,
        /// Its flag.
        flag: &'static str,
        /// Its variable.
        env: &'static str,
    },
}

impl Config {
    /// The defaults for a coordinator or a participant.
    ///
    /// # Panics
    /// If asked for a client.
    #[must_use]
    pub fn new(role: Role) -> Self {
        assert!(role != Role::Client, "a client is not a daemon");
        let mut config = Self::blank(role);
        for setting in SETTINGS {
            if let Some(default) = setting.default {
                (setting.apply)(&mut config, default).expect("the default of a setting is valid");
            }
        }
        config
    }

    fn blank(role: Role) -> Self {
        Self {
            node: NodeConfig {
                role,
                number: 0,
                cluster: ClusterId(0),
                listen: String::new(),
                data: PathBuf::new(),
                peers: Vec::new(),
                first_epoch: 1,
                segment_bytes: 0,
                segments_max: 0,
                memory_max: None,
                checkpoint_bytes: 0,
                seal_idle: Duration::ZERO,
                scrub_bytes_per_second: 0,
                scrub_pause: Duration::ZERO,
                connections_max: 0,
                outbox_bytes_max: 0,
                hello_timeout: Duration::ZERO,
            },
            participant: ParticipantSettings {
                in_flight_txns_max: 0,
                outcomes_max: 0,
                ask_interval: Duration::ZERO,
                ask_interval_max: Duration::ZERO,
            },
            coordinator: CoordinatorSettings {
                max_concurrent_txns: 0,
                prepare_timeout: Duration::ZERO,
                lock_wait: Duration::ZERO,
                retry_delay_min: Duration::ZERO,
                retry_delay_max: Duration::ZERO,
                deadline_default: Duration::ZERO,
                deadline_max: Duration::ZERO,
                resend_interval: Duration::ZERO,
                outcomes_max: 0,
                aborts_max: 0,
            },
            log_level: LogLevels::default(),
        }
    }

    /// Sets one setting, by its key as in a file.
    ///
    /// # Errors
    /// If there is no such setting for this role, or the value is wrong.
    pub fn set(&mut self, key: &str, value: &str, origin: &Origin) -> Result<(), ConfigError> {
        let role = self.node.role;
        let Some(setting) = settings(role).find(|setting| setting.key == key) else {
            let known = settings(role).map(|setting| setting.key).collect::<Vec<_>>().join(", ");
            return Err(ConfigError::Unknown { origin: origin.to_string(), key: key.to_owned(), role, known });
        };
        (setting.apply)(self, value).map_err(|reason| ConfigError::Value { origin: origin.name_of(setting), reason })
    }

    /// Sets what a TOML file holds. Keys with a dot may be written as a table.
    ///
    /// # Errors
    /// If the file cannot be read, is not TOML, names an unknown setting or gives a wrong value.
    pub fn load_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        self.load_text(&text, path)
    }

    /// As [`Config::load_file`], for text that was read from `path` already.
    ///
    /// # Errors
    /// As [`Config::load_file`].
    pub fn load_text(&mut self, text: &str, path: &Path) -> Result<(), ConfigError> {
        let table: toml::Table = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
            ConfigError::Toml { path: path.to_owned(), line, reason: error.message().to_owned() }
        })?;
        self.load_table("", table, &Origin::File(path.to_owned()))
    }

    fn load_table(&mut self, prefix: &str, table: toml::Table, origin: &Origin) -> Result<(), ConfigError> {
        for (name, value) in table {
            let key = format!("{prefix}{name}");
            match value {
                toml::Value::String(text) => self.set(&key, &text, origin)?,
                toml::Value::Integer(number) => self.set(&key, &number.to_string(), origin)?,
                toml::Value::Table(peers) if key == "participants" => {
                    self.set(&key, &join_peers(&peers, origin)?, origin)?;
                }
                toml::Value::Table(section) => self.load_table(&format!("{key}."), section, origin)?,
                toml::Value::Float(_) | toml::Value::Boolean(_) | toml::Value::Datetime(_) | toml::Value::Array(_) => {
                    let reason = "expected a text in quotes, like \"32MiB\" or \"10ms\", or a whole number".to_owned();
                    return Err(ConfigError::Value { origin: format!("{origin}: `{key}`"), reason });
                }
            }
        }
        Ok(())
    }

    /// Checks what no single setting can: what has no default is set, and settings fit together.
    ///
    /// # Errors
    /// If they do not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let node = &self.node;
        let missing = |key: &str| {
            let setting = SETTINGS.iter().find(|setting| setting.key == key).expect("a setting by its key");
            Err(ConfigError::Missing { key: setting.key, flag: setting.flag, env: setting.env })
        };
        match node.role {
            _ if node.number == 0 => missing("id"),
            _ if node.listen.is_empty() => missing("listen"),
            _ if node.data.as_os_str().is_empty() => missing("data"),
            Role::Coordinator if node.peers.is_empty() => missing("participants"),
            Role::Client | Role::Coordinator | Role::Participant => {
                self.check_addresses()?;
                self.check_order()
            }
        }
    }

    /// Two participants at one address: one of them would never be reached.
    fn check_addresses(&self) -> Result<(), ConfigError> {
        let peers = &self.node.peers;
        for (at, (number, address)) in peers.iter().enumerate() {
            if let Some((other, _)) = peers[..at].iter().find(|(_, earlier)| earlier == address) {
                let reason =
                    format!("participants {other} and {number} have the same address, {address}; correct one of them");
                return Err(ConfigError::Value { origin: "`participants`".to_owned(), reason });
            }
        }
        Ok(())
    }

    /// What is called the least must not be above what is called the most.
    fn check_order(&self) -> Result<(), ConfigError> {
        let (participant, coordinator) = (&self.participant, &self.coordinator);
        let pairs = [
            ("participant.ask-interval", participant.ask_interval, participant.ask_interval_max),
            ("coordinator.retry-delay", coordinator.retry_delay_min, coordinator.retry_delay_max),
            ("coordinator.deadline", coordinator.deadline_default, coordinator.deadline_max),
        ];
        match pairs.iter().find(|(_, least, most)| least > most) {
            None => Ok(()),
            Some((key, least, most)) => {
                let reason = format!("{least:?} is above `{key}-max`, {most:?}");
                Err(ConfigError::Value { origin: format!("`{key}`"), reason })
            }
        }
    }
}

/// `ID=ADDR,ID=ADDR` from the table form of a file.
fn join_peers(peers: &toml::Table, origin: &Origin) -> Result<String, ConfigError> {
    let mut text = Vec::new();
    for (number, address) in peers {
        let Some(address) = address.as_str() else {
            let reason = "expected an address in quotes, like \"10.0.0.1:7101\"".to_owned();
            return Err(ConfigError::Value { origin: format!("{origin}: `participants.{number}`"), reason });
        };
        text.push(format!("{number}={address}"));
    }
    Ok(text.join(","))
}

impl Origin {
    fn name_of(&self, setting: &Setting) -> String {
        match self {
            Self::File(path) => format!("{}: `{}`", path.display(), setting.key),
            Self::Environment => setting.env.to_owned(),
            Self::Flag => format!("--{}", setting.flag),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Environment => f.write_str("environment"),
            Self::Flag => f.write_str("command line"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(role: Role, text: &str) -> Result<Config, String> {
        let mut config = Config::new(role);
        config.load_text(text, Path::new("node.toml")).map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn a_file_is_read_and_overlaid() {
        let text = "id = 3\nlisten = \"127.0.0.1:0\"\ndata = \"d\"\n[log]\nsegment = \"8MiB\"\nseal-idle = \"10ms\"\n\
                    [network]\nconnections = 7\n[participant]\noutcomes = 5000\n";
        let mut config = load(Role::Participant, text).unwrap();
        assert_eq!((config.node.number, config.node.connections_max), (3, 7));
        assert_eq!((config.node.segment_bytes, config.node.seal_idle), (8 << 20, Duration::from_millis(10)));
        assert_eq!(config.participant.outcomes_max, 5_000);
        config.set("network.connections", "9", &Origin::Flag).unwrap();
        assert_eq!(config.node.connections_max, 9);
        assert_eq!(config.node.outbox_bytes_max, 64 << 20);
        config.check().unwrap();
    }

    #[test]
    fn participants_are_a_table_or_a_text() {
        let table = load(Role::Coordinator, "[participants]\n1 = \"a:1\"\n2 = \"b:2\"\n").unwrap();
        let text = load(Role::Coordinator, "participants = \"1=a:1, 2=b:2\"").unwrap();
        let expected = [(1, "a:1".to_owned()), (2, "b:2".to_owned())];
        assert_eq!(table.node.peers, expected);
        assert_eq!(text.node.peers, expected);
    }

    #[test]
    fn bad_input_names_the_place_and_what_is_allowed() {
        let cases = [
            ("id = ", "node.toml: line 1:"),
            ("id = 1\nlisten 7", "node.toml: line 2:"),
            ("id = 0", "node.toml: `id`: 0 is outside of 1 to"),
            ("id = 1.5", "node.toml: `id`: expected"),
            ("idd = 1", "there is no setting `idd` for a participant; there are: id, listen"),
            ("[log]\nsegmants = 1", "no setting `log.segmants`"),
            ("[log]\nsegment = \"32MB\"", "`log.segment`: \"32MB\" is not a size; write it like"),
            ("[log]\nsegment = \"1MiB\"", "`log.segment`: 1MiB is outside of 8MiB to 1GiB"),
            ("[log]\nsegment = 8388609", "not a multiple of 4KiB"),
            ("[log]\nseal-idle = 10", "`log.seal-idle`: \"10\" is not a duration; write it with a unit"),
            ("listen = \"7101\"", "`listen`: \"7101\" is not an address"),
            ("participants = \"1=a:1\"", "no setting `participants` for a participant"),
            ("[coordinator]\nlock-wait = \"1s\"", "no setting `coordinator.lock-wait` for a participant"),
        ];
        for (text, expected) in cases {
            let error = load(Role::Participant, text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
        for (text, expected) in [
            ("participants = \"1\"", "write it like 1="),
            ("participants = \"1=a:1,1=b:1\"", "participant 1 is named twice"),
            ("participants = \"\"", "names no participant"),
            ("[participants]\n1 = 7", "`participants.1`: expected an address"),
            ("[participants]\nx = \"a:1\"", "not a whole number"),
        ] {
            let error = load(Role::Coordinator, text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn errors_name_the_flag_or_the_variable() {
        let mut config = Config::new(Role::Participant);
        let flag = config.set("log.seal-idle", "x", &Origin::Flag).unwrap_err().to_string();
        assert!(flag.starts_with("--log-seal-idle: "), "{flag}");
        let variable = config.set("log.seal-idle", "x", &Origin::Environment).unwrap_err().to_string();
        assert!(variable.starts_with("ASSENT_LOG_SEAL_IDLE: "), "{variable}");
    }

    #[test]
    fn what_has_no_default_must_be_set_and_settings_must_fit_together() {
        let mut config = Config::new(Role::Coordinator);
        for (key, value) in [("id", "1"), ("listen", "a:1"), ("data", "d"), ("participants", "1=b:2")] {
            let missing = config.check().unwrap_err().to_string();
            assert!(missing.contains(&format!("`{key}` is not set: give --")), "{missing}");
            config.set(key, value, &Origin::Flag).unwrap();
        }
        config.check().unwrap();
        config.set("participants", "1=b:2,2=b:3,3=b:2", &Origin::Flag).unwrap();
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains("participants 1 and 3 have the same address, b:2"), "{error}");
        config.set("participants", "1=b:2,2=b:3", &Origin::Flag).unwrap();
        config.check().unwrap();
        config.set("coordinator.deadline", "2m", &Origin::Flag).unwrap();
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains("`coordinator.deadline-max`"), "{error}");
    }

    #[test]
    fn names_are_unique_for_a_role_and_defaults_are_valid() {
        for role in [Role::Participant, Role::Coordinator] {
            let all: Vec<&Setting> = settings(role).collect();
            for name in
                [|setting: &Setting| setting.key, |setting: &Setting| setting.flag, |setting: &Setting| setting.env]
            {
                let mut names: Vec<&str> = all.iter().map(|setting| name(setting)).collect();
                names.sort_unstable();
                names.dedup();
                assert_eq!(names.len(), all.len());
            }
            let _ = Config::new(role);
        }
    }
}
