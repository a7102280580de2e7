//! Dynamo's own transfers. Its hand-offs are those of the engine below.

use kvpath_schema::tables::purposes::Purpose;

/// What the text of a transfer says that it is for. Embeddings of images go by agents of their own, each transfer with a UUID as its
/// text (`nixl_connect`, 1.6.1, lines 158 and 398-403): engines put something behind their ids.
pub(super) fn purpose(text: &str) -> Option<Purpose> {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_uuid4 = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            14 => byte == b'4',
            19 => matches!(byte, b'8' | b'9' | b'a' | b'b'),
            _ => is_hex(byte),
        });
    is_uuid4.then_some(Purpose::Embeddings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_uuid_is_of_embeddings_and_an_engines_id_is_not() {
        let uuid = "0f3c1a52-6f0e-4d6b-9c59-6d0f7c1f6c11";
        assert_eq!(purpose(uuid), Some(Purpose::Embeddings));
        for other in [
            format!("{uuid}-1a2b3c4d:1"),
            format!("{uuid}:1"),
            uuid.replace("-4d", "-1d"),
            uuid.to_uppercase(),
            String::new(),
        ] {
            assert_eq!(purpose(&other), None, "{other}");
        }
    }
}
