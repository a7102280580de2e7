//! `./x builds`: hands over to tests/builds, which is Python, because it calls the wheels' libraries by ctypes and must not
//! depend on what the table that it makes is compiled into.

use std::process::Command;

use crate::project;
use crate::shell::{self, Result};

pub(crate) fn run() -> Result<()> {
    shell::run(
        Command::new("python3")
            .env("CARGO_TARGET_DIR", project::target())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(project::root().join("tests/builds/builds.py"))
            .args(std::env::args().skip(2)),
    )
}
