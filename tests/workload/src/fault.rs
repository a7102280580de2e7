//! Faults of a known place and size, as the command line writes them.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A layer that takes longer: `STAGE:LAYER:US`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowLayer {
    /// Stage.
    pub stage: u32,
    /// Layer of that stage, from 0.
    pub layer: u32,
    /// How much longer in each chunk.
    pub time: Duration,
}

/// A host that waits before it starts on a chunk: `STAGE:US`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPause {
    /// Stage.
    pub stage: u32,
    /// How long.
    pub time: Duration,
}

/// A clock that is ahead: `PROCESS:SECONDS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skew {
    /// `router`, `stage-N` or `decode-N`.
    pub process: String,
    /// By how much, s; time namespaces have no finer steps on the command line.
    pub seconds: i64,
}

fn parts<const N: usize>(text: &str, form: &str) -> Result<[u64; N], String> {
    let numbers: Option<Vec<u64>> = text.split(':').map(|part| part.parse().ok()).collect();
    numbers.and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| format!("`{text}` is not {form}"))
}

fn narrow(number: u64) -> Result<u32, String> {
    u32::try_from(number).map_err(|_| format!("{number} is too large"))
}

impl FromStr for SlowLayer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let [stage, layer, us] = parts(text, "STAGE:LAYER:US, as 1:3:500")?;
        Ok(Self { stage: narrow(stage)?, layer: narrow(layer)?, time: Duration::from_micros(us) })
    }
}

impl FromStr for HostPause {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let [stage, us] = parts(text, "STAGE:US, as 1:500")?;
        Ok(Self { stage: narrow(stage)?, time: Duration::from_micros(us) })
    }
}

impl FromStr for Skew {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not PROCESS:SECONDS, as stage-1:5");
        let (process, seconds) = text.split_once(':').ok_or_else(wrong)?;
        let is_ranked = |kind| process.strip_prefix(kind).is_some_and(|rank: &str| rank.parse::<u32>().is_ok());
        if process != "router" && !is_ranked("stage-") && !is_ranked("decode-") {
            return Err(wrong());
        }
        Ok(Self { process: process.to_owned(), seconds: seconds.parse().map_err(|_| wrong())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_or_refused() {
        let slow = SlowLayer { stage: 1, layer: 3, time: Duration::from_micros(500) };
        assert_eq!("1:3:500".parse(), Ok(slow));
        assert_eq!("2:70".parse(), Ok(HostPause { stage: 2, time: Duration::from_micros(70) }));
        assert_eq!("decode-0:-5".parse(), Ok(Skew { process: "decode-0".to_owned(), seconds: -5 }));
        for text in ["", "1:2", "1:2:3:4", "a:b:c", "1:2:-3", "99999999999:1:1"] {
            assert!(text.parse::<SlowLayer>().is_err(), "{text}");
        }
        for text in ["5", "stage:5", "stage-1", "stage-1:x", "other-1:5"] {
            assert!(text.parse::<Skew>().is_err(), "{text}");
        }
    }
}
