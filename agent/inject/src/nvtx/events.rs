//! What an NVTX call means: a record, and the state of its thread.

use std::cell::Cell;

use kvpath_schema::wire::ring::Level;
use kvpath_schema::wire::ring::records::{End, Mark, Pop, Push, Start, ThreadName};

use super::registry::{self, DOMAINS};
use crate::ffi::now_ns;
use crate::lane;
use crate::session::Session;

/// What is returned for ranges where there is no recording: `NVTX_NO_PUSH_POP_TRACKING`.
pub const NO_TRACKING: i32 = -2;

/// An event's text.
#[derive(Debug, Clone, Copy)]
pub enum Text<'a> {
    /// Given with the event.
    Inline(&'a [u8]),
    /// A handle of a registered string.
    Registered(usize),
}

/// What an event says.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Its text.
    pub text: Text<'a>,
    /// Type of the payload, and its bytes.
    pub payload: (u32, u64),
}

impl<'a> Event<'a> {
    /// One that is a text only.
    pub fn of_text(text: &'a [u8]) -> Self {
        Self { text: Text::Inline(text), payload: (0, 0) }
    }

    /// The id of its text, or the text itself.
    fn text(&self, session: &Session) -> (u32, Option<&'a [u8]>) {
        match self.text {
            Text::Registered(handle) => match registry::string_text(session, handle) {
                0 => (0, Some(b"")),
                id => (id, None),
            },
            Text::Inline(text) => match session.texts.id(&session.ring, text) {
                0 => (0, Some(text)),
                id => (id, None),
            },
        }
    }
}

thread_local! {
    /// Open ranges of the thread, by domain. Plain cells: nothing of ours runs when a thread ends.
    static DEPTHS: [Cell<u32>; DOMAINS] = const { [const { Cell::new(0) }; DOMAINS] };
}

fn is_on(session: &Session) -> bool {
    session.ring.wanted().unwrap_or(session.level) != Level::Off
}

/// A range of the thread begins; its depth.
pub fn push(session: &'static Session, domain: usize, event: &Event<'_>) -> i32 {
    let depth = DEPTHS.with(|depths| depths.get(domain).map(|depth| depth.replace(depth.get().wrapping_add(1))));
    let Some(depth) = depth else { return NO_TRACKING };
    if is_on(session) {
        let time_ns = now_ns();
        let (text, inline) = event.text(session);
        let (payload_kind, payload) = event.payload;
        let domain = registry::domain_name(session, domain);
        lane::push(session, &Push { time_ns, payload, domain, text, depth, payload_kind }, inline);
    }
    i32::try_from(depth).unwrap_or(NO_TRACKING)
}

/// The thread's last range of a domain ends; its depth.
pub fn pop(session: &'static Session, domain: usize) -> i32 {
    let depth = DEPTHS.with(|depths| {
        let open = depths.get(domain)?;
        let depth = open.get().checked_sub(1)?;
        open.set(depth);
        Some(depth)
    });
    // More ends than beginnings: the recording began in between, or the program errs.
    let Some(depth) = depth else { return NO_TRACKING };
    if is_on(session) {
        let time_ns = now_ns();
        lane::push(session, &Pop { time_ns, domain: registry::domain_name(session, domain), depth }, None);
    }
    i32::try_from(depth).unwrap_or(NO_TRACKING)
}

/// A range begins that may end on another thread; its id.
pub fn start(session: &'static Session, domain: usize, event: &Event<'_>) -> u64 {
    let id = registry::next_range();
    if is_on(session) {
        let time_ns = now_ns();
        let (text, inline) = event.text(session);
        let (payload_kind, payload) = event.payload;
        let domain = registry::domain_name(session, domain);
        lane::push(session, &Start { time_ns, payload, id, domain, text, payload_kind }, inline);
    }
    id
}

/// Such a range ends.
pub fn end(session: &'static Session, id: u64) {
    if is_on(session) {
        lane::push(session, &End { time_ns: now_ns(), id }, None);
    }
}

/// A marker.
pub fn mark(session: &'static Session, domain: usize, event: &Event<'_>) {
    if is_on(session) {
        let time_ns = now_ns();
        let (text, inline) = event.text(session);
        let (payload_kind, payload) = event.payload;
        let domain = registry::domain_name(session, domain);
        lane::push(session, &Mark { time_ns, payload, domain, text, payload_kind }, inline);
    }
}

/// A thread gets a name.
pub fn name_thread(session: &'static Session, tid: u32, name: &[u8]) {
    lane::push(session, &ThreadName { tid }, Some(name));
}
