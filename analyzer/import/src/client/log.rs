//! The lines of a client's log, and the clock that their times are on.

use kvpath_analysis::load::limits::{SPAN, TIME};
use kvpath_schema::tables::spans::{Span, Spans};
use serde_json::Value;

/// Wall clock in ns since 1970 is beyond it since 2001; no host has been up for so long.
const WALL_NS: i64 = 1_000_000_000_000_000_000;

/// How far outside of the first and last record a request may lie and still be of the recording, ns: footers say when the last
/// records start, not when they end.
const SLACK_NS: i64 = 10_000_000_000;

/// The clocks of a recording.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clocks {
    /// Wall clock when the recording's clock was at 0, ns; the recording's own pair.
    pub(super) wall_at_zero_ns: Option<i64>,
    /// Its first and last record, ns.
    pub(super) extent: Option<(i64, i64)>,
}

/// A log on the recording's clock.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Its requests.
    pub(super) spans: Spans,
    /// Requests whose times were wall clock.
    pub(super) converted: usize,
    /// Requests that were not being served while the recording ran.
    pub(super) outside: usize,
    /// Requests without a first token: given up, or answered with an error.
    pub(super) failed: usize,
    /// Lines that tell of no request.
    pub(super) notes: usize,
    /// Requests.
    pub(super) requests: usize,
}

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    id: String,
    start_ns: i64,
    /// Until the first token; none where there was none.
    dur_ns: Option<i64>,
    has_failed: bool,
    /// Until it failed, where the line says when.
    failed_after_ns: Option<i64>,
    was_wall: bool,
}

/// Why a log is refused: the line, from 1, and what is wrong with it.
pub(super) type Refusal = (usize, String);

impl Log {
    /// Reads a log.
    ///
    /// # Errors
    /// A line that says nothing of a request, or a log of another time than the recording.
    pub(super) fn read(text: &str, clocks: &Clocks) -> Result<Self, Refusal> {
        use kvpath_schema::table::Columns as _;
        let mut log = Self::default();
        let mut nearest: Option<(i64, usize)> = None;
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let value = serde_json::from_str(line).map_err(|error| (at + 1, error.to_string()))?;
            if is_note(&value) {
                log.notes += 1;
                continue;
            }
            let line = line_of(&value, clocks.wall_at_zero_ns).map_err(|why| (at + 1, why))?;
            log.converted += usize::from(line.was_wall);
            let away = clocks.extent.map_or(0, |extent| distance((line.start_ns, line.dur_ns.unwrap_or(0)), extent));
            log.outside += usize::from(away != 0);
            if nearest.is_none_or(|(least, _)| away.abs() < least.abs()) {
                nearest = Some((away, at + 1));
            }
            log.requests += 1;
            let Line { id, start_ns, dur_ns, has_failed, failed_after_ns, .. } = line;
            let span = |name: &str, dur_ns: Option<i64>, request: Option<String>| Span {
                start_ns,
                dur_ns,
                service: "client".into(),
                name: name.into(),
                request,
            };
            log.failed += usize::from(dur_ns.is_none());
            if has_failed {
                log.spans.push(span("failed", failed_after_ns, Some(id.clone())));
            }
            log.spans.push(span("request", dur_ns, Some(id)));
        }
        match nearest {
            Some((away, line)) if away != 0 => {
                let side = if away < 0 { "before" } else { "after" };
                Err((
                    line,
                    format!(
                        "no request of the log is of the time of the recording; this one, the nearest, lies {} {side} it (wrong \
                         unit, or another clock or host?)",
                        rough(away)
                    ),
                ))
            }
            _ => Ok(log),
        }
    }
}

/// How far a request ends before the recording (below 0) or begins after it, ns; 0 if it is of its time.
fn distance((start, dur): (i64, i64), (first, last): (i64, i64)) -> i64 {
    let (before, after) = (start.saturating_add(dur).saturating_sub(first), start.saturating_sub(last));
    if before < -SLACK_NS {
        before
    } else if after > SLACK_NS {
        after
    } else {
        0
    }
}

