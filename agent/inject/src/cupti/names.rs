//! Kernel names, each stored in the ring once.

use std::collections::HashMap;
use std::rc::Rc;

/// Addresses that are remembered; a power of two.
const RECENT: usize = 4096;
/// Names that are remembered at most; the ring's name area holds fewer.
const NAMES_MAX: usize = 1 << 16;

/// Ids of the names that were seen.
pub struct NameIds {
    ids: HashMap<Rc<[u8]>, u32>,
    /// By address of the text: what stood there, and its id. Texts are compared, for an address is used again when a
    /// module is unloaded.
    recent: Vec<Option<(Rc<[u8]>, u32)>>,
}

impl Default for NameIds {
    fn default() -> Self {
        Self { ids: HashMap::new(), recent: vec![None; RECENT] }
    }
}

impl NameIds {
    /// The id of a name; `intern` is asked for one that is new.
    pub fn id(&mut self, name: &[u8], intern: impl FnOnce(&[u8]) -> u32) -> u32 {
        let address = name.as_ptr().addr();
        let slot = &mut self.recent[(address >> 3 ^ address >> 15) % RECENT];
        if let Some((text, id)) = slot
            && **text == *name
        {
            return *id;
        }
        let known = self.ids.get_key_value(name).map(|(text, id)| (Rc::clone(text), *id));
        let (text, id) = known.unwrap_or_else(|| {
            let (text, id) = (Rc::from(name), intern(name));
            if self.ids.len() < NAMES_MAX {
                self.ids.insert(Rc::clone(&text), id);
            }
            (text, id)
        });
        *slot = Some((text, id));
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_stored_once_and_an_address_may_be_used_again() {
        let mut names = NameIds::default();
        let mut stored = Vec::new();
        let mut buffer = *b"kernel_a";
        let mut id = |names: &mut NameIds, name: &[u8]| {
            names.id(name, |name| {
                stored.push(name.to_vec());
                u32::try_from(stored.len()).unwrap()
            })
        };
        assert_eq!(id(&mut names, &buffer), 1);
        assert_eq!(id(&mut names, &buffer), 1);
        buffer = *b"kernel_b";
        assert_eq!(id(&mut names, &buffer), 2);
        assert_eq!(id(&mut names, b"kernel_a"), 1);
        assert_eq!(stored, [b"kernel_a".to_vec(), b"kernel_b".to_vec()]);
    }
}
