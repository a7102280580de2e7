//! Recordings of a pipeline that never ran, with the truth beside them.
//!
//! An integer-ns discrete-event simulation of disaggregated serving (prefill stages, NIXL hand-off, decode), written as
//! the segments that `kvpath-agent` writes, together with what an analyzer should find in them: every request's critical
//! path, why every stage was idle at every ns, what caused each wait, and when every transfer was really complete. The
//! analyzer is tested against it, so it shares no code with it and depends on the schema alone.
//!
//! * [`engine`]: operations on lanes, and the gates that bind them.
//! * [`rig`]: processes, streams and CUDA calls on top of it.
//! * [`model`]: a pipeline under load, of any size, in bounded memory.
//! * [`cases`]: small runs whose every figure can be derived by hand.
//! * [`ids`]: what requests are called.
//! * [`record`]: operations become records; [`distort`]: clocks, losses, order, polls.
//! * [`truth`]: what is true, and the format in which it is written.

pub mod cases;
pub mod distort;
pub mod engine;
pub mod ids;
pub mod model;
pub mod names;
pub mod record;
pub mod rig;
pub mod truth;
