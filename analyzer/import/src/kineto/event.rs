//! One event of a trace, with the fields that are read.

use super::category::Category;
use super::json::{Cursor, Fault, Keys, OPENED, Text, integer};

/// An event; what it lacks is none, empty or 0.
#[derive(Debug, Default)]
pub(super) struct Event<'a> {
    /// First letter of `ph`: `X` has a length, `M` describes, `i` is a moment, `s`, `t` and `f` are arrows.
    pub(super) phase: u8,
    /// Category.
    pub(super) category: Category,
    /// The same as written.
    pub(super) category_text: Text<'a>,
    /// Name.
    pub(super) name: Text<'a>,
    /// Process; of GPU events the device.
    pub(super) pid: Id<'a>,
    /// Thread; of GPU events the stream.
    pub(super) tid: Id<'a>,
    /// Start by the trace's clock, ns.
    pub(super) ts_ns: Option<i64>,
    /// Length, ns.
    pub(super) dur_ns: Option<i64>,
    /// What depends on the category.
    pub(super) args: Args<'a>,
    /// Whether any of these was written.
    has_args: bool,
}

/// The id of a process or thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Id<'a> {
    /// Not written.
    #[default]
    None,
    /// A number, also where it is written in quotes.
    Number(i64),
    /// Anything else.
    Text(Text<'a>),
}

impl Id<'_> {
    /// The number, if it is one.
    pub(super) fn number(self) -> Option<i64> {
        match self {
            Id::Number(number) => Some(number),
            _ => None,
        }
    }
}

/// Those of `args` that are read. Names: `CudaMetadataFields` in Kineto's sources.
#[derive(Debug, Default)]
pub(super) struct Args<'a> {
    pub(super) device: Option<i64>,
    pub(super) context: Option<i64>,
    pub(super) stream: Option<i64>,
    pub(super) correlation: Option<i64>,
    pub(super) bytes: Option<i64>,
    pub(super) from_device: Option<i64>,
    pub(super) to_device: Option<i64>,
    pub(super) graph_node: Option<i64>,
    pub(super) event_id: Option<i64>,
    pub(super) wait_on_stream: Option<i64>,
    pub(super) wait_on_event: Option<i64>,
    /// Correlation id of the call that recorded the event that is waited for.
    pub(super) wait_on_record: Option<i64>,
    pub(super) sync_kind: Text<'a>,
    pub(super) grid: Option<[i32; 3]>,
    pub(super) block: Option<[i32; 3]>,
    /// Name of a process or thread, of an `M`.
    pub(super) name: Text<'a>,
    /// What a process is, of an `M`: `CPU`, `GPU 0`.
    pub(super) labels: Text<'a>,
}

/// Keys of events and of their `args`, as they were met.
#[derive(Debug, Default)]
pub(super) struct Shapes<'a> {
    events: Keys<'a, Field>,
    args: Keys<'a, Arg>,
}

/// The members of an event that are read.
#[derive(Debug, Clone, Copy)]
enum Field {
    Phase,
    Category,
    Name,
    Pid,
    Tid,
    Ts,
    Dur,
    Args,
    Other,
}

impl Field {
    fn of(key: &[u8]) -> Self {
        match key {
            b"ph" => Self::Phase,
            b"cat" => Self::Category,
            b"name" => Self::Name,
            b"pid" => Self::Pid,
            b"tid" => Self::Tid,
            b"ts" => Self::Ts,
            b"dur" => Self::Dur,
            b"args" => Self::Args,
            _ => Self::Other,
        }
    }
}

/// The members of `args` that are read.
#[derive(Debug, Clone, Copy)]
enum Arg {
    Device,
    Context,
    Stream,
    Correlation,
    Bytes,
    FromDevice,
    ToDevice,
    GraphNode,
    EventId,
    WaitOnStream,
    WaitOnEvent,
    WaitOnRecord,
    Grid,
    Block,
    SyncKind,
    Name,
    Labels,
    Other,
}

