//! kvpath's own workload. Its titles are `kvpath-workload::prefill_PP1_TP0`; its notifications are those of the engine that it
//! stands for, but a registration says the id and nothing else.

/// The id that is all a registration says.
pub(super) fn registered(body: &str) -> Option<&str> {
    let is_id = !body.is_empty() && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    is_id.then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_is_an_id() {
        assert_eq!(registered("cmpl-req-0-7b1dcdaf"), Some("cmpl-req-0-7b1dcdaf"));
        assert_eq!(registered("\u{fffd}\u{fffd}request_id\u{fffd}a"), None);
        assert_eq!(registered("{'id': 'a'}"), None);
        assert_eq!(registered(""), None);
    }
}
