//! What a process title says of role and ranks.

use kvpath_schema::tables::derived::Role;

use super::{sglang, vllm};

/// Role and ranks in a title; vLLM writes `VLLM::Worker_DP0_PP1_PCP0_TP0_EP0`, SGLang `sglang::scheduler_DP0_PP1_ATTN_CP0_TP0_EP0`,
/// kvpath's workload `kvpath-workload::prefill_PP1_TP0`, each the ranks of which there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Title {
    /// Pipeline-parallel rank.
    pub pp: Option<i32>,
    /// Tensor-parallel rank.
    pub tp: Option<i32>,
    /// Data-parallel rank.
    pub dp: Option<i32>,
    /// Context-parallel rank.
    pub cp: Option<i32>,
    /// Expert-parallel rank.
    pub ep: Option<i32>,
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
    Title {
        pp: rank(title, "PP"),
        tp: rank(title, "TP"),
        dp: rank(title, "DP"),
        cp: rank(title, vllm::CP).or_else(|| rank(title, sglang::CP)),
        ep: rank(title, "EP"),
        role,
    }
}

/// Whether a process with that title hands over each prompt at once, and not chunk by chunk.
#[must_use]
pub fn hands_over_whole_prompts(title: &str) -> bool {
    title.get(..vllm::TITLE.len()).is_some_and(|own| own.eq_ignore_ascii_case(vllm::TITLE))
}

/// Whether a process with that title, where all its KV is one allocation, prepares a row of blocks for each layer, or one for
/// all: vLLM, since it lays KV out so. Layers of groups that lie over each other have one row together.
#[must_use]
pub fn prepares_a_row_a_layer(title: &str) -> bool {
    hands_over_whole_prompts(title)
}

/// The number after `_PP` or `:PP`; a path that happens to hold the letters is no rank.
fn rank(title: &str, which: &str) -> Option<i32> {
    title.match_indices(which).find_map(|(at, _)| {
        let before = &title[..at];
        if !before.ends_with(['_', ':', ' ']) || before.ends_with(sglang::OF_EXPERTS) {
            return None;
        }
        let rest = &title[at + which.len()..];
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        rest[..digits].parse().ok()
    })
}

/// Whether prefill samples the first token in the engine of a process with that title, and decode hands it on when the KV is there
/// (SGLang: `process_batch_result_disagg_prefill`, `output_id` of the metadata that it writes).
#[must_use]
pub fn samples_in_prefill(title: &str) -> bool {
    title.to_ascii_lowercase().starts_with(sglang::TITLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_titles() {
        let title = |pp, tp, role| Title { pp, tp, role, ..Title::default() };
        assert_eq!(read("VLLM::Worker_PP1"), title(Some(1), None, None));
        assert_eq!(read("VLLM::Worker_PP1_TP3"), title(Some(1), Some(3), None));
        assert_eq!(read("sglang::scheduler_PP0_TP0"), title(Some(0), Some(0), None));
        assert_eq!(read("VLLM::EngineCore decode"), title(None, None, Some(Role::Decode)));
        assert_eq!(read("kvpath-workload::prefill_PP1_TP0"), title(Some(1), Some(0), Some(Role::Prefill)));
        assert_eq!(read("python3 /opt/APP1/x.py"), title(None, None, None));
        assert_eq!(read("python3 serve.py --enable-chunked-prefill"), title(None, None, None));
        assert_eq!(read("sglang::detokenizer"), title(None, None, None));
        assert_eq!(read(""), title(None, None, None));
    }

    #[test]
    fn ranks_of_every_kind() {
        let all = |title: &str| {
            let Title { dp, pp, cp, tp, ep, .. } = read(title);
            [dp, pp, cp, tp, ep]
        };
        assert_eq!(all("VLLM::Worker_DP1_PP2_PCP3_TP4_DCP5_EP6"), [1, 2, 3, 4, 6].map(Some));
        assert_eq!(all("VLLM::EngineCore_DP1"), [Some(1), None, None, None, None]);
        assert_eq!(all("sglang::scheduler_DP1_PP2_ATTN_CP3_MOE_DP7_TP4_EP6"), [1, 2, 3, 4, 6].map(Some));
        assert_eq!(all("sglang::scheduler_MOE_DP7_TP4"), [None, None, None, Some(4), None]);
    }
}
