//! One event of a trace, with the fields that are read.

use super::category::Category;
use super::json::{Cursor, Fault, Text, integer};

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
    /// Start, the number as written: us.
    pub(super) ts: &'a [u8],
    /// Length, the number as written: us.
    pub(super) dur: &'a [u8],
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

impl<'a> Event<'a> {
    /// Reads the event that is next in the place of this one: an event is large, and most of it is not there.
    pub(super) fn read(&mut self, cursor: &mut Cursor<'a>) -> Result<(), Fault> {
        let event = self;
        event.clear();
        cursor.take(b'{', "an event was expected")?;
        let mut first = true;
        while let Some(key) = cursor.key(&mut first)? {
            match key.raw {
                b"ph" => event.phase = text(cursor)?.raw.first().copied().unwrap_or(0),
                b"cat" => {
                    event.category_text = text(cursor)?;
                    event.category = Category::of(event.category_text.raw);
                }
                b"name" => event.name = text(cursor)?,
                b"pid" => event.pid = id(cursor)?,
                b"tid" => event.tid = id(cursor)?,
                b"ts" => event.ts = cursor.skip()?,
                b"dur" => event.dur = cursor.skip()?,
                // Arrows and moments have nothing there either, but mostly no `args`.
                b"args" if event.category.has_args() && cursor.peek()? == b'{' => {
                    event.has_args = true;
                    event.args.read(cursor)?;
                }
                _ => {
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
        let Self { phase, category, category_text, name, pid, tid, ts, dur, .. } = self;
        (*phase, *category, *category_text, *name) = (0, Category::Other, Text::default(), Text::default());
        (*pid, *tid, *ts, *dur) = (Id::None, Id::None, b"", b"");
    }
}

impl<'a> Args<'a> {
    fn read(&mut self, cursor: &mut Cursor<'a>) -> Result<(), Fault> {
        let args = self;
        cursor.take(b'{', "an object was expected")?;
        let mut first = true;
        while let Some(key) = cursor.key(&mut first)? {
            let number = match key.raw {
                b"device" | b"inDevice" => &mut args.device,
                b"context" | b"inContext" => &mut args.context,
                b"stream" => &mut args.stream,
                b"correlation" => &mut args.correlation,
                b"bytes" => &mut args.bytes,
                b"fromDevice" => &mut args.from_device,
                b"toDevice" => &mut args.to_device,
                b"graph node id" => &mut args.graph_node,
                b"event_id" => &mut args.event_id,
                b"wait_on_stream" => &mut args.wait_on_stream,
                b"wait_on_cuda_event_id" => &mut args.wait_on_event,
                b"wait_on_cuda_event_record_corr_id" => &mut args.wait_on_record,
                other => {
                    match other {
                        b"grid" => args.grid = three(cursor)?,
                        b"block" => args.block = three(cursor)?,
                        b"cuda_sync_kind" => args.sync_kind = text(cursor)?,
                        b"name" => args.name = text(cursor)?,
                        b"labels" => args.labels = text(cursor)?,
                        _ => {
                            cursor.skip()?;
                        }
                    }
                    continue;
                }
            };
            *number = integer(cursor.skip()?);
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
    Ok(integer(cursor.skip()?).map_or(Id::None, Id::Number))
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
        let number = integer(cursor.skip()?).and_then(|number| i32::try_from(number).ok());
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
        event.read(&mut Cursor::new(json.as_bytes())).unwrap();
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
        assert_eq!((event.ts, event.dur), (&b"7"[..], &b"1.5"[..]));
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
        assert_eq!(read("{}").ts, b"");
    }

    #[test]
    fn no_event_is_said_so() {
        let mut event = Event::default();
        assert!(matches!(event.read(&mut Cursor::new(b"7, ")), Err(Fault::Bad(_))));
        assert_eq!(event.read(&mut Cursor::new(br#"{"ph": "X""#)).unwrap_err(), Fault::Ends);
    }

    #[test]
    fn nothing_is_left_of_the_event_before() {
        let json = br#"{"ph": "X", "cat": "kernel", "name": "k", "pid": 1, "tid": "a", "ts": 3, "dur": 4, "args": {"grid": [1, 2, 3],
            "block": [1, 1, 1], "stream": 7, "device": 0, "correlation": 5, "bytes": 1, "name": "n", "labels": "l"}} {}"#;
        let mut cursor = Cursor::new(json);
        let mut event = Event::default();
        event.read(&mut cursor).unwrap();
        assert_eq!((event.args.stream, event.dur), (Some(7), &b"4"[..]));
        event.read(&mut cursor).unwrap();
        assert_eq!(format!("{event:?}"), format!("{:?}", Event::default()));
    }
}
