//! What a process title says of role and rank.

use kvpath_schema::tables::derived::Role;

/// Role and ranks in a title; vLLM writes `VLLM::Worker_PP1_TP0`, SGLang `sglang::scheduler_PP1_TP0`, kvpath's workload
/// `kvpath-workload::prefill_PP1_TP0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Title {
    /// Pipeline-parallel rank.
    pub pp: Option<i32>,
    /// Tensor-parallel rank.
    pub tp: Option<i32>,
    /// Whether the title names a role.
    pub role: Option<Role>,
}

/// Reads a title.
#[must_use]
pub fn read(title: &str) -> Title {
    // Options name features (`--enable-chunked-prefill`), not roles.
    let title = title.find(" --").map_or(title, |at| &title[..at]);
    let lower = title.to_ascii_lowercase();
    let role = match (lower.contains("prefill"), lower.contains("decode")) {
        (true, false) => Some(Role::Prefill),
        (false, true) => Some(Role::Decode),
        _ => None,
    };
    Title { pp: rank(title, "PP"), tp: rank(title, "TP"), role }
}

/// The number after `_PP` or `:PP`; a path that happens to hold the letters is no rank.
fn rank(title: &str, which: &str) -> Option<i32> {
    title.match_indices(which).find_map(|(at, _)| {
        let before = title[..at].chars().next_back();
        if !matches!(before, Some('_' | ':' | ' ')) {
            return None;
        }
        let rest = &title[at + which.len()..];
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        rest[..digits].parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_titles() {
        let title = |pp, tp, role| Title { pp, tp, role };
        assert_eq!(read("VLLM::Worker_PP1"), title(Some(1), None, None));
        assert_eq!(read("VLLM::Worker_PP1_TP3"), title(Some(1), Some(3), None));
        assert_eq!(read("sglang::scheduler_PP0_TP0"), title(Some(0), Some(0), None));
        assert_eq!(read("VLLM::EngineCore decode"), title(None, None, Some(Role::Decode)));
        assert_eq!(read("kvpath-workload::prefill_PP1_TP0"), title(Some(1), Some(0), Some(Role::Prefill)));
        assert_eq!(read("python3 /opt/APP1/x.py"), title(None, None, None));
        assert_eq!(read("python3 serve.py --enable-chunked-prefill"), title(None, None, None));
        assert_eq!(read(""), title(None, None, None));
    }
}
