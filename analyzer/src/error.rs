//! Exit codes.

/// Exit code: fine, or pass.
pub const OK: u8 = 0;
/// Exit code: a regression or a loss was found.
pub const FOUND: u8 = 1;
/// Exit code: cannot judge, or bad input.
pub const BAD_INPUT: u8 = 2;
