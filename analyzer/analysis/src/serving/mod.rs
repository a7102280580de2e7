//! Everything that is known of serving engines: what their process titles, request ids, messages, NVTX ranges and orders of
//! registration say.

pub mod ids;
pub mod layer_names;
pub mod lookup;
pub mod region_order;
pub mod titles;
