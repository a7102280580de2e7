//! kvpath-workload: pipeline-parallel prefill that hands its KV cache to a decode process by real NIXL transfers, and
//! writes down what it did and when.
//!
//! The model is arithmetic, on CPUs with the KV cache in DRAM; transfers, notifications and processes are real. Faults of a known place
//! and size can be planted. The truth file is described in [`truth`].

mod calls;
mod cli;
mod coordinator;
mod decode;
mod device;
mod fault;
mod ffi;
mod layout;
mod link;
mod nixl;
mod plan;
mod router;
mod sender;
mod stage;
mod trace;
mod truth;

use clap::Parser as _;

fn main() {
    let outcome = match cli::Cli::parse().command {
        cli::Command::Run(run) => coordinator::run(&run),
        cli::Command::Calls(calls) => calls::run(&calls),
        cli::Command::Worker(worker) => match worker.role {
            cli::Role::Router => router::run(&worker),
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
