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
    /// Which logs are shown, for the subscriber that the command line installs: `info`, or a list
    /// like `info,node=debug`.
    pub log_level: String,
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
    /// Size of a log segment, for a new log.
    pub segment_bytes: u64,
    /// Log between two checkpoints.
    pub checkpoint_bytes: u64,
    /// Idle time after which the log is sealed.
    pub seal_idle: Duration,
    /// Connections that may be open at once; the next one is refused.
    pub connections_max: usize,
    /// Bytes that may wait for one connection; at half of it the node stops reading from there,
    /// beyond it the connection is closed.
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
    /// Decided transactions that are remembered.
    pub outcomes_max: usize,
    /// How long votes may take before an attempt is aborted.
    pub vote_timeout: Duration,
    /// How long one participant may wait for locks.
    pub lock_wait: Duration,
    /// Pause before a decision that is not acknowledged is sent again.
    pub resend_interval: Duration,
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
                segment_bytes: 0,
                checkpoint_bytes: 0,
                seal_idle: Duration::ZERO,
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
                outcomes_max: 0,
                vote_timeout: Duration::ZERO,
                lock_wait: Duration::ZERO,
                resend_interval: Duration::ZERO,
            },
            log_level: String::new(),
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
            Role::Client | Role::Coordinator | Role::Participant => Ok(()),
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
