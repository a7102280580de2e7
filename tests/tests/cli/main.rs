//! The analyzer as its users run it: on the bundled H200 recordings, and on bad input.

mod audit;
mod bad_input;
mod clocks;
mod edges;
mod even;
mod findings;
mod full;
mod import;
mod json;
mod kineto;
mod lacking;
mod limits;
mod live;
mod output;
mod path;
mod planted;
mod pulls;
mod ranks;
mod report;
mod runs;
mod sglang;
mod staging;
mod steps;
mod uneven;
mod witness;
mod workload;
