//! What the two daemons share: flags made from the list of settings, logs to standard error, and
//! one line on standard output when they are ready.

use std::io::{IsTerminal, stdout};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use node::{Config, NodeError, Origin, Stop, settings};
use protocol::Role;
use serde::{Deserialize, Serialize};

use crate::exit::Failure;

/// The line with which a daemon tells a parent where it listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) ready: bool,
    pub(crate) role: String,
    pub(crate) id: u32,
    pub(crate) address: String,
}

/// What the command line and the environment say to a daemon.
#[derive(Clone, Debug)]
pub(crate) struct DaemonArgs {
    role: Role,
    file: Option<PathBuf>,
    given: Vec<(&'static str, String, Origin)>,
    stop_with_stdin: bool,
}

impl DaemonArgs {
    /// Adds a flag for every setting of the role.
    pub(crate) fn augment(command: Command, role: Role) -> Command {
        let file = Arg::new("config")
            .long("config")
            .env("ASSENT_CONFIG")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("TOML file with settings; the environment and flags override it");
        let with_stdin = Arg::new("stop-with-stdin").long("stop-with-stdin").hide(true).action(ArgAction::SetTrue);
        let flags = settings(role).map(|setting| {
            let help = match setting.default {
                Some(default) => format!("{} [default: {default}]", setting.help),
                None => setting.help.to_owned(),
            };
            Arg::new(setting.key)
                .long(setting.flag)
                .env(setting.env)
                .value_name(setting.value_name)
                .action(if setting.flag == "participant" { ArgAction::Append } else { ArgAction::Set })
                .help(help)
        });
        command.arg(file).args(flags).arg(with_stdin)
    }

    /// Takes what was given.
    pub(crate) fn from_matches(matches: &ArgMatches, role: Role) -> Self {
        let given = settings(role).filter_map(|setting| {
            let from_environment = matches.value_source(setting.key)? == ValueSource::EnvVariable;
            let origin = if from_environment { Origin::Environment } else { Origin::Flag };
            let values: Vec<_> = matches.get_many::<String>(setting.key)?.cloned().collect();
            Some((setting.key, values.join(","), origin))
        });
        Self {
            role,
            file: matches.get_one::<PathBuf>("config").cloned(),
            given: given.collect(),
            stop_with_stdin: matches.get_flag("stop-with-stdin"),
        }
    }

    /// Defaults, under the file, under the environment, under flags.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        let usage = |error: node::ConfigError| Failure::Usage(error.to_string());
        let mut config = Config::new(self.role);
        if let Some(file) = &self.file {
            config.load_file(file).map_err(usage)?;
        }
        for (key, value, origin) in &self.given {
            config.set(key, value, origin).map_err(usage)?;
        }
        config.check().map_err(usage)?;
        Ok(config)
    }

    /// Starts the logs and what stops the daemon.
    pub(crate) fn prepare(&self, config: &Config) -> Result<Stop, Failure> {
        crate::logs::start(&config.log_level)?;
        let refused =
            |error: std::io::Error| Failure::Start(format!("the system refuses what stops a daemon: {error}"));
        let stop = Stop::new();
        stop.on_signals().map_err(refused)?;
        if self.stop_with_stdin {
            stop.on_stdin_closed().map_err(refused)?;
        }
        Ok(stop)
    }
}

/// Says where the daemon listens: JSON for a parent, a sentence on a terminal. Nobody has to read it, and a pipe that is full
/// already must not hold up the node: a thread of its own waits for the reader.
pub(crate) fn say_ready(role: Role, id: u32, address: SocketAddr) {
    let line = if stdout().is_terminal() {
        format!("{role} {id} is ready at {address}; Ctrl-C stops it")
    } else {
        let ready = Ready { ready: true, role: role.to_string(), id, address: address.to_string() };
        serde_json::json!(ready).to_string()
    };
    let thread = std::thread::Builder::new().name("ready".to_owned());
    if let Err(error) = thread.spawn(move || crate::output::line_if_heard(&line)) {
        tracing::warn!(%error, "the system refuses the thread that tells the parent that this node is ready");
    }
}

/// How a daemon's end is told to whoever started it.
pub(crate) fn failure(error: &NodeError) -> Failure {
    let damaged = match error {
        NodeError::Open { source, .. } => source.is_disk_failure(),
        NodeError::Replay { .. } => true,
        NodeError::Ring { .. }
        | NodeError::Descriptors { .. }
        | NodeError::Listen { .. }
        | NodeError::Start { .. }
        | NodeError::Disk(_)
        | NodeError::DiskSlow { .. }
        | NodeError::System { .. } => error.is_disk_failure(),
    };
    let said = match error {
        NodeError::Open { data, source } => crate::data_dir::sentence(data, source),
        NodeError::Replay { .. }
        | NodeError::Ring { .. }
        | NodeError::Descriptors { .. }
        | NodeError::Listen { .. }
        | NodeError::Start { .. }
        | NodeError::Disk(_)
        | NodeError::DiskSlow { .. }
        | NodeError::System { .. } => error.to_string(),
    };
    if damaged { Failure::Disk(said) } else { Failure::Start(said) }
}

/// Lets `clap`'s derive take the flags of a role.
macro_rules! daemon_args {
    ($name:ident, $role:expr) => {
        /// The flags of this daemon.
        #[derive(Clone, Debug)]
        pub(crate) struct $name(pub(crate) crate::daemon::DaemonArgs);

        impl clap::Args for $name {
            fn augment_args(command: clap::Command) -> clap::Command {
                crate::daemon::DaemonArgs::augment(command, $role)
            }

            fn augment_args_for_update(command: clap::Command) -> clap::Command {
                Self::augment_args(command)
            }
        }

        impl clap::FromArgMatches for $name {
            fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
                Ok(Self(crate::daemon::DaemonArgs::from_matches(matches, $role)))
            }

            fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}
pub(crate) use daemon_args;
