//! Names, each held once.

use std::collections::HashMap;

use kvpath_schema::cell::Name;

use super::json::Text;

/// The names met so far, by their bytes in the file: a name is decoded when it is met first.
#[derive(Default)]
pub(super) struct Names {
    met: HashMap<Box<[u8]>, Name, foldhash::fast::RandomState>,
}

/// Names that are held: a trace whose names are all different must not be held whole.
const HELD: usize = 1 << 18;

impl Names {
    pub(super) fn get(&mut self, text: Text) -> Name {
        if let Some(name) = self.met.get(text.raw) {
            return name.clone();
        }
        if self.met.len() == HELD {
            self.met.clear();
        }
        let name = Name::from(&*text.decoded());
        self.met.insert(text.raw.into(), name.clone());
        name
    }
}