/// A long time, for people.
fn rough(ns: i64) -> String {
    let seconds = ns.unsigned_abs() / 1_000_000_000;
    match seconds {
        0..600 => format!("{seconds} s"),
        600..36_000 => format!("{} min", seconds / 60),
        36_000..864_000 => format!("{} h", seconds / 3_600),
        864_000..63_072_000 => format!("{} days", seconds / 86_400),
        _ => format!("{} years", seconds / 31_557_600),
    }
}

fn line_of(line: &Value, wall_at_zero_ns: Option<i64>) -> Result<Line, String> {
    let id = ["request", "rid", "request_id"].iter().find_map(|key| line[key].as_str());
    let id = id.ok_or("no `request`")?;
    let (told_ns, was_wall) = match (line["start_ns"].as_i64(), line["t0"].as_f64()) {
        (Some(ns), _) => (ns, ns >= WALL_NS),
        (None, Some(wall)) => (nanoseconds(wall)?, true),
        (None, None) => return Err("no `start_ns`".to_owned()),
    };
    let start_ns = match (was_wall, wall_at_zero_ns) {
        (false, _) => told_ns,
        (true, Some(zero)) => told_ns.checked_sub(zero).ok_or("times that cannot be")?,
        (true, None) => {
            let key = if line["start_ns"].is_i64() { "start_ns" } else { "t0" };
            return Err(format!("`{key}` is wall clock, and the run does not say what that was"));
        }
    };
    // On the same clock as the start was told.
    let first_token = line["first_token_ns"].as_i64().and_then(|ns| ns.checked_sub(told_ns));
    let failed_after_ns = line["failed_ns"].as_i64().and_then(|ns| ns.checked_sub(told_ns));
    let mut has_failed = has_failed(line);
    let dur_ns = match (line["ttft_ns"].as_i64().or(first_token), line["ttft_s"].as_f64()) {
        (Some(ns), _) => Some(ns),
        (None, Some(s)) => Some(nanoseconds(s)?),
        (None, None) if has_failed => None,
        // It was answered, and without a token.
        (None, None) if is_answered(line) => {
            has_failed = true;
            None
        }
        (None, None) => return Err("no `ttft_s`".to_owned()),
    };
    let mut durations = [dur_ns, failed_after_ns].into_iter().flatten();
    if !durations.all(|ns| (0..=SPAN).contains(&ns)) || !(-TIME..=TIME).contains(&start_ns) {
        return Err("times that cannot be".to_owned());
    }
    Ok(Line { id: id.to_owned(), start_ns, dur_ns, has_failed, failed_after_ns, was_wall })
}

/// Whether a line tells of something else than a request: it has neither id nor times of one.
fn is_note(line: &Value) -> bool {
    const OF_REQUEST: [&str; 8] =
        ["request", "rid", "request_id", "start_ns", "t0", "ttft_s", "ttft_ns", "first_token_ns"];
    line.is_object() && OF_REQUEST.iter().all(|key| line[key].is_null())
}

/// Whether the line says with which HTTP status the request was answered.
fn is_answered(line: &Value) -> bool {
    line["http"].is_i64() || line["status"].is_i64()
}

/// Whether a request was given up, or answered with an error.
fn has_failed(line: &Value) -> bool {
    let is_error = |status: &Value| status.as_i64().is_some_and(|status| status >= 400);
    // Benchmark clients write an empty error into lines of requests that went well.
    let is_said = |error: &Value| !matches!(error, Value::Null | Value::Bool(false)) && error.as_str() != Some("");
    is_said(&line["error"]) || !line["failed_ns"].is_null() || is_error(&line["http"]) || is_error(&line["status"])
}

