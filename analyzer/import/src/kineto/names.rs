//! Names, each held once.

use std::collections::HashMap;

use kvpath_schema::cell::Name;

use super::json::Text;

/// The names of a part of a trace, by their bytes there: a name is decoded when it is met first.
///
/// A part has names of its own. Threads that shared them would count who holds them in turn, and wait for each other.
#[derive(Default)]
pub(super) struct TraceNames {
    met: HashMap<Box<[u8]>, Name, foldhash::fast::RandomState>,
    words: Vec<(&'static str, Name)>,
}

impl TraceNames {
    pub(super) fn get(&mut self, text: Text) -> Name {
        if let Some(name) = self.met.get(text.raw) {
            return name.clone();
        }
        let name = Name::from(&*text.decoded());
        self.met.insert(text.raw.into(), name.clone());
        name
    }

    /// A word of ours as a shared string; they are few.
    pub(super) fn word(&mut self, word: &'static str) -> Name {
        if let Some((_, name)) = self.words.iter().find(|(known, _)| std::ptr::eq(*known, word)) {
            return name.clone();
        }
        let name = Name::from(word);
        self.words.push((word, name.clone()));
        name
    }
}
