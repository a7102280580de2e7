//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::fault::{HostPause, Skew, SlowLayer};

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
    /// Run a router, prefill stages and decode workers, and verify every byte that was handed over.
    Run(Box<Run>),
    /// Measure what each NIXL call costs, between two agents of one process.
    Calls(Calls),
    /// One process of a run; `run` starts it.
    #[command(hide = true)]
    Worker(Worker),
}

/// How a handle is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Make {
    /// From prepared descriptor lists and indices (makeXferReq), as vLLM does.
    Prepped,
    /// From plain descriptor lists (createXferReq).
    Create,
}

/// Which side moves the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Op {
    /// Prefill pushes, once decode has said where to.
    Write,
    /// Decode pulls, once prefill has said that it is ready.
    Read,
}

/// How often KV is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum HandoffEach {
    /// Once a request, as vLLM does.
    Request,
    /// Once a chunk, as SGLang does.
    Chunk,
    /// Once a layer of each chunk.
    Layer,
}

/// How a prompt is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Chunking {
    /// Chunks of as many tokens.
    Even,
    /// Chunks that cost as much: each shorter than the one before, because attention looks at all that came before.
    Dynamic,
}

/// How keys and values of a layer lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Kv {
    /// In one region.
    Joint,
    /// In a region each.
    Split,
}

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Compute {
    /// CPUs; KV blocks lie in DRAM.
    Cpu,
    /// A GPU for each stage and decode worker (layers of Llama 3 8B, so --block-kib is 4 times --block-tokens); KV blocks lie in its
    /// memory. Needs CUDA's cuBLAS and NVRTC, 12.4 or later.
    Cuda,
}

/// The knobs, which every process of a run needs.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct Knobs {
    /// What computes, and holds KV blocks.
    #[arg(long, value_enum, default_value = "cpu")]
    pub device: Compute,
    /// Replay layers as CUDA graphs, but for their attention.
    #[arg(long)]
    pub graphs: bool,
    /// Prefill stages.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub stages: u32,
    /// Decode workers; requests go to each in turn.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub decodes: u32,
    /// Requests.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub requests: u32,
    /// Requests under way at once; with --trace, requests come when the trace says.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub concurrency: u32,
    /// Take prompts and arrivals from this file: Mooncake's traces (JSON lines with timestamp and `input_length`) or Azure's (CSV with
    /// TIMESTAMP and `ContextTokens`).
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Replay the trace so many times as fast.
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub speed: f64,
    /// Chunks that a prompt is cut into.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub chunks: u32,
    /// How a prompt is cut.
    #[arg(long, value_enum, default_value = "even")]
    pub chunking: Chunking,
    /// Layers of each stage: one number, or one for each.
    #[arg(long, value_delimiter = ',', default_value = "4", value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub layers: Vec<u32>,
    /// KV blocks of a request in each layer; a trace says so itself.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub blocks: u32,
    /// Size of a block, keys and values, KiB.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub block_kib: u32,
    /// Tokens of a block.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub block_tokens: u32,
    /// How keys and values lie.
    #[arg(long, value_enum, default_value = "joint")]
    pub kv: Kv,
    /// Scatter the blocks of a request over the region, so that NIXL cannot merge neighbours.
    #[arg(long)]
    pub scatter: bool,
    /// Which side moves the data.
    #[arg(long, value_enum, default_value = "write")]
    pub op: Op,
    /// How often KV is handed over.
    #[arg(long, value_enum, default_value = "request")]
    pub handoff: HandoffEach,
    /// How handles are made.
    #[arg(long, value_enum, default_value = "prepped")]
    pub make: Make,
    /// Wait this long between set-up and the first request.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub start_delay_ms: u64,
    /// Wait this long between the last request and the end.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub end_delay_ms: u64,
    /// Time between two polls of a transfer, or looks for notifications.
    #[arg(long, value_name = "US", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub poll_us: u64,
    /// Decode does not sleep between two polls: it looks for messages again and again, and gives the CPU away in between.
    #[arg(long)]
    pub spin: bool,
    /// Fault: a layer (counted in its stage, from 0) takes so much longer in each chunk.
    #[arg(long, value_name = "STAGE:LAYER:US")]
    pub slow_layer: Option<SlowLayer>,
    /// Fault: a stage's host waits so long before it starts on a chunk.
    #[arg(long, value_name = "STAGE:US")]
    pub host_pause: Option<HostPause>,
    /// Fault: decode says so much later where to push a request, or looks for what it may pull.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub late_registration_ms: u64,
    /// Fault: the first transfer of this request fails, and is made again.
    #[arg(long, value_name = "REQUEST")]
    pub fail_request: Option<u32>,
    /// Fault: the decode worker is killed once the first transfer of this request is posted, which ends the run.
    #[arg(long, value_name = "REQUEST")]
    pub kill_decode: Option<u32>,
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
    /// Fault: all TCP among the processes shares so many Mbit/s (a network of its own with `tc`; needs root and iproute2).
    #[arg(long, value_name = "MBIT", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub link_mbit: Option<u64>,
    /// Set when the process is in that network.
    #[arg(long, hide = true)]
    pub in_own_network: bool,
    /// Fault: the clock of a process (router, stage-N, decode-N) is so many seconds ahead (a time namespace; needs root). Its lines in
    /// the truth are by that clock.
    #[arg(long, value_name = "PROCESS:SECONDS")]
    pub skew: Vec<Skew>,
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
    /// The router.
    Router,
    /// A prefill stage.
    Stage,
    /// A decode worker.
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
    /// The knobs, as JSON.
    #[arg(long, value_parser = knobs)]
    pub knobs: Knobs,
}

