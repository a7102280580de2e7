//! The clocks of several hosts on one axis, with an error that is a guarantee.
//!
//! A message leaves before it arrives, whatever delays it on its way: one that host H sent at `h` on its own clock, and that
//! arrived at `r` on R's, says that R's clock showed `r` at most when H's showed `h`; one from R to H says the contrary. So each
//! message bounds the offset `o(h) = r - h` from one side at one time. Within a [`windows::Window`] the offset is taken to be a
//! straight line (both clocks steady, rates at most 500 ppm apart); all lines that satisfy all messages ([`bounds`]) give the
//! least and the most that it can be at any time, a line in their middle moves times ([`map`]), and the farther bound is its
//! error. Ways need not be symmetric: the floor of the error is half of the shortest round trip. Messages in one direction bound
//! one side only: no error is given then, and times are not moved by them.

pub mod bounds;
mod chain;
mod hosts;
pub mod map;
pub mod observe;
pub mod rows;
mod table;
#[cfg(test)]
mod tests;
pub mod windows;

pub use chain::Chain;
pub use hosts::{Carrier, Clocks, HostClock, HostFacts, Message};
