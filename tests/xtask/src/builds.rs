//! `./x builds`: hands over to tests/builds, which is Python, because it calls the wheels' libraries by ctypes and must not
//! depend on what the table that it makes is compiled into.

use std::process::Command;

use crate::project;
use crate::shell::{self, Result};

pub(crate) fn run() -> Result<()> {
    let mut words: Vec<String> = std::env::args().skip(2).collect();
    let script = if words.first().is_some_and(|word| word == "mooncake") {
        words.remove(0);
        "tests/builds/mooncake.py"
    } else {
        "tests/builds/builds.py"
    };
    shell::run(
        Command::new("python3")
            .env("CARGO_TARGET_DIR", project::target())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(project::root().join(script))
            .args(words),
    )
}
