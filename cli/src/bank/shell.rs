//! `assent bank shell`: commands typed at a prompt with line editing, or piped in.

use std::io::{IsTerminal, stdin};
use std::path::Path;

use protocol::TxnId;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use tokio::runtime::Runtime;

use crate::bank::ledger::{Ledger, Transfer};
use crate::bank::load::Load;
use crate::exit::Failure;
use crate::output::{Output, line};

const HELP: &str = "\
send FROM TO AMOUNT   move money; with an ID behind it, once however often it is sent
balance ACCOUNT       what an account holds
history ACCOUNT       what moved in and out of it
audit                 count all money at one moment
load FILE             apply the transfers of a file with lines from,to,amount
help                  this
quit                  leave (also Ctrl-D)";

/// Transfers of a loaded file in flight at once.
const LOAD_CONCURRENCY: usize = 64;

#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Nothing,
    Send(Transfer, Option<TxnId>),
    Balance(u64),
    History(u64),
    Audit,
    Load(&'a str),
    Help,
    Quit,
}

/// Reads and runs commands until the end. From a terminal, a failed command ends nothing; from a
/// pipe it does not either, but the exit code tells of it.
pub(crate) fn run(runtime: &Runtime, ledger: &Ledger, output: Output) -> Result<(), Failure> {
    if stdin().is_terminal() { at_a_terminal(runtime, ledger, output) } else { from_a_pipe(runtime, ledger, output) }
}

fn at_a_terminal(runtime: &Runtime, ledger: &Ledger, output: Output) -> Result<(), Failure> {
    let no_editor = |error: ReadlineError| Failure::Start(format!("cannot edit lines on this terminal: {error}"));
    let mut editor = DefaultEditor::new().map_err(no_editor)?;
    line("Type help for the commands, quit to leave.")?;
    loop {
        match editor.readline("bank> ") {
            // What was pasted at once may be several commands.
            Ok(text) => {
                for command in text.lines() {
                    // Without a place in the history, the command still runs.
                    let _ = editor.add_history_entry(command);
                    match execute(runtime, ledger, command, output) {
                        Ok(true) => {}
                        Ok(false) => return Ok(()),
                        Err(failure) => _ = failure.report(output.json),
                    }
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(no_editor(error)),
        }
    }
}

fn from_a_pipe(runtime: &Runtime, ledger: &Ledger, output: Output) -> Result<(), Failure> {
    let mut worst = Ok(());
    for text in stdin().lines() {
        let text = text.map_err(|error| Failure::Usage(format!("standard input cannot be read: {error}")))?;
        match execute(runtime, ledger, &text, output) {
            Ok(true) => {}
            Ok(false) => break,
            Err(Failure::Output(error)) => return Err(Failure::Output(error)),
            Err(failure) => {
                let _ = failure.report(output.json);
                worst = Err(Failure::NoAsPrinted);
            }
        }
    }
    worst
}

/// Runs one line; false if it was the last.
fn execute(runtime: &Runtime, ledger: &Ledger, text: &str, output: Output) -> Result<bool, Failure> {
    match parse(text).map_err(Failure::Usage)? {
        Line::Nothing => {}
        Line::Send(transfer, id) => runtime.block_on(super::transfer(ledger, transfer, id, output))?,
        Line::Balance(account) => runtime.block_on(super::balance(ledger, account, output))?,
        Line::History(account) => runtime.block_on(super::history(ledger, account, output))?,
        Line::Audit => runtime.block_on(super::audit(ledger, output))?,
        Line::Load(file) => {
            let load = Load { file: Path::new(file), id: None, resume: false, concurrency: LOAD_CONCURRENCY };
            runtime.block_on(load.run(ledger, output))?;
        }
        Line::Help => line(HELP)?,
        Line::Quit => return Ok(false),
    }
    Ok(true)
}

fn parse(text: &str) -> Result<Line<'_>, String> {
    let text = text.trim();
    let (command, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let words: Vec<_> = rest.split_whitespace().collect();
    let account = |word: &str| word.parse().map_err(|_| format!("`{word}` is not an account number"));
    match (command, &words[..]) {
        ("", _) => Ok(Line::Nothing),
        ("send", [from, to, amount, id @ ..]) if id.len() <= 1 => {
            let amount = amount.parse().map_err(|_| format!("`{amount}` is not an amount"))?;
            let id = id.first().map(|id| id.parse().map_err(|error| format!("`{id}`: {error}"))).transpose()?;
            Ok(Line::Send(Transfer { from: account(from)?, to: account(to)?, amount }, id))
        }
        ("send", _) => Err("send takes three numbers, and perhaps an id: send FROM TO AMOUNT ID".to_owned()),
        ("balance", [word]) => account(word).map(Line::Balance),
        ("history", [word]) => account(word).map(Line::History),
        ("balance" | "history", _) => Err(format!("{command} takes one account: {command} ACCOUNT")),
        ("load", [_, ..]) => Ok(Line::Load(rest.trim())),
        ("load", []) => Err("load takes a file: load FILE".to_owned()),
        ("audit", []) => Ok(Line::Audit),
        ("help", []) => Ok(Line::Help),
        ("quit" | "exit", []) => Ok(Line::Quit),
        ("audit" | "help" | "quit" | "exit", _) => Err(format!("{command} takes nothing after it")),
        (other, _) => Err(format!("there is no command `{other}`; type help")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_the_help_says() {
        let transfer = Transfer { from: 1, to: 2, amount: 5 };
        assert_eq!(parse("send 1 2 5"), Ok(Line::Send(transfer, None)));
        let with_id = parse("send 1 2 5 0000000000000000000000000000000a");
        assert_eq!(with_id, Ok(Line::Send(transfer, Some(TxnId(10)))));
        assert_eq!(parse("  balance\t7 "), Ok(Line::Balance(7)));
        assert_eq!(parse("history 7"), Ok(Line::History(7)));
        assert_eq!(parse("load my moves.csv"), Ok(Line::Load("my moves.csv")));
        assert_eq!(parse("audit"), Ok(Line::Audit));
        assert_eq!(parse("help"), Ok(Line::Help));
        assert_eq!(parse("quit"), Ok(Line::Quit));
        assert_eq!(parse("   "), Ok(Line::Nothing));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("send 1 2", "FROM TO AMOUNT"),
            ("send 1 2 5 a", "exactly 32 hexadecimal digits"),
            ("send 1 2 5 a b", "FROM TO AMOUNT"),
            ("send a 2 5", "`a` is not an account"),
            ("send 1 2 x", "`x` is not an amount"),
            ("balance", "one account"),
            ("load", "load FILE"),
            ("audit now", "nothing after"),
            ("frob", "no command `frob`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
