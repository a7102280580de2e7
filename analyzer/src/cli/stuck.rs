//! `kvpath stuck RUN`.

use clap::Args;

use super::input::Input;
use super::limit::Limit;
use super::stdout::print;
use crate::error::{FOUND, OK};
use crate::report::stuck::Stuck as Body;
use kvpath_analysis::model::Model;
use kvpath_analysis::serving::lookup::RequestQuery;
use kvpath_analysis::settings::Settings;

/// What failed, and what was waited for in vain: transfers, notifications, requests.
///
/// Exit code 0: nothing of that kind is on record. 1: something is. What may have come right after the end of the recording is listed and
/// does not count.
#[derive(Debug, Args)]
pub struct Stuck {
    /// The run.
    #[command(flatten)]
    pub input: Input,
    /// Only this request, by number, id, or what its client called it.
    #[arg(long, value_name = "ID")]
    pub request: Option<String>,
    /// Memory.
    #[command(flatten)]
    pub limit: Limit,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

impl Stuck {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let settings = Settings { memory: self.limit.memory(), ..Settings::default() };
        let model = Model::reading(self.input.open()?, &settings, |model| model.stuck().map(drop))?;
        let of_id = |id: String| RequestQuery::Text(id).among(model.analysis()?.units()).map_err(anyhow::Error::from);
        let only = self.request.map(of_id).transpose()?;
        let body = Body { run: model.run(), stuck: model.stuck()?, losses: model.losses()?, only };
        if self.json {
            print(&format!("{}\n", body.json()?))?;
        } else {
            print(&body.text())?;
        }
        Ok(if body.is_any() { FOUND } else { OK })
    }
}
