//! `kvpath import nsys FILE...`, `kvpath import kineto FILE...`, `kvpath import client FILE --run RUN`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::choice::Kept;
use crate::error::OK;
use kvpath_import::{client, kineto, nsys};

/// Make a run of another tool's trace.
#[derive(Debug, Args)]
pub struct Import {
    /// The tool.
    #[command(subcommand)]
    pub tool: Tool,
}

/// Tools whose traces can be imported.
#[derive(Debug, Subcommand)]
pub enum Tool {
    /// Nsight Systems' SQLite export, also compressed with zstd.
    Nsys(Nsys),
    /// Traces of PyTorch's profiler (Kineto), also compressed with gzip.
    Kineto(Kineto),
    /// What a client measured: when each request was sent, and when its first token came.
    Client(Client),
}

/// Add a client's log to a run: the ends of the critical paths.
///
/// The log holds a JSON object a line: `request`, `rid` or `request_id` (id as it was sent); `start_ns` (when it was sent, ns of
/// `CLOCK_MONOTONIC` on the recording host, Python: `time.monotonic_ns()`) or `t0` (the same in seconds of wall clock,
/// `time.time()`); and `ttft_s`, `ttft_ns` or `first_token_ns` (on the clock of `start_ns`). Wall clock, also in `start_ns`, is
/// converted by the recording's own pair of clocks; a log of another time than the recording is refused.
#[derive(Debug, Args)]
pub struct Client {
    /// The log.
    pub file: PathBuf,
    /// The run that it is about.
    #[arg(long, value_name = "RUN")]
    pub run: String,
    /// Host on whose clock its times are, where the run has several.
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
}

/// Import Nsight Systems SQLite exports.
///
/// Several reports make one run. Those of one host are put on one axis by the host's own clock at their starts, else by its wall clock;
/// those of several hosts by their wall clocks, and each host is analysed by itself. What the profiler says that it lost, and launches
/// of which the report holds no GPU work, are losses of the run.
#[derive(Debug, Args)]
pub struct Nsys {
    /// The exports (`nsys export --type sqlite REPORT.nsys-rep`), `.sqlite` or `.sqlite.zst`.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Folder of the new run; by default the first file's name without its endings, here.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Which CUDA API calls to keep.
    #[arg(long, value_enum, default_value = "chosen")]
    pub api_calls: Kept,
}

/// Import traces of PyTorch's profiler, one a process.
#[derive(Debug, Args)]
pub struct Kineto {
    /// The traces of all ranks (`export_chrome_trace`, `tensorboard_trace_handler`), `.json` or `.json.gz`.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Folder of the new run; by default the first file's name without its endings, here.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

impl Import {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        match self.tool {
            Tool::Nsys(import) => import.run(),
            Tool::Kineto(import) => import.run(),
            Tool::Client(import) => import.run(),
        }
    }
}

impl Client {
    fn run(self) -> anyhow::Result<u8> {
        let imported = client::import(&self.file, &self.run, self.host.as_deref())?;
        eprintln!("{:<14} {:>9} rows", "spans", imported.written.map_or(0, |written| written.rows));
        let client::Imported { requests, converted, outside, failed, notes, .. } = imported;
        if converted > 0 {
            eprintln!(
                "converted: {converted} of {requests} requests from wall clock, by the recording's own pair of clocks"
            );
        }
        if outside > 0 {
            eprintln!("outside: {outside} of {requests} requests were not being served while the recording ran");
        }
        if failed > 0 {
            eprintln!("failed: {failed} of {requests} requests had no first token");
        }
        if notes > 0 {
            eprintln!("left out: {notes} lines that tell of no request");
        }
        println!("{}", self.run);
        Ok(OK)
    }
}

impl Nsys {
    fn run(self) -> anyhow::Result<u8> {
        let name = self.files[0].file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = name.trim_end_matches(".zst").trim_end_matches(".sqlite").to_owned() + ".run";
        let out = self.out.unwrap_or_else(|| PathBuf::from(stem));
        let imported = nsys::import(&self.files, &out, self.api_calls.0)?;
        for (table, written) in &imported.segments {
            let rows = written.rows;
            eprintln!("{table:<14} {rows:>9} rows {:>10} bytes", written.bytes);
        }
        for (table, rows) in &imported.rows_left_out {
            eprintln!("left out: {rows} rows of {table} without times or sizes that can be");
        }
        if imported.calls_left_out > 0 {
            eprintln!("left out: {} API calls (keep them with --api-calls all)", imported.calls_left_out);
        }
        if imported.processes_left_out > 0 {
            eprintln!("left out: {} processes without a record", imported.processes_left_out);
        }
        if imported.graphs_as_a_whole > 0 {
            eprintln!(
                "kept: {} launches of graphs as a whole; their kernels are not recorded (nsys profile --cuda-graph-trace=node records them)",
                imported.graphs_as_a_whole
            );
        }
        for note in &imported.notes {
            eprintln!("{note}");
        }
        println!("{}", out.display());
        Ok(OK)
    }
}

impl Kineto {
    fn run(self) -> anyhow::Result<u8> {
        let out = self.out.unwrap_or_else(|| PathBuf::from(kineto::stem(&self.files[0]) + ".run"));
        let imported = kineto::import(&self.files, &out)?;
        for (table, written) in &imported.tables {
            eprintln!("{table:<15} {:>9} rows {:>10} bytes", written.rows, written.bytes);
        }
        for (category, events) in &imported.left_out {
            eprintln!("left out: {events} events {category}");
        }
        if imported.kernels_without_launch > 0 {
            eprintln!("kept: {} kernels whose launch is in no trace", imported.kernels_without_launch);
        }
        if imported.waits_without_recording > 0 {
            eprintln!(
                "kept: {} waits for events of which no trace says what recorded them",
                imported.waits_without_recording
            );
        }
        for note in &imported.notes {
            eprintln!("{note}");
        }
        println!("{}", out.display());
        Ok(OK)
    }
}
