//! Which capabilities this process has.

use std::fs;

const PERFMON: u32 = 38;
const BPF: u32 = 39;
const SYS_ADMIN: u32 = 21;
const SYS_PTRACE: u32 = 19;
const DAC_READ_SEARCH: u32 = 2;
const CHECKPOINT_RESTORE: u32 = 40;

/// Effective capabilities.
#[derive(Debug, Clone, Copy)]
pub struct Privileges(u64);

impl Privileges {
    /// Of this process.
    pub fn own() -> Self {
        Self(fs::read_to_string("/proc/self/status").ok().and_then(|text| parse(&text)).unwrap_or(0))
    }

    fn has(self, capability: u32) -> bool {
        self.0 & (1 << capability) != 0
            || self.0 & (1 << SYS_ADMIN) != 0 && matches!(capability, PERFMON | BPF | CHECKPOINT_RESTORE)
    }

    /// Those without which nothing can be recorded.
    pub fn missing(self) -> Vec<&'static str> {
        named(self, &[(BPF, "CAP_BPF"), (PERFMON, "CAP_PERFMON")])
    }

    /// Those without which processes of other users, or libraries in containers, stay unseen.
    pub fn missing_for_others(self) -> Vec<&'static str> {
        named(
            self,
            &[
                (SYS_PTRACE, "CAP_SYS_PTRACE"),
                (DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"),
                (CHECKPOINT_RESTORE, "CAP_CHECKPOINT_RESTORE"),
            ],
        )
    }
}

fn named(own: Privileges, wanted: &[(u32, &'static str)]) -> Vec<&'static str> {
    wanted.iter().filter(|(capability, _)| !own.has(*capability)).map(|(_, name)| *name).collect()
}

fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(parse("Name:\tx\nCapEff:\t000001ffffffffff\n"), Some(0x1ff_ffff_ffff));
        assert_eq!(parse("nothing"), None);
        assert_eq!(Privileges(0).missing(), ["CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(Privileges(1 << BPF).missing(), ["CAP_PERFMON"]);
        assert_eq!(Privileges(1 << SYS_ADMIN).missing(), [""; 0]);
        assert_eq!(Privileges(1 << SYS_ADMIN).missing_for_others(), ["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"]);
        assert_eq!(Privileges(u64::MAX).missing_for_others(), [""; 0]);
    }
}
