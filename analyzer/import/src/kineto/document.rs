//! The trace as a whole: an object whose `traceEvents` are the events, or only their array (Chrome's trace format).

use std::io::Read;
use std::ops::ControlFlow;

use super::event::Event;
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
pub(super) enum End {
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

#[derive(Clone, Copy)]
enum State {
    /// Before the outer bracket.
    Start,
    /// Between members of the trace.
    Members { first: bool },
    /// Between events; `bare` where the array is all there is.
    Events { first: bool, bare: bool },
    /// Behind the outer bracket.
    Behind,
}

/// Reads a whole trace.
pub(super) fn read<R: Read, V: Visitor>(window: &mut Window<R>, visitor: &mut V) -> Result<End, Unreadable<V::Error>> {
    let mut state = State::Start;
    let mut seen_events = false;
    loop {
        let mut cursor = Cursor::new(window.bytes());
        let mut whole = 0;
        let fault = loop {
            match step(&mut cursor, &mut state, visitor) {
                Ok(ControlFlow::Continue(())) => whole = cursor.at(),
                Ok(ControlFlow::Break(())) => return Ok(End::Enough),
                Err(Stop::Fault(fault)) => break fault,
                Err(Stop::Visitor(error)) => return Err(Unreadable::Visitor(error)),
            }
            seen_events |= matches!(state, State::Events { .. });
        };
        let at = cursor.at();
        if let Fault::Bad(why) = fault {
            return Err(match state {
                State::Start => Unreadable::NoEvents,
                _ => Unreadable::Json(window.offset() + at as u64, why),
            });
        }
        window.consume(whole);
        if window.fill().map_err(Unreadable::Window)? {
            continue;
        }
        return match state {
            State::Behind if seen_events => Ok(End::Whole),
            State::Behind => Err(Unreadable::NoEvents),
            State::Members { .. } if seen_events => Ok(End::CutBehind),
            State::Start | State::Members { .. } | State::Events { .. } => Ok(End::Cut { whole: window.offset() }),
        };
    }
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
fn step<V: Visitor>(
    cursor: &mut Cursor,
    state: &mut State,
    visitor: &mut V,
) -> Result<ControlFlow<()>, Stop<V::Error>> {
    match *state {
        State::Start => {
            if cursor.took(b'[')? {
                *state = State::Events { first: true, bare: true };
            } else {
                cursor.take(b'{', "a trace is an object or an array")?;
                *state = State::Members { first: true };
            }
        }
        State::Members { mut first } => {
            let Some(key) = cursor.key(&mut first)? else {
                *state = State::Behind;
                return Ok(ControlFlow::Continue(()));
            };
            if key.raw == b"traceEvents" {
                cursor.take(b'[', "the events of a trace are an array")?;
                *state = State::Events { first: true, bare: false };
            } else {
                let value = cursor.skip()?;
                *state = State::Members { first };
                visitor.fact(key.raw, value);
            }
        }
        State::Events { mut first, bare } => {
            if !cursor.another(&mut first, b']')? {
                *state = if bare { State::Behind } else { State::Members { first: false } };
                return Ok(ControlFlow::Continue(()));
            }
            // Other writers leave a comma behind the last event.
            if cursor.peek()? == b']' {
                *state = State::Events { first: true, bare };
                return Ok(ControlFlow::Continue(()));
            }
            let event = Event::read(cursor)?;
            *state = State::Events { first, bare };
            return visitor.event(&event).map_err(Stop::Visitor);
        }
        State::Behind => {
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
    struct Seen {
        facts: Vec<(String, String)>,
        names: Vec<String>,
    }

    impl Visitor for Seen {
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

    fn reading(json: &[u8]) -> (Result<End, Unreadable<()>>, Seen) {
        let mut seen = Seen::default();
        (read(&mut Window::new(json), &mut seen), seen)
    }

    const TRACE: &str =
        r#" {"schemaVersion": 1, "traceEvents": [{"name": "a"}, {"name": "b", "args": {}}], "x": {"y": []}} "#;

    #[test]
    fn facts_and_events_come_in_the_order_of_the_file() {
        let (end, seen) = reading(TRACE.as_bytes());
        assert_eq!(end.unwrap(), End::Whole);
        assert_eq!(seen.names, ["a", "b"]);
        let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(seen.facts, [fact("schemaVersion", "1"), fact("x", r#"{"y": []}"#)]);
    }

    #[test]
    fn a_bare_array_and_a_comma_at_its_end_are_read() {
        for json in [r#"[{"name": "a"}]"#, r#"[{"name": "a"},]"#, r#"{"traceEvents": [{"name": "a"},]}"#] {
            let (end, seen) = reading(json.as_bytes());
            assert_eq!((end.unwrap(), seen.names.len()), (End::Whole, 1), "{json}");
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
                End::Cut { whole } => assert!(cut < events && whole <= cut as u64, "{cut}"),
                end => assert!(end == End::CutBehind && cut >= events, "{cut}"),
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
        assert_eq!((end.unwrap(), seen.names.len()), (End::Enough, 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn windows_of_any_size_give_the_same(events in prop::collection::vec("[a-z\\\\\"]{0,200000}", 0..6)) {
            let json = serde_json::json!({"traceEvents":
                events.iter().map(|name| serde_json::json!({"name": name})).collect::<Vec<_>>()});
            let (end, seen) = reading(json.to_string().as_bytes());
            prop_assert_eq!(end.unwrap(), End::Whole);
            prop_assert_eq!(seen.names, events);
        }
    }
}