fn knobs(text: &str) -> Result<Knobs, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn positive(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if value > 0.0 && value.is_finite() { Ok(value) } else { Err(format!("`{text}` is not above 0")) }
}

impl Knobs {
    /// Layers of a stage.
    pub fn layers_of(&self, stage: u32) -> u32 {
        self.layers[(stage as usize).min(self.layers.len() - 1)]
    }

    /// Layers of all stages before one.
    pub fn layers_before(&self, stage: u32) -> u32 {
        (0..stage).map(|stage| self.layers_of(stage)).sum()
    }

    /// Regions of a layer.
    pub fn planes(&self) -> u32 {
        match self.kv {
            Kv::Joint => 1,
            Kv::Split => 2,
        }
    }

    /// Refuses what does not go together.
    ///
    /// # Errors
    /// Says what.
    pub fn check(&self) -> anyhow::Result<()> {
        let stages = self.stages;
        anyhow::ensure!(
            self.layers.len() == 1 || self.layers.len() == stages as usize,
            "--layers names {} stages, there are {stages}",
            self.layers.len()
        );
        for stage in self.slow_layer.map(|slow| slow.stage).into_iter().chain(self.host_pause.map(|pause| pause.stage))
        {
            anyhow::ensure!(stage < stages, "there is no stage {stage}: they count from 0 to {}", stages - 1);
        }
        if let Some(slow) = self.slow_layer {
            let layers = self.layers_of(slow.stage);
            anyhow::ensure!(slow.layer < layers, "stage {} has no layer {}: it has {layers}", slow.stage, slow.layer);
        }
        for request in self.fail_request.into_iter().chain(self.kill_decode) {
            anyhow::ensure!(request < self.requests, "there is no request {request}: they count from 0");
        }
        anyhow::ensure!(!self.graphs || self.device == Compute::Cuda, "--graphs needs --device cuda");
        anyhow::ensure!((self.speed - 1.0).abs() < f64::EPSILON || self.trace.is_some(), "--speed needs --trace");
        let kib = 4 * self.block_tokens;
        anyhow::ensure!(
            self.device == Compute::Cpu || self.block_kib == kib,
            "on a GPU a token's keys and values take 4 KiB: --block-kib {kib} for --block-tokens {}",
            self.block_tokens
        );
        anyhow::ensure!(
            self.kill_decode.is_none() && self.fail_request.is_none() || self.op == Op::Write,
            "--kill-decode and --fail-request need --op write"
        );
        anyhow::ensure!(
            self.handoff == HandoffEach::Request || self.op == Op::Write,
            "--handoff chunk and layer need --op write: no engine pulls so"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &str) -> Knobs {
        let words = format!("x run --nixl n --truth t {words}");
        match Cli::parse_from(words.split_whitespace()).command {
            Command::Run(run) => run.knobs,
            Command::Worker(_) | Command::Calls(_) => panic!("not run"),
        }
    }

    #[test]
    fn knobs_reach_the_workers_unchanged() {
        let knobs = parsed(
            "--stages 3 --requests 5 --chunks 2 --layers 7,2,3 --blocks 9 --block-kib 4 --scatter --make create --start-delay-ms 8 \
             --slow-layer 1:1:500 --host-pause 2:70 --fail-request 4 --speed 2.5 --trace t --kv split --handoff chunk",
        );
        let json = serde_json::to_string(&knobs).unwrap();
        let words = ["x", "worker", "--role", "stage", "--rank", "1", "--dir", "d", "--knobs", &json];
        let Command::Worker(worker) = Cli::parse_from(words).command else { panic!("not worker") };
        assert_eq!(format!("{:?}", worker.knobs), format!("{knobs:?}"));
        knobs.check().unwrap();
        assert_eq!((knobs.layers_of(1), knobs.layers_before(2), knobs.planes()), (2, 9, 2));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (words, said) in [
            ("--layers 3,3,3", "names 3 stages"),
            ("--slow-layer 2:0:5", "no stage 2"),
            ("--slow-layer 1:4:5", "no layer 4"),
            ("--host-pause 9:5", "no stage 9"),
            ("--kill-decode 3", "no request 3"),
            ("--fail-request 1 --op read", "--op write"),
            ("--handoff layer --op read", "no engine pulls"),
            ("--device cuda", "--block-kib 64"),
            ("--graphs", "--device cuda"),
            ("--speed 2", "--trace"),
        ] {
            let error = parsed(words).check().unwrap_err().to_string();
            assert!(error.contains(said), "{words}: {error}");
        }
    }
}
