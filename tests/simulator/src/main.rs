//! `kvpath-sim`: writes simulated recordings with their truth.

mod cli;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;

use kvpath_simulator::cases::{CASES, Case};
use kvpath_simulator::model::simulate;
use kvpath_simulator::truth::TruthWriter;

use cli::{Cli, Command};

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kvpath-sim: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Cases => {
            for case in CASES {
                println!("{:>2}  {:<16}{}", case.number, case.name, case.about);
            }
            Ok(())
        }
        Command::Case { name, out, seed, probes } => {
            let case = Case::named(name).with_context(|| format!("no case `{name}`: `kvpath-sim cases` lists them"))?;
            empty(out)?;
            let found = case.make_probed(Some(out), *seed, *probes)?;
            eprintln!("{}: {} requests in {}", case.name, found.requests.len(), out.display());
            Ok(())
        }
        Command::Run(args) => {
            let mut model = args.model();
            let distort = args.distortions(&model)?;
            if let Some(events) = args.events {
                // Rows grow with the requests: what one more brings says how many there must be.
                let rows = |requests| -> Result<u64> {
                    let small = cli::fewer(&model, requests);
                    let run = simulate(&small, None, args.distortions(&small)?, false, &mut |_| Ok(()))?;
                    Ok(run.rows.values().map(|(written, lost)| written + lost).sum())
                };
                let (two, four) = (rows(2)?, rows(4)?);
                let each = ((four - two) / 2).max(1);
                let more = events.saturating_sub(two).div_ceil(each);
                model.requests = u32::try_from(more + 2).context("more requests than 2^32")?;
            }
            empty(&args.out)?;
            let mut writer = TruthWriter::new(&args.out)?;
            let has_paths = args.path == cli::PathDetail::Op;
            let run = simulate(&model, Some(&args.out), distort, has_paths, &mut |request| writer.request(request))?;
            writer.finish(&run)?;
            let (written, lost) = run.rows.values().fold((0, 0), |sum, rows| (sum.0 + rows.0, sum.1 + rows.1));
            eprintln!("{} requests, {written} records, {lost} lost, in {}", run.requests, args.out.display());
            Ok(())
        }
    }
}

/// A run is never mixed with another's segments.
fn empty(out: &Path) -> Result<()> {
    if out.exists() && out.read_dir().with_context(|| out.display().to_string())?.next().is_some() {
        bail!("{} is not empty", out.display());
    }
    Ok(())
}