impl Arg {
    fn of(key: &[u8]) -> Self {
        match key {
            b"device" | b"inDevice" => Self::Device,
            b"context" | b"inContext" => Self::Context,
            b"stream" => Self::Stream,
            b"correlation" => Self::Correlation,
            b"bytes" => Self::Bytes,
            b"fromDevice" => Self::FromDevice,
            b"toDevice" => Self::ToDevice,
            b"graph node id" => Self::GraphNode,
            b"event_id" => Self::EventId,
            b"wait_on_stream" => Self::WaitOnStream,
            b"wait_on_cuda_event_id" => Self::WaitOnEvent,
            b"wait_on_cuda_event_record_corr_id" => Self::WaitOnRecord,
            b"grid" => Self::Grid,
            b"block" => Self::Block,
            b"cuda_sync_kind" => Self::SyncKind,
            b"name" => Self::Name,
            b"labels" => Self::Labels,
            _ => Self::Other,
        }
    }
}

impl<'a> Event<'a> {
    /// Reads the event that is next in the place of this one: an event is large, and most of it is not there.
    pub(super) fn read(&mut self, cursor: &mut Cursor<'a>, shapes: &mut Shapes<'a>) -> Result<(), Fault> {
        let event = self;
        event.clear();
        cursor.take(b'{', "an event was expected")?;
        let mut place = OPENED;
        while let Some(field) = shapes.events.next(cursor, &mut place, Field::of)? {
            match field {
                Field::Phase => event.phase = text(cursor)?.raw.first().copied().unwrap_or(0),
                Field::Category => {
                    event.category_text = text(cursor)?;
                    event.category = Category::of(event.category_text.raw);
                }
                Field::Name => event.name = text(cursor)?,
                Field::Pid => event.pid = id(cursor)?,
                Field::Tid => event.tid = id(cursor)?,
                Field::Ts => event.ts_ns = cursor.nanoseconds()?,
                Field::Dur => event.dur_ns = cursor.nanoseconds()?,
                // Arrows and moments have nothing there either, but mostly no `args`.
                Field::Args if event.category.has_args() && cursor.peek()? == b'{' => {
                    event.has_args = true;
                    event.args.read(cursor, &mut shapes.args)?;
                }
                Field::Args | Field::Other => {
                    cursor.skip()?;
                }
            }
        }
        Ok(())
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.has_args) {
            self.args = Args::default();
        }
        let Self { phase, category, category_text, name, pid, tid, ts_ns, dur_ns, .. } = self;
        (*phase, *category, *category_text, *name) = (0, Category::Other, Text::default(), Text::default());
        (*pid, *tid, *ts_ns, *dur_ns) = (Id::None, Id::None, None, None);
    }
}

impl<'a> Args<'a> {
    fn read(&mut self, cursor: &mut Cursor<'a>, keys: &mut Keys<'a, Arg>) -> Result<(), Fault> {
        let args = self;
        cursor.take(b'{', "an object was expected")?;
        let mut place = OPENED;
        while let Some(arg) = keys.next(cursor, &mut place, Arg::of)? {
            let number = match arg {
                Arg::Device => &mut args.device,
                Arg::Context => &mut args.context,
                Arg::Stream => &mut args.stream,
                Arg::Correlation => &mut args.correlation,
                Arg::Bytes => &mut args.bytes,
                Arg::FromDevice => &mut args.from_device,
                Arg::ToDevice => &mut args.to_device,
                Arg::GraphNode => &mut args.graph_node,
                Arg::EventId => &mut args.event_id,
                Arg::WaitOnStream => &mut args.wait_on_stream,
                Arg::WaitOnEvent => &mut args.wait_on_event,
                Arg::WaitOnRecord => &mut args.wait_on_record,
                other => {
                    match other {
                        Arg::Grid => args.grid = three(cursor)?,
                        Arg::Block => args.block = three(cursor)?,
                        Arg::SyncKind => args.sync_kind = text(cursor)?,
                        Arg::Name => args.name = text(cursor)?,
                        Arg::Labels => args.labels = text(cursor)?,
                        _ => {
                            cursor.skip()?;
                        }
                    }
                    continue;
                }
            };
            *number = cursor.integer()?;
        }
        Ok(())
    }
}

/// The string that is next; empty where the value is of another kind.
fn text<'a>(cursor: &mut Cursor<'a>) -> Result<Text<'a>, Fault> {
    if cursor.peek()? == b'"' {
        return cursor.text();
    }
    cursor.skip()?;
    Ok(Text::default())
}