fn nanoseconds(seconds: f64) -> Result<i64, String> {
    let ns = (seconds * 1e9).round();
    if !(-9e18..=9e18).contains(&ns) {
        return Err(format!("{seconds} s is no time"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked above")]
    let ns = ns as i64;
    Ok(ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, zero: Option<i64>) -> Result<(i64, i64, bool), String> {
        let line = line_of(&serde_json::from_str(line).unwrap(), zero);
        line.map(|line| (line.start_ns, line.dur_ns.unwrap(), line.was_wall))
    }

    #[test]
    fn clocks_and_units() {
        let own = r#"{"request": "r", "start_ns": 5, "ttft_s": 0.000000007}"#;
        assert_eq!(read(own, None), Ok((5, 7, false)));
        let wall = r#"{"rid": "r", "t0": 2.5, "ttft_ns": 3}"#;
        assert_eq!(read(wall, Some(1_000_000_000)), Ok((1_500_000_000, 3, true)));
        assert_eq!(read(r#"{"request": "r", "start_ns": 5, "first_token_ns": 9}"#, None), Ok((5, 4, false)));
        let zero = 1_700_000_000_000_000_000;
        let wall = r#"{"request": "r", "start_ns": 1700000000000000005, "first_token_ns": 1700000000000000009}"#;
        assert_eq!(read(wall, Some(zero)), Ok((5, 4, true)));
        assert!(read(wall, None).unwrap_err().contains("`start_ns` is wall clock"));
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_reason() {
        for (line, why) in [
            (r#"{"start_ns": 5, "ttft_s": 1}"#, "no `request`"),
            (r#"{"request": "r", "ttft_s": 1}"#, "no `start_ns`"),
            (r#"{"request": "r", "start_ns": 5}"#, "no `ttft_s`"),
            (r#"{"request": "r", "start_ns": 5, "ttft_s": 1e300}"#, "no time"),
            (r#"{"request": "r", "start_ns": 5, "ttft_ns": -1}"#, "cannot be"),
            (r#"{"request": "r", "start_ns": 5, "ttft_s": 1e7}"#, "cannot be"),
            (r#"{"request": "r", "t0": 5, "ttft_ns": 1}"#, "wall clock"),
        ] {
            assert!(read(line, None).unwrap_err().contains(why), "{line}");
        }
    }

    #[test]
    fn failed_requests_and_notes_do_not_refuse_a_log() {
        let log = r#"{"request": "a", "start_ns": 5, "ttft_ns": 7, "error": ""}
            {"request": "b", "start_ns": 6, "error": "TimeoutError('timed out')", "failed_ns": 9}
            {"killed": [17809], "at_ns": 10}
            {"request": "c", "start_ns": 7, "http": 500}
            {"request": "d", "start_ns": 8, "http": 200}"#;
        let log = Log::read(log, &Clocks::default()).unwrap();
        assert_eq!((log.requests, log.failed, log.notes), (4, 3, 1));
        let names: Vec<&str> = log.spans.name.iter().map(|name| &**name).collect();
        assert_eq!(names, ["request", "failed", "request", "failed", "request", "failed", "request"]);
        assert_eq!(log.spans.dur_ns, [Some(7), Some(3), None, None, None, None, None]);
    }

    #[test]
    fn a_log_of_another_time_is_refused_with_the_distance() {
        const S: i64 = 1_000_000_000;
        let clocks = Clocks { wall_at_zero_ns: None, extent: Some((1_000 * S, 1_030 * S)) };
        let line = |start_s: i64| format!("{{\"request\": \"r\", \"start_ns\": {}, \"ttft_s\": 1}}\n", start_s * S);
        let (at, why) = Log::read(&(line(1_640) + &line(1_635)), &clocks).unwrap_err();
        assert!(at == 2 && why.contains("lies 10 min after it"), "{why}");
        let (_, why) = Log::read(&line(0), &clocks).unwrap_err();
        assert!(why.contains("lies 16 min before it"), "{why}");
        let log = Log::read(&(line(0) + &line(995) + &line(1_031)), &clocks).unwrap();
        assert_eq!((log.spans.start_ns.len(), log.outside, log.converted), (3, 1, 0));
        let wall = Clocks { wall_at_zero_ns: Some(500 * S), ..clocks };
        let log = Log::read(r#"{"request": "r", "t0": 1510, "ttft_s": 1}"#, &wall).unwrap();
        assert_eq!((log.spans.start_ns[0], log.converted), (1_010 * S, 1));
    }
}
