//! kvpath-agent: records what programs of this node do with NIXL and its GPUs, and says what can be recorded.
//!
//! A library only so that `bench/` can drain rings as `record` does, and tests can probe clocks without BPF; the program is [`main`].

mod btf;
mod budget;
mod bytes;
mod capture;
mod cli;
mod clock;
mod config;
mod devices;
mod discover;
mod doctor;
mod elf;
mod error;
mod ffi;
mod gpu;
mod host;
mod own;
mod privileges;
mod processes;
mod publisher;
mod record;
mod seccomp;
mod segments;

use std::process::ExitCode;

use clap::Parser as _;

pub use capture::cupti::source::{Folders, Source};
pub use clock::{Clocking, Source as ClockSource};
pub use processes::ProcessTable;
pub use segments::{Facts, Segments};

/// Does what the command line says; exit code 2 where that cannot be done.
#[must_use]
pub fn main() -> ExitCode {
    let outcome = match cli::Cli::parse().command {
        cli::Command::Record(options) => record::run(&options).map_err(anyhow::Error::from),
        cli::Command::Run(options) => {
            let time = host::utc(ffi::now_ns(ffi::Clock::Wall));
            config::read(&options.config, &time).and_then(|options| record::run(&options)).map_err(anyhow::Error::from)
        }
        cli::Command::Env(options) => gpu::env(&options).map(|()| ExitCode::SUCCESS).map_err(anyhow::Error::from),
        cli::Command::Level(options) => gpu::level(&options).map(|()| ExitCode::SUCCESS).map_err(anyhow::Error::from),
        cli::Command::Doctor(options) => doctor::run(&options),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("kvpath-agent: {error:#}");
        ExitCode::from(2)
    })
}
