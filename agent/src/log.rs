//! Logs, on stderr: lines for people, or one JSON object a line for what collects the logs of a service.
//!
//! By hand, not by `tracing-subscriber`: two formats of events without spans need little of it.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::set_global_default;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::host;
use crate::system::{Clock, now_ns};

/// How logs look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// `kvpath-agent: ` and the message.
    #[default]
    Text,
    /// One object a line: timestamp, level and message.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone, Copy)]
pub struct Logging {
    /// How.
    pub format: Format,
    /// The least important that is.
    pub level: Level,
}

/// Logs from now on. The first call holds.
pub fn start(logging: Logging) {
    // Only a second call fails, which changes nothing.
    let _ = set_global_default(logging);
}

impl Logging {
    fn line(self, level: Level, message: &str, wall_ns: i64) -> String {
        match self.format {
            Format::Text => format!("kvpath-agent: {message}"),
            Format::Json => {
                json!({ "timestamp": host::utc(wall_ns), "level": level.as_str(), "message": message }).to_string()
            }
        }
    }
}

impl Subscriber for Logging {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.level
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let line = self.line(*event.metadata().level(), &message.0, now_ns(Clock::Wall));
        // A reader that has gone away is no failure of ours.
        let _ = writeln!(io::stderr().lock(), "{line}");
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        // No span is enabled; any id will do.
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// The message of an event.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing to a text cannot fail.
            let _ = write!(self.0, "{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_a_line_or_an_object() {
        let message = "a \"quoted\"\nmessage";
        let text = Logging { format: Format::Text, level: Level::INFO };
        assert_eq!(text.line(Level::WARN, message, 0), format!("kvpath-agent: {message}"));
        let line = Logging { format: Format::Json, ..text }.line(Level::WARN, message, 0);
        assert!(!line.contains('\n'), "{line}");
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["message"], message);
        assert_eq!((&object["level"], &object["timestamp"]), (&"WARN".into(), &"19700101T000000Z".into()));
    }
}
