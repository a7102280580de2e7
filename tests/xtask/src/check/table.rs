//! The floors of the analysis crate, the crates of each program, and what is not yet as it should be.

use super::floors::{Exception, Floor};
use super::seams::Program;

/// Floors of `analyzer/analysis/src`, lowest first; ARCHITECTURE.md says what each is for.
pub(super) const FLOORS: &[Floor] = &[
    Floor {
        name: "support",
        modules: &["error", "spill", "intervals", "method", "number", "settings", "title", "units"],
        apart: false,
    },
    Floor { name: "load", modules: &["load"], apart: false },
    Floor { name: "clocks", modules: &["clocks"], apart: false },
    Floor { name: "facts", modules: &["facts"], apart: false },
    Floor { name: "serving", modules: &["serving"], apart: false },
    Floor { name: "timeline", modules: &["timeline"], apart: false },
    Floor { name: "structure", modules: &["structure"], apart: false },
    Floor { name: "graph", modules: &["graph"], apart: false },
    Floor {
        name: "answers",
        modules: &[
            "path",
            "audit",
            "bubbles",
            "handoffs",
            "coverage",
            "requests",
            "joins",
            "gpu_clock",
            "steps",
            "stuck",
            "contacts",
            "heartbeats",
            "others",
        ],
        apart: true,
    },
    Floor { name: "findings", modules: &["findings"], apart: false },
    Floor { name: "model", modules: &["model"], apart: false },
];

/// Upward imports that are known, to go.
pub(super) const EXCEPTIONS: &[Exception] = &[];

/// Modules of the analysis crate that read files, have them read, or say why they cannot be read.
pub(super) const READERS: &[&str] = &["load", "model", "spill", "error"];

/// What reads: only [`READERS`] name it.
pub(super) const READING: &[&[&str]] = &[&["crate", "load", "Run"], &["kvpath_schema", "segment"], &["std", "fs"]];

/// The analyzer.
pub(super) const ANALYZER: &Program =
    &Program { folder: "analyzer", crates: &["kvpath", "kvpath_analysis", "kvpath_import"] };

/// The agent.
pub(super) const AGENT: &Program =
    &Program { folder: "agent", crates: &["kvpath_agent", "kvpath_ring", "kvpath_inject", "kvpath_cupti_sys"] };

/// Files below the command line that name clap or `cli` still, to go.
pub(super) const KNOW_THE_COMMAND_LINE: &[&str] = &[];

/// This file, as problems name it.
pub(super) const FILE: &str = "tests/xtask/src/check/table.rs";
