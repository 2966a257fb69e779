//! A wrong command line, told in one line.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory};

use crate::Cli;
use crate::exit::Failure;

/// Says what is wrong and where help is; or is the help that was asked for.
pub(crate) fn report(error: &clap::Error) -> ExitCode {
    if is_help(error.kind()) {
        error.exit();
    }
    let command = command_of(Cli::command(), std::env::args_os().skip(1));
    failure(&command, format!("{}; see `{command} --help`", sentence(&error.render().to_string()))).report(false)
}

/// `wal verify` says with 2 that a log is damaged, and with 3 that it could not be checked.
fn failure(command: &str, said: String) -> Failure {
    if command == "assent wal verify" { Failure::Start(said) } else { Failure::Usage(said) }
}

fn is_help(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    )
}

/// The first paragraph: what follows are tips and the usage.
fn sentence(message: &str) -> String {
    let lines: Vec<_> = message.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let text = lines.join(" ");
    text.strip_prefix("error: ").unwrap_or(&text).to_owned()
}

/// The command that the arguments name, as it is typed. A flag's value that is the name of a
/// subcommand is taken for it: then that subcommand's help is named.
fn command_of(root: Command, arguments: impl Iterator<Item = OsString>) -> String {
    let mut path = root.get_name().to_owned();
    let mut command = root;
    for argument in arguments {
        let Some(next) = argument.to_str().and_then(|name| command.find_subcommand(name)).cloned() else { continue };
        path = format!("{path} {}", next.get_name());
        command = next;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn told(line: &str) -> String {
        let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
        assert!(!is_help(error.kind()), "{line}");
        let command = command_of(Cli::command(), line.split(' ').skip(1).map(OsString::from));
        format!("{}; {command}", sentence(&error.render().to_string()))
    }

    #[test]
    fn a_wrong_line_is_told_in_one() {
        for (line, expected) in [
            ("assent bench --frob", "unexpected argument '--frob' found; assent bench"),
            ("assent frob", "unrecognized subcommand 'frob'; assent"),
            ("assent bank --json transfer 1", "<TO> <AMOUNT>; assent bank transfer"),
            ("assent bench --preset x", "[possible values: default, high-throughput, stress, latency]; assent bench"),
            ("assent txn --deadline 0s get:x", "the shortest deadline is 1ms; assent txn"),
        ] {
            let told = told(line);
            assert!(told.ends_with(expected) && !told.contains('\n') && !told.starts_with("error"), "{line}: {told}");
        }
    }

    #[test]
    fn a_wrong_line_is_no_verdict_on_a_log() {
        assert_eq!(failure("assent wal verify", String::new()).code(), 3);
        assert_eq!(failure("assent wal dump", String::new()).code(), 2);
    }

    #[test]
    fn help_and_version_are_no_errors() {
        for line in ["assent --help", "assent bench --help", "assent --version", "assent"] {
            assert!(is_help(Cli::try_parse_from(line.split(' ')).unwrap_err().kind()), "{line}");
        }
    }
}
