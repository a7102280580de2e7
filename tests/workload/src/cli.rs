//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Pipeline-parallel prefill with a NIXL hand-off to decode, without a serving engine.
#[derive(Debug, Parser)]
#[command(name = "kvpath-workload", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run prefill stages and a decode process, and verify every byte that was handed over.
    Run(Run),
    /// Measure what each NIXL call costs, between two agents of one process.
    Calls(Calls),
    /// One process of a run; `run` starts it.
    #[command(hide = true)]
    Worker(Worker),
}

/// How a handle is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Make {
    /// From prepared descriptor lists and indices (makeXferReq), as vLLM does.
    Prepped,
    /// From plain descriptor lists (createXferReq).
    Create,
}

/// Which side moves the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Op {
    /// Prefill pushes, once decode has said where to.
    Write,
    /// Decode pulls, once prefill has said that it is ready.
    Read,
}

/// The knobs, which every process of a run needs.
#[derive(Debug, Clone, Args)]
pub struct Knobs {
    /// Prefill stages.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub stages: u32,
    /// Requests, one after another.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub requests: u32,
    /// Chunks that a prompt is cut into.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub chunks: u32,
    /// Layers of each stage.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub layers: u32,
    /// KV blocks of a request in each layer.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub blocks: u32,
    /// Size of a block, KiB.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub block_kib: u32,
    /// Scatter the blocks of a request over the region, so that NIXL cannot merge neighbours.
    #[arg(long)]
    pub scatter: bool,
    /// Which side moves the data.
    #[arg(long, value_enum, default_value = "write")]
    pub op: Op,
    /// How handles are made.
    #[arg(long, value_enum, default_value = "prepped")]
    pub make: Make,
    /// Wait this long between set-up and the first request.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub start_delay_ms: u64,
    /// Wait this long between the last request and the end.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub end_delay_ms: u64,
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The knobs.
    #[command(flatten)]
    pub knobs: Knobs,
    /// UCX transports (`UCX_TLS`).
    #[arg(long, default_value = "tcp")]
    pub tls: String,
    /// Folder that the NIXL wheel was installed into.
    #[arg(long, value_name = "DIR")]
    pub nixl: PathBuf,
    /// File to write the truth to.
    #[arg(long, value_name = "FILE")]
    pub truth: PathBuf,
}

/// Options of `calls`.
#[derive(Debug, Args)]
pub struct Calls {
    /// Folder that the NIXL wheel was installed into.
    #[arg(long, value_name = "DIR")]
    pub nixl: PathBuf,
    /// Numbers of descriptors.
    #[arg(long, value_delimiter = ',', default_value = "1,512,4096,32768", value_parser = clap::value_parser!(i32).range(1..=1_000_000))]
    pub descriptors: Vec<i32>,
    /// After that, poll a finished handle without pause for so long.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub storm: u64,
    /// Transfers of each number.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rounds: u32,
}

/// Part of a process in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// A prefill stage.
    Stage,
    /// The decode process.
    Decode,
}

/// Options of a process of a run.
#[derive(Debug, Args)]
pub struct Worker {
    /// Its part.
    #[arg(long, value_enum)]
    pub role: Role,
    /// Which of its kind.
    #[arg(long)]
    pub rank: u32,
    /// Folder for sockets and truth.
    #[arg(long)]
    pub dir: PathBuf,
    /// The knobs.
    #[command(flatten)]
    pub knobs: Knobs,
}

impl Knobs {
    /// The knobs as arguments of a worker.
    pub fn to_args(&self) -> Vec<String> {
        let name = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
            value().map(|value| value.get_name().to_owned()).unwrap_or_default()
        };
        let mut args = Vec::new();
        for (knob, value) in [
            ("--stages", self.stages.to_string()),
            ("--requests", self.requests.to_string()),
            ("--chunks", self.chunks.to_string()),
            ("--layers", self.layers.to_string()),
            ("--blocks", self.blocks.to_string()),
            ("--block-kib", self.block_kib.to_string()),
            ("--op", name(&|| self.op.to_possible_value())),
            ("--make", name(&|| self.make.to_possible_value())),
            ("--start-delay-ms", self.start_delay_ms.to_string()),
            ("--end-delay-ms", self.end_delay_ms.to_string()),
        ] {
            args.extend([knob.to_owned(), value]);
        }
        if self.scatter {
            args.push("--scatter".to_owned());
        }
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knobs_reach_the_workers_unchanged() {
        let words = "x run --nixl n --truth t --stages 3 --requests 5 --chunks 2 --layers 7 --blocks 9 --block-kib 4 \
                     --scatter --make create --start-delay-ms 8 --end-delay-ms 9";
        let Command::Run(run) = Cli::parse_from(words.split_whitespace()).command else { panic!("not run") };
        let fixed = ["x", "worker", "--role", "stage", "--rank", "1", "--dir", "d"].map(str::to_owned);
        let words = fixed.into_iter().chain(run.knobs.to_args());
        let Command::Worker(worker) = Cli::parse_from(words).command else { panic!("not worker") };
        assert_eq!(format!("{:?}", worker.knobs), format!("{:?}", run.knobs));
    }
}
