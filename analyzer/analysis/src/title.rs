//! Process titles for people: enough to tell processes apart.

/// Characters of a process title.
const TITLE: usize = 48;

/// The part of a process title that tells processes apart: without arguments, at most [`TITLE`] characters.
#[must_use]
pub fn short(title: &str) -> String {
    // `Engine::Core decode` is a title with a space; `name::role --flag` has arguments.
    let words = title.find(" --").map_or(title, |at| &title[..at]);
    let words = if words.contains("::") && title.len() > words.len() {
        words.split(' ').next().unwrap_or(words)
    } else {
        words
    };
    if words.chars().count() <= TITLE {
        return words.to_owned();
    }
    words.chars().take(TITLE - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn titles_lose_their_arguments_and_stay_apart() {
        assert_eq!(short("VLLM::EngineCore decode"), "VLLM::EngineCore decode");
        assert_eq!(short("kvpath-workload::decode_TP0 worker --role decode"), "kvpath-workload::decode_TP0");
        assert_eq!(short("python3 serve.py --port 80"), "python3 serve.py");
        assert_eq!(short(&"é".repeat(80)).chars().count(), 48);
    }
}
