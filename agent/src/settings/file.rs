//! Settings in a file, as `kvpath-agent run` takes them.

use std::path::{Path, PathBuf};

use kvpath_schema::wire::ring::Level;
use serde::Deserialize;

use super::{LeftOut, MAX_OVERHEAD, OptionalSource, Settings, is_share, node};
use crate::clock::{self, Clocking};
use crate::error::AgentError;

/// A file of settings; `deploy/agent.toml` explains each.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    out: PathBuf,
    #[serde(default)]
    gpu: Option<String>,
    #[serde(default)]
    with: Vec<OptionalSource>,
    #[serde(default)]
    without: Vec<LeftOut>,
    #[serde(default = "default_overhead")]
    max_overhead: f64,
    #[serde(default)]
    libraries: Vec<PathBuf>,
    #[serde(default)]
    layouts: Option<PathBuf>,
    #[serde(default)]
    node: Option<String>,
    #[serde(default)]
    clock: Option<Clocking>,
}

fn default_overhead() -> f64 {
    MAX_OVERHEAD
}

/// Reads a file of settings. The run gets a folder of its own, named after `time`, in the folder that the file names.
///
/// # Errors
/// It cannot be read, or holds something else.
pub fn read(path: &Path, time: &str) -> Result<Settings, AgentError> {
    let wrong = |text: String| AgentError::Config { path: path.to_owned(), text };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    parse(&text, time).map_err(wrong)
}

fn parse(text: &str, time: &str) -> Result<Settings, String> {
    let config: Config = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    let gpu = match config.gpu.as_deref() {
        None => None,
        Some(text) => {
            let level = Level::from_text(text);
            Some(level.ok_or_else(|| format!("gpu = \"{text}\": off, graph, kernel, launch or deep"))?)
        }
    };
    if !is_share(config.max_overhead) {
        return Err(format!("max_overhead = {}: a share of a core in %, as 5 or 0.5", config.max_overhead));
    }
    let node = config.node.map(|name| node(&name)).transpose()?;
    if let Some(clock) = &config.clock {
        clock.peers.iter().try_for_each(|peer| clock::peer(peer).map(drop))?;
    }
    let is_without_scheduler = config.without.contains(&LeftOut::Sched);
    if is_without_scheduler && config.with.contains(&OptionalSource::Sched) {
        return Err("sched is in `with` and in `without`".to_owned());
    }
    Ok(Settings {
        out: Some(config.out.join(format!("kvpath-run-{time}"))),
        duration: None,
        libraries: config.libraries,
        layouts: config.layouts,
        gpu,
        extras: config.with,
        is_without_scheduler,
        is_without_room: config.without.contains(&LeftOut::Room),
        max_overhead: config.max_overhead,
        node,
        clock: config.clock,
        command: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../../deploy/agent.toml");

    /// The example with its commented settings in force.
    fn all_set() -> String {
        let is_setting = |line: &&str| line.starts_with("# ") && (line.contains(" = ") || line.starts_with("# ["));
        // What is asked for cannot be left out too.
        let lines = EXAMPLE.lines().filter(|line| !line.contains("without ="));
        let lines = lines.map(|line| if is_setting(&line) { &line[2..] } else { line });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_example_is_the_defaults() {
        let read = parse(EXAMPLE, "T").unwrap();
        assert_eq!(read.out.as_deref(), Some(Path::new("/var/lib/kvpath/kvpath-run-T")));
        assert_eq!((read.gpu, read.max_overhead), (None, MAX_OVERHEAD));
        assert!(
            !read.is_without_scheduler
                && !read.is_without_room
                && read.extras.is_empty()
                && read.libraries.is_empty()
                && read.command.is_empty()
        );
        assert!(read.node.is_none() && read.clock.is_none() && read.layouts.is_none());
    }

    #[test]
    fn every_setting_of_the_example_is_one() {
        let read = parse(&all_set(), "T").unwrap();
        assert_eq!(read.gpu, Some(Level::Kernel));
        assert_eq!(read.extras, OptionalSource::ALL);
        assert_eq!(read.libraries.len(), 1);
        assert_eq!(read.layouts.as_deref(), Some(Path::new("/var/lib/kvpath/layouts")));
        assert_eq!(read.node.as_deref(), Some("gpu-1"));
        let clock = read.clock.unwrap();
        assert_eq!((clock.peers.len(), clock.listen.port()), (2, 7433));
        assert_eq!(clock.key, Path::new("/etc/kvpath/clock.key"));
    }

    #[test]
    fn what_is_on_by_default_can_be_left_out() {
        assert!(EXAMPLE.contains("# without = [\"sched\", \"room\"]"));
        let read = parse("out = \"/x\"\nwithout = [\"sched\"]", "T").unwrap();
        assert!(read.is_without_scheduler && !read.is_without_room);
        assert!(parse("out = \"/x\"\nwithout = [\"room\"]", "T").unwrap().is_without_room);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("", "out"),
            ("out = 5", "string"),
            ("out = \"/x\"\nmax_overhead = 0.0", "max_overhead = 0"),
            ("out = \"/x\"\nmax_overhead = nan", "max_overhead = NaN"),
            ("out = \"/x\"\ngpu = \"all\"", "gpu = \"all\""),
            ("out = \"/x\"\nwith = [\"udp\"]", "udp"),
            ("out = \"/x\"\nwithout = [\"ucx\"]", "ucx"),
            ("out = \"/x\"\nwith = [\"sched\"]\nwithout = [\"sched\"]", "sched is in"),
            ("out = \"/x\"\nmax_overhed = 5", "max_overhed"),
            ("out = \"/x\"\nnode = \"a/b\"", "a/b"),
            ("out = \"/x\"\n[clock]\nlisten = \"0.0.0.0:7433\"", "key"),
            ("out = \"/x\"\n[clock]\nkey = \"k\"\nlisten = \"node-a\"", "listen"),
            ("out = \"/x\"\n[clock]\nkey = \"k\"\nlisten = \"0.0.0.0:1\"\npeers = [\"node-b\"]", "node-b"),
            ("out = \"/x\"\n[clock]\nkey = \"k\"\nlisten = \"0.0.0.0:1\"\nhz = 5", "hz"),
        ] {
            let error = parse(text, "T").unwrap_err();
            assert!(error.contains(word), "{text:?}: {error}");
        }
    }
}
