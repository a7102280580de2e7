//! Texts that name requests: messages, ids with what an engine puts around them.

use std::collections::HashMap;

/// Whether a text names the request and not one whose id merely begins or ends alike (`req-1` in `req-10`).
#[must_use]
pub fn names(text: &str, id: &str) -> bool {
    let edge = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
    !id.is_empty()
        && text
            .match_indices(id)
            .any(|(at, _)| edge(text[..at].chars().next_back()) && edge(text[at + id.len()..].chars().next()))
}

/// Texts, to be asked which of them name an id: by the rarest of its words, so that many ids among many texts take no product of
/// both.
#[derive(Debug, Default)]
pub struct Texts<'a> {
    texts: Vec<&'a str>,
    by_word: HashMap<&'a str, Vec<usize>>,
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}

impl<'a> Texts<'a> {
    /// Takes them in; they are named by their position.
    pub fn of(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all = Self::default();
        for text in texts {
            let at = all.texts.len();
            all.texts.push(text);
            for word in words(text) {
                let own = all.by_word.entry(word).or_default();
                if own.last() != Some(&at) {
                    own.push(at);
                }
            }
        }
        all
    }

    /// Positions of those that name the id, rising.
    pub fn naming(&self, id: &str) -> impl Iterator<Item = usize> {
        let lists = words(id).map(|word| self.by_word.get(word).map_or(&[][..], Vec::as_slice));
        let rarest = lists.min_by_key(|list| list.len()).unwrap_or(&[]);
        rarest.iter().copied().filter(move |at| names(self.texts[*at], id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_that_begin_or_end_alike_are_others() {
        let texts = Texts::of([
            "PUSH_REG:{'id': 'cmpl-req-1-0-0123abcd'}",
            "PUSH_REG:{'id': 'cmpl-req-10-0-0123abcd'}",
            "a-req-1",
        ]);
        assert_eq!(texts.naming("req-1").collect::<Vec<_>>(), [0, 2]);
        assert_eq!(texts.naming("cmpl-req-10-0").collect::<Vec<_>>(), [1]);
        assert_eq!(texts.naming("").count() + texts.naming("--").count() + texts.naming("req-2").count(), 0);
    }

    proptest! {
        /// The index finds what asking each text finds, for ids that hold a word.
        #[test]
        fn the_index_misses_nothing(texts in prop::collection::vec("[ab1-]{0,8}", 0..12), id in "[ab1-]{0,3}[ab1][ab1-]{0,3}") {
            let found: Vec<usize> = Texts::of(texts.iter().map(String::as_str)).naming(&id).collect();
            let asked: Vec<usize> = (0..texts.len()).filter(|at| names(&texts[*at], &id)).collect();
            prop_assert_eq!(found, asked);
        }
    }
}
