//! The fixed words of each kind of record: first whole words, then halves, two a word, the first in the low half.
//!
//! Times are `CLOCK_MONOTONIC` ns. Device, context and stream are CUPTI's numbers; a name is an id in the name area.

use super::Kind;

/// A kind of record.
pub trait RingRecord: Sized {
    /// Its number.
    const KIND: Kind;
    /// Its words.
    const WORDS: usize;
    /// Writes its words into the first [`RingRecord::WORDS`] of `into`.
    fn write(&self, into: &mut [u64]);
    /// Reads it; `None` if there are too few words.
    fn read(words: &[u64]) -> Option<Self>;
}

macro_rules! record {
    (
        $(#[doc = $doc:literal])+
        $name:ident {
            words { $( $(#[doc = $word_doc:literal])+ $word:ident, )* }
            halves { $( $(#[doc = $half_doc:literal])+ $half:ident, )* }
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $name {
            $( $(#[doc = $word_doc])+ pub $word: u64, )*
            $( $(#[doc = $half_doc])+ pub $half: u32, )*
        }

        impl RingRecord for $name {
            const KIND: Kind = Kind::$name;
            const WORDS: usize = {
                let words: &[&str] = &[ $( stringify!($word) ),* ];
                let halves: &[&str] = &[ $( stringify!($half) ),* ];
                words.len() + halves.len().div_ceil(2)
            };

            #[inline]
            #[allow(unused_assignments, unused_mut, unused_variables, reason = "kinds without halves")]
            fn write(&self, into: &mut [u64]) {
                let mut at = 0;
                $( into[at] = self.$word; at += 1; )*
                let mut half = 2 * at;
                $(
                    if half % 2 == 0 {
                        into[half / 2] = u64::from(self.$half);
                    } else {
                        into[half / 2] |= u64::from(self.$half) << 32;
                    }
                    half += 1;
                )*
            }

            #[inline]
            #[allow(unused_assignments, unused_mut, unused_variables, reason = "kinds without halves")]
            #[allow(clippy::cast_possible_truncation, reason = "the halves of a word")]
            fn read(words: &[u64]) -> Option<Self> {
                if words.len() < Self::WORDS {
                    return None;
                }
                let mut at = 0;
                $( let $word = words[at]; at += 1; )*
                let mut half = 2 * at;
                $( let $half = (words[half / 2] >> (32 * (half % 2))) as u32; half += 1; )*
                Some(Self { $( $word, )* $( $half, )* })
            }
        }
    };
}

record! {
    /// A kernel execution.
    Kernel {
        words {
            /// Start on the GPU.
            start_ns,
            /// End on the GPU.
            end_ns,
            /// Node in a CUDA graph; 0 outside of graphs.
            graph_node,
        }
        halves {
            /// Name.
            name,
            /// CUPTI's correlation id.
            correlation,
            /// Device.
            device,
            /// Context.
            context,
            /// Stream.
            stream,
            /// Executable graph; 0 outside of graphs.
            graph,
            /// Grid, x.
            grid_x,
            /// Grid, y.
            grid_y,
            /// Grid, z.
            grid_z,
            /// Block, x.
            block_x,
            /// Block, y.
            block_y,
            /// Block, z.
            block_z,
        }
    }
}

record! {
    /// A copy.
    Memcpy {
        words {
            /// Start on the GPU.
            start_ns,
            /// End on the GPU.
            end_ns,
            /// Size, bytes.
            bytes,
            /// Node in a CUDA graph; 0 outside of graphs.
            graph_node,
        }
        halves {
            /// Device whose engine copied.
            device,
            /// Context.
            context,
            /// Stream.
            stream,
            /// CUPTI's correlation id.
            correlation,
            /// Kind, as `CUpti_ActivityMemcpyKind`.
            copy_kind,
            /// Source device of a peer copy, plus one; 0 for other copies.
            src_device,
            /// Destination device of a peer copy, plus one; 0 for other copies.
            dst_device,
        }
    }
}

record! {
    /// A memset.
    Memset {
        words {
            /// Start on the GPU.
            start_ns,
            /// End on the GPU.
            end_ns,
            /// Size, bytes.
            bytes,
        }
        halves {
            /// Device.
            device,
            /// Context.
            context,
            /// Stream.
            stream,
            /// CUPTI's correlation id.
            correlation,
        }
    }
}

record! {
    /// A synchronisation.
    Sync {
        words {
            /// Start.
            start_ns,
            /// End.
            end_ns,
            /// Which recording of the event was waited for; 0 where there is none or CUPTI is older than 12.8.
            event_sync,
        }
        halves {
            /// What it was, as `CUpti_ActivitySynchronizationType`.
            sync_kind,
            /// Context.
            context,
            /// Stream; 2^32-1 where there is none.
            stream,
            /// CUPTI's correlation id.
            correlation,
            /// Event; 2^32-1 where there is none.
            event,
        }
    }
}

record! {
    /// A call of a function of `calls::CALLS`; the record's thread is the caller's.
    Call {
        words {
            /// Entry.
            start_ns,
            /// Return.
            end_ns,
        }
        halves {
            /// CUPTI's correlation id.
            correlation,
            /// CUPTI's number of the function.
            cbid,
            /// 0 for the driver API, 1 for the runtime API.
            domain,
            /// What it returned.
            status,
        }
    }
}

record! {
    /// A launch of a whole CUDA graph.
    Graph {
        words {
            /// Start on the GPU.
            start_ns,
            /// End on the GPU.
            end_ns,
        }
        halves {
            /// Executable graph.
            graph,
            /// CUPTI's correlation id.
            correlation,
            /// Device.
            device,
            /// Context.
            context,
            /// Stream.
            stream,
        }
    }
}

record! {
    /// Time that CUPTI or the driver took for itself; the record's thread is the one that lost it, 0 if unknown.
    Overhead {
        words {
            /// Start.
            start_ns,
            /// End.
            end_ns,
        }
        halves {
            /// What for, as `CUpti_ActivityOverheadKind`.
            overhead_kind,
        }
    }
}

record! {
    /// An event was recorded into a stream. CUPTI gives it no time; its call has one.
    Event {
        words {
            /// Which recording of the event this is; joins [`Sync::event_sync`]. 0 with CUPTI older than 12.8.
            event_sync,
        }
        halves {
            /// Event.
            event,
            /// CUPTI's correlation id.
            correlation,
            /// Context.
            context,
            /// Stream.
            stream,
        }
    }
}

/// Types of an NVTX payload, as NVTX numbers them.
pub mod payload {
    /// None.
    pub const NONE: u32 = 0;
    /// `uint64_t`.
    pub const U64: u32 = 1;
    /// `int64_t`.
    pub const I64: u32 = 2;
    /// `double`.
    pub const F64: u32 = 3;
    /// `uint32_t`.
    pub const U32: u32 = 4;
    /// `int32_t`.
    pub const I32: u32 = 5;
    /// `float`.
    pub const F32: u32 = 6;
}

record! {
    /// A range begins on its thread. Text follows if `text` is 0.
    Push {
        words {
            /// When.
            time_ns,
            /// Payload, its bytes.
            payload,
        }
        halves {
            /// Name of the domain; 0 for the default one.
            domain,
            /// Text, if it is a name.
            text,
            /// Ranges of this domain that were open on the thread: how its end is found even if some were lost.
            depth,
            /// Type of the payload, of [`payload`].
            payload_kind,
        }
    }
}

record! {
    /// A range of the thread ends.
    Pop {
        words {
            /// When.
            time_ns,
        }
        halves {
            /// Name of the domain.
            domain,
            /// The depth that its [`Push`] had.
            depth,
        }
    }
}

record! {
    /// A range begins that may end on another thread. Text follows if `text` is 0.
    Start {
        words {
            /// When.
            time_ns,
            /// Payload, its bytes.
            payload,
            /// Its id in the process.
            id,
        }
        halves {
            /// Name of the domain.
            domain,
            /// Text, if it is a name.
            text,
            /// Type of the payload.
            payload_kind,
        }
    }
}

record! {
    /// Such a range ends.
    End {
        words {
            /// When.
            time_ns,
            /// Its id in the process.
            id,
        }
        halves {}
    }
}

record! {
    /// A marker. Text follows if `text` is 0.
    Mark {
        words {
            /// When.
            time_ns,
            /// Payload, its bytes.
            payload,
        }
        halves {
            /// Name of the domain.
            domain,
            /// Text, if it is a name.
            text,
            /// Type of the payload.
            payload_kind,
        }
    }
}

record! {
    /// A thread got a name. Text follows.
    ThreadName {
        words {}
        halves {
            /// OS thread id that is named.
            tid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_short_ones_do_not() {
        let kernel = Kernel {
            start_ns: 1,
            end_ns: u64::MAX,
            graph_node: 3,
            name: 4,
            correlation: u32::MAX,
            device: 6,
            context: 7,
            stream: 8,
            graph: 9,
            grid_x: 10,
            grid_y: 11,
            grid_z: 12,
            block_x: 13,
            block_y: 14,
            block_z: 15,
        };
        let mut words = [u64::MAX; 16];
        kernel.write(&mut words);
        assert_eq!((Kernel::WORDS, words[Kernel::WORDS]), (9, u64::MAX));
        assert_eq!(Kernel::read(&words), Some(kernel));
        assert_eq!(Kernel::read(&words[..8]), None);

        let odd = Start { time_ns: 1, payload: 2, id: 3, domain: 4, text: 5, payload_kind: 6 };
        let mut words = [0; 5];
        odd.write(&mut words);
        assert_eq!((Start::WORDS, Start::read(&words)), (5, Some(odd)));
        let end = End { time_ns: 5, id: 6 };
        end.write(&mut words);
        assert_eq!((End::WORDS, End::read(&words), ThreadName::WORDS), (2, Some(end), 1));
    }
}
