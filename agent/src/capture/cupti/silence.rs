//! A process that records and says nothing: CUPTI can be on, without an error, and deliver no record.

use kvpath_schema::wire::ring::Kind;

/// How long a process may record without one record of the GPU, ns.
const PATIENCE_NS: i64 = 10_000_000_000;

/// What came of one process.
#[derive(Debug, Default)]
pub struct Silence {
    since_ns: Option<i64>,
    gpu: bool,
    others: u64,
    is_silent: bool,
}

/// Whether a process fell silent, or wrote again.
#[derive(Debug, PartialEq, Eq)]
pub enum SilenceChange {
    /// It records, that many calls and NVTX events came, and nothing of the GPU.
    Silent(u64),
    /// It was silent, and no longer is.
    Heard,
}

impl Silence {
    /// A record of that kind came.
    pub fn saw(&mut self, kind: u8) {
        match Kind::from_word(u64::from(kind)) {
            Some(Kind::Kernel | Kind::Memcpy | Kind::Memset | Kind::Graph) => self.gpu = true,
            Some(Kind::Call | Kind::Push | Kind::Start | Kind::Mark) => self.others += 1,
            _ => {}
        }
    }

    /// Looks whether it is too quiet; `is_recording` says that CUPTI is on, at a level that records the GPU.
    pub fn look(&mut self, now_ns: i64, is_recording: bool) -> Option<SilenceChange> {
        if self.gpu {
            return std::mem::take(&mut self.is_silent).then_some(SilenceChange::Heard);
        }
        if !is_recording {
            self.since_ns = None;
            return None;
        }
        let since_ns = *self.since_ns.get_or_insert(now_ns);
        let is_new = !self.is_silent && self.others > 0 && now_ns - since_ns >= PATIENCE_NS;
        self.is_silent |= is_new;
        is_new.then_some(SilenceChange::Silent(self.others))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn calls_without_a_kernel_are_said_once_and_taken_back() {
        let mut silence = Silence::default();
        assert_eq!(silence.look(0, true), None);
        silence.saw(Kind::Call as u8);
        silence.saw(Kind::Push as u8);
        silence.saw(Kind::Overhead as u8);
        assert_eq!(silence.look(9 * S, true), None, "it has time");
        assert_eq!(silence.look(10 * S, true), Some(SilenceChange::Silent(2)));
        assert_eq!(silence.look(20 * S, true), None, "said already");
        silence.saw(Kind::Kernel as u8);
        assert_eq!(silence.look(21 * S, true), Some(SilenceChange::Heard));
        assert_eq!(silence.look(99 * S, true), None);
    }

    #[test]
    fn a_process_that_does_nothing_or_does_not_record_is_not_suspect() {
        let mut idle = Silence::default();
        assert_eq!((idle.look(0, true), idle.look(60 * S, true)), (None, None));
        let mut off = Silence::default();
        off.saw(Kind::Call as u8);
        assert_eq!((off.look(0, true), off.look(9 * S, false), off.look(12 * S, true)), (None, None, None));
        assert_eq!(off.look(22 * S, true), Some(SilenceChange::Silent(1)), "the time counts from when it was on again");
    }
}
