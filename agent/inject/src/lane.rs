//! Which lane of the ring the calling thread writes to.

use std::cell::Cell;

use kvpath_schema::wire::ring::Loss;
use kvpath_schema::wire::ring::records::RingRecord;

use crate::ffi;
use crate::session::Session;

/// How many records a thread without a lane drops before it looks for one again.
const LOOK_EVERY: u32 = 256;

/// What a thread remembers. Plain cells without destructors: nothing of ours runs when a thread ends.
struct ThreadState {
    /// Address of the session that the rest is about; 0 for none.
    session: Cell<usize>,
    tid: Cell<u32>,
    /// 0 for none.
    lane: Cell<u32>,
    dropped: Cell<u32>,
}

thread_local! {
    static OWN: ThreadState =
        const { ThreadState { session: Cell::new(0), tid: Cell::new(0), lane: Cell::new(0), dropped: Cell::new(0) } };
}

/// Writes a record of the calling thread; without a lane it is dropped and counted.
pub fn push<R: RingRecord>(session: &'static Session, record: &R, text: Option<&[u8]>) {
    let found = OWN.with(|own| {
        let address = std::ptr::from_ref(session).addr();
        if own.session.get() != address {
            own.session.set(address);
            own.tid.set(ffi::tid());
            own.lane.set(0);
            own.dropped.set(0);
        }
        if own.lane.get() == 0 {
            let dropped = own.dropped.get();
            own.dropped.set(dropped.wrapping_add(1));
            if dropped.is_multiple_of(LOOK_EVERY) {
                let lane = session.ring.claim(own.tid.get(), ffi::thread_lives);
                own.lane.set(lane.and_then(|lane| u32::try_from(lane).ok()).unwrap_or(0));
            }
        }
        (own.lane.get() > 0).then(|| (own.lane.get() as usize, own.tid.get()))
    });
    match found {
        Some((lane, tid)) => {
            session.ring.push(lane, tid, record, text);
        }
        None => session.ring.lose(Loss::NoLane, R::KIND, 1),
    }
}
