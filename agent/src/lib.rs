//! kvpath-agent: records what programs of this node do with NIXL and its GPUs, and says what can be recorded.
//!
//! A library only so that `bench/` can drain rings as `record` does, and tests can probe clocks without BPF; the program is [`main`].

mod btf;
mod budget;
mod bytes;
mod capture;
mod cli;
mod clock;
mod devices;
mod discover;
mod doctor;
mod elf;
mod error;
mod gpu;
mod host;
mod learn;
mod libraries;
mod log;
mod losses;
mod own;
mod privileges;
mod processes;
mod publisher;
mod record;
mod seccomp;
mod segments;
mod settings;
mod states;
mod system;
mod units;

use std::process::ExitCode;

pub use capture::cupti::folders::Folders;
pub use capture::cupti::source::Rings;
pub use capture::{Context, RecordSource};
pub use clock::{ClockSource, Clocking};
pub use segments::Segments;

/// Does what the command line says; exit code 2 where that cannot be done.
#[must_use]
pub fn main() -> ExitCode {
    let cli = cli::Cli::read();
    log::start(cli.logging());
    run(cli.command).unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::from(2)
    })
}

fn run(command: cli::Command) -> anyhow::Result<ExitCode> {
    match command {
        cli::Command::Record(options) => Ok(record::run(&(*options).into())?),
        cli::Command::Run(options) => {
            let time = host::utc(system::now_ns(system::Clock::Wall));
            Ok(record::run(&settings::file::read(&options.config, &time)?)?)
        }
        cli::Command::Env(options) => {
            gpu::env(options.gpu)?;
            Ok(ExitCode::SUCCESS)
        }
        cli::Command::Level(options) => {
            gpu::level(options.target, options.level)?;
            Ok(ExitCode::SUCCESS)
        }
        cli::Command::Doctor(options) => doctor::run(&options.libraries, options.layouts, options.json),
        cli::Command::Learn(options) => {
            let folder = options.out.unwrap_or_else(learn::kept::default_folder);
            learn::run(&options.target, &folder, options.limit)
        }
        cli::Command::LearnChild(options) => learn::child::run(&options.capi),
        cli::Command::Completions(options) => {
            options.print()?;
            Ok(ExitCode::SUCCESS)
        }
        cli::Command::Man(options) => {
            options.write()?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