fn id<'a>(cursor: &mut Cursor<'a>) -> Result<Id<'a>, Fault> {
    if cursor.peek()? == b'"' {
        let text = cursor.text()?;
        return Ok(integer(text.raw).map_or(Id::Text(text), Id::Number));
    }
    Ok(cursor.integer()?.map_or(Id::None, Id::Number))
}

/// `[1, 2, 3]`; none for anything else.
fn three(cursor: &mut Cursor) -> Result<Option<[i32; 3]>, Fault> {
    if cursor.peek()? != b'[' {
        cursor.skip()?;
        return Ok(None);
    }
    cursor.take(b'[', "an array was expected")?;
    let (mut numbers, mut count, mut first) = ([0; 3], 0, true);
    while cursor.another(&mut first, b']')? {
        let number = cursor.integer()?.and_then(|number| i32::try_from(number).ok());
        match (numbers.get_mut(count), number) {
            (Some(slot), Some(number)) => *slot = number,
            _ => count = numbers.len(),
        }
        count += 1;
    }
    Ok((count == numbers.len()).then_some(numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Event<'_> {
        let mut event = Event::default();
        event.read(&mut Cursor::new(json.as_bytes()), &mut Shapes::default()).unwrap();
        event
    }

    #[test]
    fn fields_are_read_in_any_order_and_unknown_ones_are_skipped() {
        let event = read(
            r#"{"args": {"x": [{"device": 9}], "grid": [8, 16, 5], "block": [1, 2], "stream": 20, "correlation": 27.0,
                "blocks per SM": inf, "device": "0"}, "dur": 1.5, "ts": 7, "tid": "stream 20", "pid": "12",
                "name": "a\"b", "cat": "kernel", "ph": "X", "more": null}"#,
        );
        assert_eq!((event.phase, event.category), (b'X', Category::Kernel));
        assert_eq!((event.ts_ns, event.dur_ns), (Some(7_000), Some(1_500)));
        assert_eq!(event.pid, Id::Number(12));
        assert!(matches!(event.tid, Id::Text(text) if text.raw == b"stream 20"));
        assert_eq!(event.name.decoded(), "a\"b");
        let Args { grid, block, stream, correlation, device, .. } = event.args;
        assert_eq!((grid, block, stream, correlation, device), (Some([8, 16, 5]), None, Some(20), Some(27), None));
    }

    #[test]
    fn values_of_another_kind_read_as_none() {
        let event = read(r#"{"ph": 1, "cat": [], "name": {}, "pid": null, "tid": true, "ts": "1", "args": []}"#);
        assert_eq!((event.phase, event.category, event.pid, event.tid), (0, Category::Other, Id::None, Id::None));
        assert_eq!(
            read(r#"{"ph": "X", "args": {"grid": [1, 2, 3, 4], "block": [1, 2, 99999999999]}}"#).args.grid,
            None
        );
        assert_eq!(read("{}").ts_ns, None);
    }

    #[test]
    fn no_event_is_said_so() {
        let mut event = Event::default();
        assert!(matches!(event.read(&mut Cursor::new(b"7, "), &mut Shapes::default()), Err(Fault::Bad(_))));
        assert_eq!(event.read(&mut Cursor::new(br#"{"ph": "X""#), &mut Shapes::default()).unwrap_err(), Fault::Ends);
    }

    #[test]
    fn nothing_is_left_of_the_event_before() {
        let json = br#"{"ph": "X", "cat": "kernel", "name": "k", "pid": 1, "tid": "a", "ts": 3, "dur": 4, "args": {"grid": [1, 2, 3],
            "block": [1, 1, 1], "stream": 7, "device": 0, "correlation": 5, "bytes": 1, "name": "n", "labels": "l"}} {}"#;
        let mut cursor = Cursor::new(json);
        let (mut event, mut shapes) = (Event::default(), Shapes::default());
        event.read(&mut cursor, &mut shapes).unwrap();
        assert_eq!((event.args.stream, event.dur_ns), (Some(7), Some(4_000)));
        event.read(&mut cursor, &mut shapes).unwrap();
        assert_eq!(format!("{event:?}"), format!("{:?}", Event::default()));
    }
}
