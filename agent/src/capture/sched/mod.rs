//! The scheduler by its tracepoints: why threads were off the CPU, and who ended that. Every switch and every waking on the machine
//! pays for look-ups.
//!
//! Hooks: `sched_switch` and `sched_waking` by the kernel's types (BTF), for threads that made a recorded call and for the main threads of the
//! processes that started theirs; filtered in the kernel.
//! Emits: `sched`.
//! Loses when full: whole intervals, counted.
//! Limits: a thread is watched from the first look after its first recorded call on (20 ms), and an interval that was
//! begun before that is not told. A file is looked up when its interval is read, up to 20 ms later.

mod calls;
mod files;
mod parents;
pub mod programs;
mod rows;
pub mod source;
