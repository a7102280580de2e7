//! The trace as a whole: an object whose `traceEvents` are the events, or only their array (Chrome's trace format).

use std::io::Read;
use std::ops::ControlFlow;

use super::event::{Event, Shapes};
use super::json::{Cursor, Fault, Window, WindowError};

/// What meets the parts of a trace, in the order of the file.
pub(super) trait Visitor {
    /// Why it can go wrong.
    type Error;
    /// A member of the trace besides its events: its name and its value as JSON.
    fn fact(&mut self, name: &[u8], value: &[u8]);
    /// An event; on `Break` the rest is not read.
    fn event(&mut self, event: &Event) -> Result<ControlFlow<()>, Self::Error>;
}

/// How reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DocumentEnd {
    /// The trace is whole.
    Whole,
    /// The visitor has seen enough.
    Enough,
    /// The bytes end before the events do.
    Cut {
        /// Bytes of whole events and what stands before them.
        whole: u64,
    },
    /// The events are whole; the bytes end in what stands behind them.
    CutBehind,
}

/// Why a trace cannot be read.
#[derive(Debug)]
pub(super) enum Unreadable<E> {
    /// The file.
    Window(WindowError),
    /// It is no JSON at this place, bytes.
    Json(u64, &'static str),
    /// It is JSON, but an object without `traceEvents` or no object at all.
    NoEvents,
    /// The visitor.
    Visitor(E),
}

/// A place in a trace, between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Before the outer bracket.
    Start,
    /// Between members of the trace, before or behind its events.
    Members { first: bool, seen_events: bool },
    /// Between events; `bare` where the array is all there is.
    Events { first: bool, bare: bool },
    /// Behind the outer bracket.
    Behind { seen_events: bool },
}

/// How far bytes of a trace were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Advance {
    /// Bytes of whole steps.
    pub(super) whole: usize,
    /// Where that is in the trace.
    pub(super) state: State,
    /// Whether the visitor has seen enough.
    pub(super) is_enough: bool,
    /// Where what follows is no JSON, and why; none where the bytes only end there.
    pub(super) bad: Option<(usize, &'static str)>,
}

impl Advance {
    /// Why the trace cannot be read, if so; the bytes began at `offset`.
    pub(super) fn check<E>(&self, offset: u64) -> Result<(), Unreadable<E>> {
        match (self.bad, self.state) {
            (None, _) => Ok(()),
            (Some(_), State::Start) => Err(Unreadable::NoEvents),
            (Some((at, why)), _) => Err(Unreadable::Json(offset + at as u64, why)),
        }
    }
}

impl State {
    /// What it means that nothing follows; `whole` bytes were read.
    pub(super) fn end<E>(self, whole: u64) -> Result<DocumentEnd, Unreadable<E>> {
        match self {
            Self::Behind { seen_events: true } => Ok(DocumentEnd::Whole),
            Self::Behind { seen_events: false } => Err(Unreadable::NoEvents),
            Self::Members { seen_events: true, .. } => Ok(DocumentEnd::CutBehind),
            Self::Start | Self::Members { .. } | Self::Events { .. } => Ok(DocumentEnd::Cut { whole }),
        }
    }
}

/// Reads a trace from `state` to its end.
pub(super) fn read<R: Read, V: Visitor>(
    window: &mut Window<R>,
    mut state: State,
    visitor: &mut V,
) -> Result<DocumentEnd, Unreadable<V::Error>> {
    loop {
        let read = advance(window.bytes(), state, visitor).map_err(Unreadable::Visitor)?;
        read.check(window.offset())?;
        if read.is_enough {
            return Ok(DocumentEnd::Enough);
        }
        state = read.state;
        window.consume(read.whole);
        if !window.fill().map_err(Unreadable::Window)? {
            return state.end(window.offset());
        }
    }
}

/// Reads what is whole in `bytes`, which begin at `state`.
pub(super) fn advance<V: Visitor>(bytes: &[u8], mut state: State, visitor: &mut V) -> Result<Advance, V::Error> {
    let (mut cursor, mut event, mut shapes) = (Cursor::new(bytes), Event::default(), Shapes::default());
    let mut whole = 0;
    let (is_enough, bad) = loop {
        match step(&mut cursor, &mut state, (&mut event, &mut shapes), visitor) {
            Ok(ControlFlow::Continue(())) => whole = cursor.at(),
            Ok(ControlFlow::Break(())) => break (true, None),
            Err(Stop::Fault(Fault::Ends)) => break (false, None),
            Err(Stop::Fault(Fault::Bad(why))) => break (false, Some((cursor.at(), why))),
            Err(Stop::Visitor(error)) => return Err(error),
        }
    };
    Ok(Advance { whole, state, is_enough, bad })
}

enum Stop<E> {
    Fault(Fault),
    Visitor(E),
}

