//! Everything that is known of serving engines: what their notifications, process titles and NVTX ranges say, and in which
//! order they register memory. The rest of the analyzer asks here and names no engine.
//!
//! One file an engine ([`vllm`], [`sglang`], [`dynamo`], [`workload`]: how it writes, by version where versions differ), and one a question:
//! [`notifications`], [`purposes`], [`ids`], [`titles`], [`cores`], [`layer_names`], [`region_order`], [`rooms`]. [`told`] is what clients say.

pub mod continued;
pub mod cores;
mod dynamo;
pub mod ids;
pub mod layer_names;
pub mod leases;
pub mod lookup;
mod msgpack;
pub mod notifications;
pub mod purposes;
pub mod region_order;
pub mod rooms;
mod sglang;
pub mod titles;
pub mod told;
mod vllm;
mod workload;

pub use vllm::without_suffix;
