//! UCX by uprobes on `libucp` and the libraries of its transports, where it is asked for: a program that posts thousands of
//! small pieces feels two traps for each.
//!
//! Hooks: `ucp_{put,get,am_send,tag_send,ep_flush}_nbx` (entry and return), `ucp_request_free`, and the exported
//! `uct_TRANSPORT_ep_{put,get,am}_*`. Only arguments of the public interface are read, which the soname libucp.so.0 keeps
//! stable; a transport's function gives its name alone.
//! Emits: `ucx_ops`, `ucx_transport_calls`.
//! Loses when full: whole records, counted; the traced process never waits.
//! Limits: transports whose functions are not exported (cma, parts of ib) are not told; what a device does after its
//! doorbell is invisible.

pub mod functions;
pub mod ops;
pub mod programs;
pub mod source;
