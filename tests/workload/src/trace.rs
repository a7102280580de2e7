//! Request traces: when requests came and how long their prompts were.
//!
//! * Mooncake (`mooncake_trace.jsonl`): a JSON object a line with `timestamp` (ms) and `input_length` (tokens).
//! * Azure (`AzureLLMInferenceTrace_*.csv`): a head with `TIMESTAMP` (`2023-11-16 18:15:46.6805900`) and `ContextTokens`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;

/// A request of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Since the first of the trace.
    pub after: Duration,
    /// Tokens of its prompt.
    pub tokens: u32,
}

#[derive(Deserialize)]
struct Mooncake {
    timestamp: u64,
    input_length: u32,
}

/// Reads the first `count` requests.
///
/// # Errors
/// It cannot be read, is of another form, or holds fewer.
pub fn read(path: &Path, count: usize) -> anyhow::Result<Vec<Arrival>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    parse(&text, count).with_context(|| format!("{}", path.display()))
}

fn parse(text: &str, count: usize) -> anyhow::Result<Vec<Arrival>> {
    let is_json = text.trim_start().starts_with('{');
    let mut found = if is_json { mooncake(text, count)? } else { azure(text, count)? };
    if found.len() < count {
        bail!("{} requests, {count} are wanted", found.len());
    }
    // Traces are sorted but for a few.
    found.sort_by_key(|(at, _)| *at);
    let first = found[0].0;
    Ok(found.into_iter().map(|(at, tokens)| Arrival { after: at.saturating_sub(first), tokens }).collect())
}

fn mooncake(text: &str, count: usize) -> anyhow::Result<Vec<(Duration, u32)>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty()).take(count).enumerate();
    lines
        .map(|(at, line)| {
            let read: Mooncake = serde_json::from_str(line).with_context(|| format!("line {}", at + 1))?;
            Ok((Duration::from_millis(read.timestamp), read.input_length))
        })
        .collect()
}

fn azure(text: &str, count: usize) -> anyhow::Result<Vec<(Duration, u32)>> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let head: Vec<&str> = lines.next().map(|(_, line)| line.trim().split(',').collect()).unwrap_or_default();
    let column = |name: &str| {
        head.iter().position(|found| *found == name).with_context(|| format!("no column `{name}`, nor JSON objects"))
    };
    let (time, tokens) = (column("TIMESTAMP")?, column("ContextTokens")?);
    lines
        .take(count)
        .map(|(at, line)| {
            let fields: Vec<&str> = line.trim().split(',').collect();
            let read =
                |column: usize| fields.get(column).copied().with_context(|| format!("line {}: too short", at + 1));
            let wrong = |text: &str| format!("line {}: `{text}`", at + 1);
            let (time, tokens) = (read(time)?, read(tokens)?);
            Ok((since_epoch(time).with_context(|| wrong(time))?, tokens.parse().with_context(|| wrong(tokens))?))
        })
        .collect()
}

/// `2023-11-16 18:15:46.6805900`, zone ignored: only differences count.
fn since_epoch(text: &str) -> Option<Duration> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let numbers =
        |text: &str, by: char| text.split(by).map(|part| part.parse::<u64>().ok()).collect::<Option<Vec<_>>>();
    let [year, month, day] = numbers(date, '-')?.try_into().ok()?;
    let time = time.split(['+', 'Z']).next()?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let [hour, minute, second] = numbers(clock, ':')?.try_into().ok()?;
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let nanos = digits.parse::<u32>().ok()?;
    // Days by the civil calendar, March first: leap days come last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    Some(Duration::new(((days * 24 + hour) * 60 + minute) * 60 + second, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64, tokens: u32) -> Arrival {
        Arrival { after: Duration::from_millis(ms), tokens }
    }

    #[test]
    fn both_forms_are_read() {
        let mooncake = "{\"timestamp\": 27482, \"input_length\": 6955, \"output_length\": 52, \"hash_ids\": [46, 47]}\n\
                        {\"timestamp\": 30535, \"input_length\": 6472, \"output_length\": 26, \"hash_ids\": [46]}\n";
        assert_eq!(parse(mooncake, 2).unwrap(), [ms(0, 6955), ms(3053, 6472)]);
        assert_eq!(parse(mooncake, 1).unwrap(), [ms(0, 6955)]);
        let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-02-29 23:59:59.9000000,374,44\n2024-03-01 00:00:00.4000000,396,109\n";
        assert_eq!(parse(azure, 2).unwrap(), [ms(0, 374), ms(500, 396)]);
    }

    #[test]
    fn what_is_neither_is_said() {
        for (text, said) in [
            ("", "TIMESTAMP"),
            ("a,b\n1,2\n", "TIMESTAMP"),
            ("{\"timestamp\": 5}\n", "line 1"),
            ("TIMESTAMP,ContextTokens\nnever,5\n", "`never`"),
            ("TIMESTAMP,ContextTokens\n2023-11-16 18:15:46,many\n", "`many`"),
            ("TIMESTAMP,ContextTokens\n2023-11-16 18:15:46\n", "too short"),
            ("{\"timestamp\": 5, \"input_length\": 5}", "1 requests, 2 are wanted"),
        ] {
            let error = format!("{:#}", parse(text, 2).unwrap_err());
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }
}
