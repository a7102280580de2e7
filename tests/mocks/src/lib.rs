//! A stand-in for libcupti: the C functions that `libkvpath_inject.so` calls, and a GPU that does what [`script`] says.
//!
//! `MOCK_CUPTI_VERSION` is the version it says it has; from 13 (130000) on its records are longer, as the real ones are.
//! The mock host loads the same library and calls the `mock_*` functions.

pub mod cupti;
pub mod script;
