//! The command line: one file a command.

mod check;
mod choice;
mod completions;
mod explain;
mod import;
mod input;
mod limit;
mod man;
mod path;
mod queries;
mod report;
mod schema;
mod sql;
mod stdout;
mod stuck;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::BAD_INPUT;

/// Where did the time to first token go? Analyzes recordings of disaggregated LLM serving.
#[derive(Debug, Parser)]
#[command(name = "kvpath", version, about)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a run of another tool's trace.
    Import(import::Import),
    /// Where the time of each request went: by stage, chunk and hand-off.
    Report(report::Report),
    /// Where the time to first token went: the critical path of every request.
    Path(path::Path),
    /// What failed, and what was waited for in vain: transfers, notifications, requests.
    Stuck(stuck::Stuck),
    /// Is the run whole? Damaged files, drops, and what each process's records cover.
    Check(check::Check),
    /// Ask a run with SQL, or with a query of the library.
    Sql(sql::Sql),
    /// The library of queries.
    Queries(queries::Queries),
    /// What the categories of a path mean.
    Explain(explain::Explain),
    /// Tables and columns, with types and meaning.
    Schema(schema::Schema),
    /// Print completions of this program for a shell.
    Completions(completions::Completions),
    /// Write the man pages of this program; for packagers.
    #[command(hide = true)]
    Man(man::Man),
}

/// Runs the command line; errors go to standard error, as one line, with exit code 2.
#[must_use]
pub fn run() -> ExitCode {
    match execute(Cli::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("kvpath: {error:#}");
            ExitCode::from(BAD_INPUT)
        }
    }
}

fn execute(cli: Cli) -> anyhow::Result<u8> {
    match cli.command {
        Command::Import(command) => command.run(),
        Command::Report(command) => command.run(),
        Command::Path(command) => command.run(),
        Command::Stuck(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Sql(command) => command.run(),
        Command::Queries(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Schema(command) => command.run(),
        Command::Completions(command) => command.run(),
        Command::Man(command) => command.run(),
    }
}
