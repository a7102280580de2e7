//! SQL over a run.
