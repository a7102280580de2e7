//! `./x docs`: the pages that are made of what the programs print.

use std::process::Command;

use crate::setup::Setup;
use crate::shell::{Result, output};
use crate::{demo, picture, project};

/// Writes the generated pages anew.
pub(crate) fn docs(setup: &Setup) -> Result<()> {
    setup.build()?;
    let kvpath = |words: &[&str]| {
        let mut kvpath = Command::new(project::binary("kvpath"));
        output(kvpath.args(words).current_dir(project::root()))
    };
    let report = kvpath(&["report", demo::BUNDLED])?;
    for (page, text) in [
        ("docs/tables.md", kvpath(&["schema", "--format", "markdown"])?),
        ("docs/categories.md", kvpath(&["explain", "--format", "markdown"])?),
        ("queries/README.md", kvpath(&["queries", "list", "--format", "markdown"])?),
        (picture::PAGE, picture::of(&report)),
    ] {
        std::fs::write(project::root().join(page), text).map_err(|error| format!("{page}: {error}"))?;
    }
    Ok(())
}
