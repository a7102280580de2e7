//! `kvpath report RUN`.

use clap::Args;

use super::input::Input;
use super::limit::Limit;
use super::stdout::print;
use crate::error::OK;
use crate::report::{self, Report as Body, step_section};
use kvpath_analysis::model::{Analysis, Model};
use kvpath_analysis::serving::lookup::{LookupError, RequestQuery};
use kvpath_analysis::settings::Settings;
use kvpath_schema::table::Columns as _;

/// Where the time of each request went: by stage, chunk and hand-off. In a run without hand-offs, of each step.
#[derive(Debug, Args)]
pub struct Report {
    /// The run.
    #[command(flatten)]
    pub input: Input,
    /// Only this request, by number, id, or what its client called it, or this step, by number or name; also lists its layers.
    #[arg(long, value_name = "ID")]
    pub request: Option<String>,
    /// Rate that a hand-off could reach, GB/s (`NVLink` of an H200: 478); else the best seen in the run.
    #[arg(long, value_name = "GB/S")]
    pub ceiling: Option<f64>,
    /// Memory.
    #[command(flatten)]
    pub limit: Limit,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

impl Report {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let run = self.input.open()?;
        if let Some(ceiling) = self.ceiling {
            anyhow::ensure!(ceiling.is_finite() && ceiling > 0.0, "--ceiling {ceiling}: must be a rate above 0 GB/s");
        }
        let settings = Settings { ceiling_bytes_per_s: self.ceiling.map(|gb| gb * 1e9), memory: self.limit.memory() };
        let model = Model::reading(run, &settings, |model| {
            if !model.analysis()?.steps.is_empty() {
                model.walker()?;
            }
            model.losses().map(drop)
        })?;
        let analysis = model.analysis()?;
        let only = self.request.map(|id| find(analysis, id)).transpose()?;
        let step_paths =
            if analysis.steps.is_empty() { None } else { Some(step_section::walked(analysis, &model.walker()?, only)) };
        let (findings, losses) = (model.findings()?, model.losses()?);
        let body = Body { run: model.run(), analysis, findings, losses, step_paths, only };
        if self.json {
            print(&format!("{}\n", report::json::render(&body)?))?;
        } else {
            print(&report::text::render(&body))?;
        }
        Ok(OK)
    }
}

/// The number of the request, or the step, that `id` names.
fn find(analysis: &Analysis, id: String) -> Result<i32, LookupError> {
    RequestQuery::Text(id).among(analysis.units())
}
