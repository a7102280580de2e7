//! How the clocks of several hosts stand to each other, as probes between them saw it.

use crate::cell::Name;

crate::define_table! {
    /// A probe that this host sent to a peer and that came back: four readings of two clocks. Each way is a message, which
    /// left before it arrived: that bounds the clocks' offset from either side, whatever delayed it. Probes that did not come
    /// back have no row; `capture_info` counts them.
    Raw clock_probes: ClockProbe, ClockProbes, sorted by [sent_ns] {
        /// Clock of this host, read before the probe was handed to its kernel, ns.
        sent_ns: i64 => Delta,
        /// Clock of this host, read after the answer was taken from its kernel, ns.
        received_ns: i64 => Delta,
        /// Host that answered, as `node=` of its own segments names it.
        peer: Name => Dict,
        /// Clock of the peer, read after it took the probe from its kernel, ns since that clock's own zero.
        peer_received_ns: i64 => Delta,
        /// Clock of the peer, read before it handed the answer to its kernel, ns since that clock's own zero.
        peer_sent_ns: i64 => Delta,
        /// Number of the probe among those of this host, to whichever peer, from 0; one that is missing was not answered.
        sequence: i64 => Delta,
    }
}
