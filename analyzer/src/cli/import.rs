//! `kvpath import TOOL FILE`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::error::OK;
use crate::import::client;
use crate::import::nsys::{self, Calls};

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
    /// What a client measured: when each request was sent, and when its first token came.
    Client(Client),
}

/// Add a client's log to a run: the ends of the critical paths.
///
/// The log holds a JSON object a line: `request` (id as sent), `start_ns` (`CLOCK_MONOTONIC`) or `t0` (wall clock, s), and
/// `ttft_s` or `ttft_ns`.
#[derive(Debug, Args)]
pub struct Client {
    /// The log.
    pub file: PathBuf,
    /// The run that it is about.
    #[arg(long, value_name = "RUN")]
    pub run: String,
}

/// Import an Nsight Systems SQLite export.
#[derive(Debug, Args)]
pub struct Nsys {
    /// The export (`nsys export --type sqlite REPORT.nsys-rep`), `.sqlite` or `.sqlite.zst`.
    pub file: PathBuf,
    /// Folder of the new run; by default the file's name without its endings, here.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Which CUDA API calls to keep.
    #[arg(long, value_enum, default_value = "chosen")]
    pub api_calls: Calls,
}

impl Import {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let import = match self.tool {
            Tool::Nsys(import) => import,
            Tool::Client(import) => {
                let written = client::import(&import.file, &import.run)?;
                eprintln!("spans {:>9} rows", written.map_or(0, |written| written.rows));
                println!("{}", import.run);
                return Ok(OK);
            }
        };
        let name = import.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = name.trim_end_matches(".zst").trim_end_matches(".sqlite").to_owned() + ".run";
        let out = import.out.unwrap_or_else(|| PathBuf::from(stem));
        let imported = nsys::import(&import.file, &out, import.api_calls)?;
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
        println!("{}", out.display());
        Ok(OK)
    }
}