impl<E> From<Fault> for Stop<E> {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// One step: into a bracket, or over a member or an event. The state changes only where the step succeeds, so that it
/// can be made again with more bytes.
#[inline]
fn step<'a, V: Visitor>(
    cursor: &mut Cursor<'a>,
    state: &mut State,
    (event, shapes): (&mut Event<'a>, &mut Shapes<'a>),
    visitor: &mut V,
) -> Result<ControlFlow<()>, Stop<V::Error>> {
    match *state {
        State::Start => {
            if cursor.took(b'[')? {
                *state = State::Events { first: true, bare: true };
            } else {
                cursor.take(b'{', "a trace is an object or an array")?;
                *state = State::Members { first: true, seen_events: false };
            }
        }
        State::Members { mut first, seen_events } => {
            let Some(key) = cursor.key(&mut first)? else {
                *state = State::Behind { seen_events };
                return Ok(ControlFlow::Continue(()));
            };
            if key.raw == b"traceEvents" {
                cursor.take(b'[', "the events of a trace are an array")?;
                *state = State::Events { first: true, bare: false };
            } else {
                let value = cursor.skip()?;
                *state = State::Members { first, seen_events };
                visitor.fact(key.raw, value);
            }
        }
        State::Events { mut first, bare } => {
            if !cursor.another(&mut first, b']')? {
                let seen_events = true;
                *state =
                    if bare { State::Behind { seen_events } } else { State::Members { first: false, seen_events } };
                return Ok(ControlFlow::Continue(()));
            }
            // Other writers leave a comma behind the last event.
            if cursor.peek()? == b']' {
                *state = State::Events { first: true, bare };
                return Ok(ControlFlow::Continue(()));
            }
            event.read(cursor, shapes)?;
            *state = State::Events { first, bare };
            return visitor.event(event).map_err(Stop::Visitor);
        }
        State::Behind { .. } => {
            cursor.peek()?;
            return Err(Fault::Bad("the trace has ended, and more follows").into());
        }
    }
    Ok(ControlFlow::Continue(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Default)]
    struct SeenEvents {
        facts: Vec<(String, String)>,
        names: Vec<String>,
    }

    impl Visitor for SeenEvents {
        type Error = ();
        fn fact(&mut self, name: &[u8], value: &[u8]) {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            self.facts.push((text(name), text(value)));
        }
        fn event(&mut self, event: &Event) -> Result<ControlFlow<()>, ()> {
            self.names.push(event.name.decoded().into_owned());
            Ok(if event.phase == b'!' { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        }
    }

    fn reading(json: &[u8]) -> (Result<DocumentEnd, Unreadable<()>>, SeenEvents) {
        let mut seen = SeenEvents::default();
        (read(&mut Window::new(json), State::Start, &mut seen), seen)
    }

    const TRACE: &str =
        r#" {"schemaVersion": 1, "traceEvents": [{"name": "a"}, {"name": "b", "args": {}}], "x": {"y": []}} "#;

    #[test]
    fn facts_and_events_come_in_the_order_of_the_file() {
        let (end, seen) = reading(TRACE.as_bytes());
        assert_eq!(end.unwrap(), DocumentEnd::Whole);
        assert_eq!(seen.names, ["a", "b"]);
        let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(seen.facts, [fact("schemaVersion", "1"), fact("x", r#"{"y": []}"#)]);
    }

    #[test]
    fn a_bare_array_and_a_comma_at_its_end_are_read() {
        for json in [r#"[{"name": "a"}]"#, r#"[{"name": "a"},]"#, r#"{"traceEvents": [{"name": "a"},]}"#] {
            let (end, seen) = reading(json.as_bytes());
            assert_eq!((end.unwrap(), seen.names.len()), (DocumentEnd::Whole, 1), "{json}");
        }
    }

    #[test]
    fn a_trace_cut_anywhere_gives_its_whole_events() {
        let behind = |part: &str| TRACE.find(part).unwrap() + part.len();
        let (a, b, events) = (behind(r#""a"}"#), behind(r#""args": {}}"#), behind("{}}]"));
        for cut in 0..TRACE.trim_end().len() {
            let (end, seen) = reading(&TRACE.as_bytes()[..cut]);
            assert_eq!(seen.names.len(), usize::from(cut >= a) + usize::from(cut >= b), "{cut}");
            match end.unwrap() {
                DocumentEnd::Cut { whole } => assert!(cut < events && whole <= cut as u64, "{cut}"),
                end => assert!(end == DocumentEnd::CutBehind && cut >= events, "{cut}"),
            }
        }
    }

    #[test]
    fn other_json_and_no_json_are_told_apart() {
        for json in ["7 ", "\"x\"", "{\"a\": 1}", "hello"] {
            assert!(matches!(reading(json.as_bytes()).0, Err(Unreadable::NoEvents)), "{json}");
        }
        for json in ["{1}", "[7]", "{\"traceEvents\": {}}", "[{\"name\" 1}]", "{\"a\": [}", "[] []", "[{} {}]"] {
            assert!(matches!(reading(json.as_bytes()).0, Err(Unreadable::Json(..))), "{json}");
        }
        let Err(Unreadable::Json(at, _)) = reading(br#"[{"name": "a"}, {"name": ?}]"#).0 else { panic!() };
        assert_eq!(at, 25);
    }

    #[test]
    fn the_visitor_can_stop() {
        let (end, seen) = reading(br#"[{"name": "a", "ph": "!"}, ..."#);
        assert_eq!((end.unwrap(), seen.names.len()), (DocumentEnd::Enough, 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn windows_of_any_size_give_the_same(events in prop::collection::vec("[a-z\\\\\"]{0,200000}", 0..6)) {
            let json = serde_json::json!({"traceEvents":
                events.iter().map(|name| serde_json::json!({"name": name})).collect::<Vec<_>>()});
            let (end, seen) = reading(json.to_string().as_bytes());
            prop_assert_eq!(end.unwrap(), DocumentEnd::Whole);
            prop_assert_eq!(seen.names, events);
        }
    }
}
