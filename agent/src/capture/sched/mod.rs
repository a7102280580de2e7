//! The scheduler by its tracepoints, where it is asked for: every switch on the machine pays two look-ups.
//!
//! Hooks: `sched:sched_switch` and `sched:sched_wakeup`, for threads that made a recorded call; filtered in the kernel.
//! Emits: `sched`.
//! Loses when full: whole intervals, counted.
//! Limits: a thread is watched from the first look after its first recorded call on (20 ms), and an interval that was
//! begun before that is not told.

pub mod programs;
mod rows;
pub mod source;
