//! The names of a ring that were looked up before.

use kvpath_schema::cell::Name;

/// Ids below this are remembered: twice what `libkvpath_inject.so` can give. A ring of another make may hold more names,
/// and costs a look each time, not memory.
const REMEMBERED: usize = 1 << 20;

/// Names by id. An id is the name's place in an area of words, so those of a process lie close together from 1 on.
#[derive(Debug, Default)]
pub struct InternedNames {
    by_id: Vec<Option<Name>>,
}

impl InternedNames {
    /// The name with that id; `look` finds it in the ring. One that is not there is looked for again the next time.
    pub fn get(&mut self, id: u32, look: impl FnOnce() -> Option<String>) -> Name {
        let at = id as usize;
        if let Some(Some(name)) = self.by_id.get(at) {
            return name.clone();
        }
        let Some(name) = look() else {
            return "(name lost)".into();
        };
        if at >= REMEMBERED {
            return name.into();
        }
        if self.by_id.len() <= at {
            self.by_id.resize(at + 1, None);
        }
        self.by_id[at].insert(name.into()).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_once_and_a_lost_one_takes_no_room() {
        let mut names = InternedNames::default();
        assert_eq!(&*names.get(5, || Some("kernel".to_owned())), "kernel");
        assert_eq!(&*names.get(5, || panic!("known")), "kernel");
        assert_eq!(&*names.get(u32::MAX, || None), "(name lost)");
        assert_eq!(&*names.get(u32::MAX, || Some("far".to_owned())), "far");
        assert_eq!(names.by_id.len(), 6);
        assert_eq!(&*names.get(2, || Some("copy".to_owned())), "copy");
    }
}
