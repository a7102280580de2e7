//! Records to rows: a call's return, and later the end of its request. Pure.

use std::collections::HashMap;

use kvpath_schema::cell::Name;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::ucx::{UcxOp, UcxOps};
use kvpath_schema::wire::ucx::{Call, Entry, Freed, Header, Op};
use zerocopy::FromBytes as _;

/// Pointers from here on are errors: `UCS_PTR_IS_ERR` of ucs/type/status.h, with `UCS_ERR_LAST` = -100.
const FIRST_ERROR: u64 = (-100i64).cast_unsigned();

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UcxRecord {
    /// A call returned.
    Op {
        /// Process.
        pid: i32,
        /// Thread.
        tid: i32,
        /// Return, ns.
        time_ns: i64,
        /// Which call.
        call: Call,
        /// What its entry said.
        entry: Entry,
        /// What it returned.
        result: u64,
    },
    /// A request is being freed.
    Freed {
        /// Process.
        pid: i32,
        /// When, ns.
        time_ns: i64,
        /// The request.
        request: u64,
    },
}

/// Reads a record; `None` if it is none.
pub fn record(bytes: &[u8]) -> Option<UcxRecord> {
    let (Header { time_ns, pid_tgid, call, .. }, _) = Header::read_from_prefix(bytes).ok()?;
    let half = |value: u64| i32::try_from(value & 0xffff_ffff).ok();
    let (pid, time_ns) = (half(pid_tgid >> 32)?, i64::try_from(time_ns).unwrap_or(i64::MAX));
    match Call::from_u32(call)? {
        Call::Free => {
            let (Freed { request, .. }, _) = Freed::read_from_prefix(bytes).ok()?;
            Some(UcxRecord::Freed { pid, time_ns, request })
        }
        Call::Transport => None,
        call => {
            let (Op { entry, result, .. }, _) = Op::read_from_prefix(bytes).ok()?;
            Some(UcxRecord::Op { pid, tid: half(pid_tgid)?, time_ns, call, entry, result })
        }
    }
}

/// Ops whose requests live, and rows that are ready.
#[derive(Debug, Default)]
pub struct Ops {
    open: HashMap<(i64, u64), UcxOp>,
    rows: UcxOps,
}

impl Ops {
    /// Takes a call's return; `transport` is that of the function it entered first.
    pub fn returned(
        &mut self,
        process_id: i64,
        (tid, time_ns): (i32, i64),
        call: Call,
        entry: &Entry,
        result: u64,
        transport: Option<&(String, String)>,
    ) {
        let start_ns = i64::try_from(entry.time_ns).unwrap_or(i64::MAX);
        let named = |text: &str| Name::from(text);
        let mut row = UcxOp {
            start_ns,
            dur_ns: time_ns.saturating_sub(start_ns),
            process_id,
            tid,
            op: name(call).into(),
            bytes: (entry.bytes_known == 1).then(|| i64::try_from(entry.bytes).unwrap_or(i64::MAX)),
            ep: entry.ep,
            remote_addr: matches!(call, Call::Put | Call::Get).then_some(entry.remote),
            status: "pending".into(),
            ended_by_ns: None,
            transport: transport.map(|(transport, _)| named(transport)),
            function: transport.map(|(_, function)| named(function)),
        };
        match result {
            0 => {
                row.status = "done".into();
                row.ended_by_ns = Some(time_ns);
                self.rows.push(row);
            }
            FIRST_ERROR.. => {
                row.status = format!("error {}", result.cast_signed()).as_str().into();
                self.rows.push(row);
            }
            request => {
                // A request that is handed out again had ended, and its freeing was lost.
                if let Some(before) = self.open.insert((process_id, request), row) {
                    self.rows.push(before);
                }
            }
        }
    }

    /// Takes the freeing of a request; those of calls that are not recorded are many.
    pub fn freed(&mut self, process_id: i64, time_ns: i64, request: u64) {
        if let Some(mut row) = self.open.remove(&(process_id, request)) {
            row.status = "ended".into();
            row.ended_by_ns = Some(time_ns);
            self.rows.push(row);
        }
    }

    /// Gives up what a process (`None`: any) has left open.
    pub fn end(&mut self, process_id: Option<i64>) {
        let mut keys: Vec<_> =
            self.open.keys().filter(|key| process_id.is_none_or(|process| process == key.0)).copied().collect();
        keys.sort_unstable();
        for key in keys {
            if let Some(row) = self.open.remove(&key) {
                self.rows.push(row);
            }
        }
    }

    /// The rows that are ready, which are forgotten here.
    pub fn take_rows(&mut self) -> UcxOps {
        std::mem::take(&mut self.rows)
    }
}

fn name(call: Call) -> &'static str {
    match call {
        Call::Put => "put",
        Call::Get => "get",
        Call::Am => "am",
        Call::Tag => "tag",
        Call::Flush => "flush",
        Call::Free => "free",
        Call::Transport => "transport",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ENTRY: Entry = Entry { time_ns: 100, ep: 7, remote: 9, bytes: 4096, function: 1, bytes_known: 1 };

    fn ops(steps: &[(Call, u64)], freed: &[u64]) -> UcxOps {
        let mut ops = Ops::default();
        let transport = ("tcp".to_owned(), "put_zcopy".to_owned());
        for (call, result) in steps {
            ops.returned(1, (2, 150), *call, &ENTRY, *result, Some(&transport));
        }
        for request in freed {
            ops.freed(1, 300, *request);
        }
        ops.end(None);
        ops.take_rows()
    }

    #[test]
    fn what_a_call_returns_says_how_it_stands() {
        let rows = ops(&[(Call::Put, 0), (Call::Get, (-12i64).cast_unsigned()), (Call::Am, 0x5000)], &[]);
        let status: Vec<&str> = rows.status.iter().map(|status| &**status).collect();
        assert_eq!(status, ["done", "error -12", "pending"]);
        assert_eq!(rows.ended_by_ns, [Some(150), None, None]);
        assert_eq!(rows.remote_addr, [Some(9), Some(9), None]);
        assert_eq!(
            (rows.dur_ns[0], rows.transport[0].as_deref(), rows.function[0].as_deref()),
            (50, Some("tcp"), Some("put_zcopy"))
        );
    }

    #[test]
    fn a_freed_request_has_ended_and_an_unknown_one_is_not_ours() {
        let rows = ops(&[(Call::Put, 0x5000), (Call::Flush, 0x6000)], &[0x6000, 0x7000]);
        let found: Vec<_> = rows.op.iter().map(|op| &**op).zip(rows.ended_by_ns.iter().copied()).collect();
        assert_eq!(found, [("flush", Some(300)), ("put", None)]);
    }

    #[test]
    fn a_request_that_comes_again_without_its_end_is_two_ops() {
        let rows = ops(&[(Call::Put, 0x5000), (Call::Put, 0x5000)], &[0x5000]);
        assert_eq!(rows.ended_by_ns, [None, Some(300)]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), call in 0u32..9) {
            record(&bytes);
            let mut bytes = bytes;
            if bytes.len() >= 24 {
                bytes[16..20].copy_from_slice(&call.to_ne_bytes());
                record(&bytes);
            }
        }
    }
}
