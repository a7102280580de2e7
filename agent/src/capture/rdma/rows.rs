//! Records to rows. Pure.

use kvpath_schema::cell::Name;
use kvpath_schema::tables::rdma::RdmaOp;
use kvpath_schema::wire::rdma::{Call, Returned};
use zerocopy::FromBytes as _;

/// Reads a record; `None` if it is none.
pub fn returned(bytes: &[u8]) -> Option<Returned> {
    Returned::read_from_prefix(bytes).ok().map(|(returned, _)| returned)
}

/// The row of a call; `None` if the call is unknown.
pub fn row(returned: &Returned, process_id: i64, tid: i32) -> Option<RdmaOp> {
    let Returned { time_ns, result, entry, .. } = *returned;
    let call = Call::from_u32(entry.call)?;
    let [first, second, third, fourth] = entry.args;
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let makes = matches!(call, Call::RegMr | Call::RegDmabuf | Call::CreateQp | Call::CreateCq | Call::DevxCreate);
    // The others return an int, whose upper half means nothing.
    let number = u32::try_from(result & 0xffff_ffff).unwrap_or(0).cast_signed();
    let status = match (makes, result, number) {
        (true, 0, _) => "error".into(),
        (false, _, number) if number != 0 => format!("error {number}").as_str().into(),
        _ => "ok".into(),
    };
    Some(RdmaOp {
        start_ns: signed(entry.time_ns),
        dur_ns: signed(time_ns.saturating_sub(entry.time_ns)),
        process_id,
        tid,
        op: name(call).into(),
        bytes: matches!(call, Call::RegMr | Call::RegDmabuf).then(|| signed(third)),
        // pd, addr, length, iova, ...; pd, offset, length, iova, ...
        addr: match call {
            Call::RegMr => Some(second),
            Call::RegDmabuf => Some(fourth),
            _ => None,
        },
        qp_state: (call == Call::ModifyQp && entry.state != u32::MAX).then(|| state(entry.state)),
        object: if makes { Some(result).filter(|object| *object != 0) } else { Some(first) },
        status,
    })
}

fn name(call: Call) -> &'static str {
    match call {
        Call::RegMr => "reg_mr",
        Call::RegDmabuf => "reg_dmabuf_mr",
        Call::DeregMr => "dereg_mr",
        Call::CreateQp => "create_qp",
        Call::ModifyQp => "modify_qp",
        Call::DestroyQp => "destroy_qp",
        Call::CreateCq => "create_cq",
        Call::DevxCreate => "devx_obj_create",
    }
}

/// `enum ibv_qp_state` of infiniband/verbs.h.
fn state(number: u32) -> Name {
    match number {
        0 => "RESET".into(),
        1 => "INIT".into(),
        2 => "RTR".into(),
        3 => "RTS".into(),
        6 => "ERR".into(),
        other => other.to_string().as_str().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvpath_schema::wire::rdma::{ARGS, Entry};

    fn op(call: Call, args: [u64; ARGS], state: u32, result: u64) -> RdmaOp {
        let entry = Entry { time_ns: 10, args, state, call: call as u32 };
        row(&Returned { time_ns: 30, pid_tgid: 0, result, entry }, 1, 2).unwrap()
    }

    #[test]
    fn a_registration_has_its_memory_and_its_region() {
        let row = op(Call::RegMr, [1, 0x1000, 4096, 0x1000], u32::MAX, 0x5000);
        assert_eq!((row.bytes, row.addr, row.object, &*row.status), (Some(4096), Some(0x1000), Some(0x5000), "ok"));
        assert_eq!(row.dur_ns, 20);
        let refused = op(Call::RegDmabuf, [1, 0, 4096, 0x2000], u32::MAX, 0);
        assert_eq!((refused.addr, refused.object, &*refused.status), (Some(0x2000), None, "error"));
    }

    #[test]
    fn a_queue_pair_goes_through_its_states() {
        let row = op(Call::ModifyQp, [7, 8, 9, 0], 2, 0xffff_ffff_0000_0000);
        assert_eq!((row.qp_state.as_deref(), row.object, &*row.status), (Some("RTR"), Some(7), "ok"));
        assert_eq!(&*op(Call::ModifyQp, [7, 8, 9, 0], 3, 22).status, "error 22");
        assert_eq!(op(Call::ModifyQp, [7, 8, 9, 0], u32::MAX, 0).qp_state, None);
        assert_eq!(op(Call::DestroyQp, [7, 0, 0, 0], u32::MAX, 0).object, Some(7));
    }

    #[test]
    fn what_is_cut_or_unknown_is_no_row() {
        assert_eq!(returned(&[0; 71]), None);
        let unknown = returned(&[0; 72]).unwrap();
        assert!(row(&unknown, 1, 2).is_none());
    }
}
