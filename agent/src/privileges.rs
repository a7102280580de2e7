//! Which capabilities this process has.

use rustix::thread::{CapabilitySet, capabilities};

/// What `CAP_SYS_ADMIN` includes, of what is asked for here.
const OF_SYS_ADMIN: CapabilitySet =
    CapabilitySet::PERFMON.union(CapabilitySet::BPF).union(CapabilitySet::CHECKPOINT_RESTORE);

/// Effective capabilities.
#[derive(Debug, Clone, Copy)]
pub struct Privileges(CapabilitySet);

impl Privileges {
    /// Of this process.
    pub fn own() -> Self {
        Self(capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective))
    }

    fn has(self, capability: CapabilitySet) -> bool {
        self.0.contains(capability) || self.0.contains(CapabilitySet::SYS_ADMIN) && OF_SYS_ADMIN.contains(capability)
    }

    /// Those without which nothing can be recorded.
    pub fn missing(self) -> Vec<&'static str> {
        named(self, &[(CapabilitySet::BPF, "CAP_BPF"), (CapabilitySet::PERFMON, "CAP_PERFMON")])
    }

    /// Those without which processes of other users, or libraries in containers, stay unseen.
    pub fn missing_for_others(self) -> Vec<&'static str> {
        named(
            self,
            &[
                (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE"),
                (CapabilitySet::DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"),
                (CapabilitySet::CHECKPOINT_RESTORE, "CAP_CHECKPOINT_RESTORE"),
            ],
        )
    }
}

fn named(own: Privileges, wanted: &[(CapabilitySet, &'static str)]) -> Vec<&'static str> {
    wanted.iter().filter(|(capability, _)| !own.has(*capability)).map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(Privileges(CapabilitySet::empty()).missing(), ["CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(Privileges(CapabilitySet::BPF).missing(), ["CAP_PERFMON"]);
        let admin = Privileges(CapabilitySet::SYS_ADMIN);
        assert_eq!(admin.missing(), [""; 0]);
        assert_eq!(admin.missing_for_others(), ["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"]);
        assert_eq!(Privileges(CapabilitySet::all()).missing_for_others(), [""; 0]);
    }

    #[test]
    fn our_own_are_those_that_the_kernel_lists() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let listed = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
        let listed = u64::from_str_radix(listed.trim(), 16).unwrap();
        assert_eq!(Privileges::own().0.bits(), listed);
    }
}
