//! What a run consists of.
//!
//! [`lanes`] (what ran, forward passes, found by [`mine`] or named by [`ranges`]) and [`posts`] (what was handed over) give
//! [`stages`], each of one or several [`ranks`]; [`carriers`] says which copies carry KV; these give [`requests`], with the passes of each ([`division`]); [`held_layers`] says which layers lie in the memory
//! that hand-offs touch; and from those come [`chunks`].

pub mod carriers;
pub mod chunks;
pub mod division;
mod fills;
pub mod held_layers;
pub mod lanes;
pub mod mine;
mod nameless;
mod order;
mod periods;
pub mod posts;
pub mod ranges;
pub mod ranks;
pub mod requests;
pub mod stages;
mod tokens;
