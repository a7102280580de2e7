//! kvpath-workload: pipeline-parallel prefill that hands its KV cache to a decode process by real NIXL transfers, and
//! writes down what it did and when.
//!
//! The model is arithmetic on the CPU and the KV cache lies in DRAM; transfers, notifications and processes are real.
//! The truth file is described in [`truth`].

mod calls;
mod cli;
mod compute;
mod coordinator;
mod decode;
mod ffi;
mod layout;
mod link;
mod nixl;
mod stage;
mod truth;

use clap::Parser as _;

fn main() {
    let outcome = match cli::Cli::parse().command {
        cli::Command::Run(run) => coordinator::run(&run),
        cli::Command::Calls(calls) => calls::run(&calls),
        cli::Command::Worker(worker) => match worker.role {
            cli::Role::Stage => stage::run(&worker),
            cli::Role::Decode => decode::run(&worker),
        },
    };
    let code = match outcome {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("kvpath-workload: {error:#}");
            2
        }
    };
    // Each line is out already: nothing is written but whole lines.
    ffi::end(code)
}
