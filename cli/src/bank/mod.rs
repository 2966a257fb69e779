//! `assent bank`: accounts, transfers, and an audit that sees all participants at one moment.

mod keys;
mod ledger;
mod lineup;
mod load;
mod open;
mod shell;
mod stamp;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use protocol::TxnId;
use serde_json::json;

use crate::bank::ledger::{Ledger, Transfer, Transferred};
use crate::bank::load::Load;
use crate::connect::{ConnectArgs, runtime};
use crate::exit::Failure;
use crate::output::Output;

const AFTER_HELP: &str = "\
Examples:
  assent bank open 1000 --balance 100
  assent bank transfer 1 2 30
  assent bank audit
  echo '1,2,5' > moves.csv && assent bank load moves.csv";

/// Accounts, transfers and audits.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct BankArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    #[command(subcommand)]
    command: BankCommand,
}

#[derive(Subcommand, Debug)]
enum BankCommand {
    /// Open the accounts 1 to N, spread over the participants.
    #[command(after_help = "Example: assent bank open 1000 --balance 100")]
    Open {
        /// How many.
        #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
        accounts: u64,
        /// What each of them holds at first.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(0..))]
        balance: i64,
        /// Name this opening (32 hexadecimal digits): done again under the same id, it is the same one and succeeds.
        #[arg(long, value_name = "ID")]
        id: Option<TxnId>,
    },
    /// Move money from one account to another.
    #[command(after_help = "Example: assent bank transfer 1 2 30")]
    Transfer {
        /// The account that pays.
        from: u64,
        /// The account that is paid.
        to: u64,
        /// How much.
        #[arg(allow_negative_numbers = true)]
        amount: i64,
        /// Use this transaction id (32 hexadecimal digits); the same transfer under the same id happens once.
        #[arg(long, value_name = "ID")]
        id: Option<TxnId>,
    },
    /// Print an account's balance.
    #[command(after_help = "Example: assent bank balance 1")]
    Balance {
        /// The account.
        account: u64,
    },
    /// Print what moved in and out of an account, oldest first.
    #[command(after_help = "Example: assent bank history 1")]
    History {
        /// The account.
        account: u64,
    },
    /// Count all money at one moment; exit code 1 if it is not what was opened.
    #[command(after_help = "Example: assent bank audit --json")]
    Audit,
    /// Apply the transfers of a file with lines `from,to,amount`.
    #[command(after_help = load::AFTER_HELP)]
    Load {
        /// The file.
        file: PathBuf,
        /// Transfers in flight at once.
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
        concurrency: u16,
        /// Name this load (32 hexadecimal digits) instead of by the file's content; its lines happen once under the name.
        #[arg(long, value_name = "ID")]
        id: Option<TxnId>,
        /// Go on with an earlier load, and refuse if there was none.
        #[arg(long)]
        resume: bool,
    },
    /// Type commands: send A B 5, balance A, history A, audit, load FILE.
    #[command(
        after_help = "Example: assent bank shell\n  > send 1 2 5\n\nBehind a transfer may stand an id: send A B 5 ID"
    )]
    Shell,
}

/// Runs the command.
pub(crate) fn run(args: BankArgs) -> Result<(), Failure> {
    let output = args.connect.output();
    let runtime = runtime()?;
    let ledger = Ledger::new(runtime.block_on(args.connect.connect())?);
    match args.command {
        BankCommand::Open { accounts, balance, id } => {
            runtime.block_on(open::run(&ledger, accounts, balance, id, output))
        }
        BankCommand::Transfer { from, to, amount, id } => {
            runtime.block_on(transfer(&ledger, Transfer { from, to, amount }, id, output))
        }
        BankCommand::Balance { account } => runtime.block_on(balance(&ledger, account, output)),
        BankCommand::History { account } => runtime.block_on(history(&ledger, account, output)),
        BankCommand::Audit => runtime.block_on(audit(&ledger, output)),
        BankCommand::Load { file, concurrency, id, resume } => {
            let load = Load { file: &file, id, resume, concurrency: concurrency as usize };
            runtime.block_on(load.run(&ledger, output))
        }
        BankCommand::Shell => shell::run(&runtime, &ledger, output),
    }
}

async fn transfer(ledger: &Ledger, transfer: Transfer, id: Option<TxnId>, output: Output) -> Result<(), Failure> {
    let transfer = transfer.check().map_err(Failure::Usage)?;
    let Transfer { from, to, amount } = transfer;
    let stamp = ledger.stamp(id).await?;
    match ledger.transfer(transfer, stamp).await? {
        Transferred::Done { txn, before } => {
            let json = json!({ "txn": txn.to_string(), "from": from, "to": to, "amount": amount, "before": before });
            let when = if before && id.is_some() { "; it was done before, and not again" } else { "" };
            output.say(&json, format_args!("moved {amount} from account {from} to account {to} ({txn}){when}"))
        }
        Transferred::Refused { reason, sentence } => {
            let json = json!({ "refused": reason, "message": sentence, "from": from, "to": to, "amount": amount });
            output.say(&json, format_args!("refused: {sentence}"))?;
            Err(Failure::NoAsPrinted)
        }
    }
}

async fn balance(ledger: &Ledger, account: u64, output: Output) -> Result<(), Failure> {
    match ledger.balance(account).await? {
        Some(balance) => {
            output.say(&json!({ "account": account, "balance": balance }), format_args!("account {account}: {balance}"))
        }
        None => Err(Failure::No(format!("account {account} does not exist"))),
    }
}

async fn history(ledger: &Ledger, account: u64, output: Output) -> Result<(), Failure> {
    let lines = ledger.history(account).await?;
    if lines.is_empty() && ledger.balance(account).await?.is_none() {
        return Err(Failure::No(format!("account {account} does not exist")));
    }
    for line in lines {
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_micros(line.time_us);
        let side = if line.amount < 0 { "to" } else { "from" };
        let people = format!(
            "{}  {:>12}  {side} account {}  {}",
            humantime::format_rfc3339_micros(at),
            line.amount,
            line.other,
            line.txn
        );
        output.say(&line, people)?;
    }
    Ok(())
}

async fn audit(ledger: &Ledger, output: Output) -> Result<(), Failure> {
    let audit = ledger.audit().await?;
    let right = audit.is_right();
    let json = json!({
        "accounts": audit.balances.keys,
        "accounts_opened": audit.accounts_opened,
        "total": audit.balances.sum.to_string(),
        "total_opened": audit.total_opened.to_string(),
        "negative_balances": audit.balances.negatives,
        "right": right,
    });
    let people = format!(
        "{} accounts hold {}; {} accounts were opened with {}; {} balances below zero: {}",
        audit.balances.keys,
        audit.balances.sum,
        audit.accounts_opened,
        audit.total_opened,
        audit.balances.negatives,
        if right { "right" } else { "WRONG" }
    );
    output.say(&json, people)?;
    if right { Ok(()) } else { Err(Failure::NoAsPrinted) }
}
