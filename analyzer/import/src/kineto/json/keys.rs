//! The keys of objects that are written alike: which one is next is guessed from what followed the one before.
//!
//! Profilers write the events of a category byte by byte alike, but for their values. What stood between two values once is
//! compared with what stands there now, all at once; only what is new is read by the rules of JSON. Those look at nothing
//! but the bytes that they step over and whether they are the object's first, so a guess that fits is what they would
//! have found.

use memchr::arch::all::is_prefix;

use super::cursor::{Cursor, Fault};

/// Keys that were met in objects of one kind, as what `F` says of them.
#[derive(Debug)]
pub(in crate::kineto) struct Keys<'a, F> {
    /// The first is the opening bracket.
    met: Vec<Separator<'a, F>>,
}

/// What stood between two values.
#[derive(Debug)]
struct Separator<'a, F> {
    between: &'a [u8],
    /// The key in it; none of a closing bracket.
    key: Option<F>,
    /// What stood behind the value after it, in the order in which it was met; [`OPEN`] for none, as nothing opens twice.
    followers: [u8; FOLLOWERS],
}

/// A place in an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kineto) struct KeyPosition(u8);

/// Behind the opening bracket.
pub(in crate::kineto) const OPENED: KeyPosition = KeyPosition(OPEN);

const OPEN: u8 = 0;
/// Behind a value whose key was not kept.
const ANYWHERE: u8 = u8::MAX;
/// What is tried before the rules: a value is followed by another for each category at most.
const FOLLOWERS: usize = 6;
/// What is kept: some ten times what a trace has, lest keys without end take memory without end.
const MOST: usize = 250;

impl<F> Default for Keys<'_, F> {
    fn default() -> Self {
        Self { met: vec![Separator { between: b"", key: None, followers: [OPEN; FOLLOWERS] }] }
    }
}

impl<'a, F: Copy> Keys<'a, F> {
    /// The next key of an object, as `meaning` reads it, and the cursor before its value; none where `}` was taken. `place` is
    /// behind the bracket or the value before, and moves on.
    #[inline]
    pub(in crate::kineto) fn next(
        &mut self,
        cursor: &mut Cursor<'a>,
        place: &mut KeyPosition,
        meaning: fn(&[u8]) -> F,
    ) -> Result<Option<F>, Fault> {
        if let Some(here) = self.met.get(usize::from(place.0)) {
            for follower in here.followers {
                let next = &self.met[usize::from(follower)];
                if follower == OPEN {
                    break;
                }
                if is_prefix(cursor.rest(), next.between) {
                    cursor.step(next.between.len());
                    *place = KeyPosition(follower);
                    return Ok(next.key);
                }
            }
        }
        self.by_the_rules(cursor, place, meaning)
    }

    #[inline(never)]
    fn by_the_rules(
        &mut self,
        cursor: &mut Cursor<'a>,
        place: &mut KeyPosition,
        meaning: fn(&[u8]) -> F,
    ) -> Result<Option<F>, Fault> {
        let before = cursor.rest();
        let key = cursor.key(&mut (*place == OPENED))?;
        if key.is_some() {
            // White space before the value is stepped over with the rest.
            cursor.peek()?;
        }
        let between = &before[..before.len() - cursor.rest().len()];
        let key = key.map(|key| meaning(key.raw));
        *place = KeyPosition(self.keep(*place, between, key));
        Ok(key)
    }

    /// Notes what stood at a place, if there is room.
    fn keep(&mut self, place: KeyPosition, between: &'a [u8], key: Option<F>) -> u8 {
        let known = self.met.iter().skip(1).position(|met| met.between == between);
        let at = known.map_or(self.met.len(), |at| at + 1);
        let Ok(number) = u8::try_from(at) else { return ANYWHERE };
        if at >= MOST {
            return ANYWHERE;
        }
        if at == self.met.len() {
            self.met.push(Separator { between, key, followers: [OPEN; FOLLOWERS] });
        }
        if let Some(here) = self.met.get_mut(usize::from(place.0))
            && let Some(free) = here.followers.iter_mut().find(|follower| **follower == OPEN)
        {
            *free = number;
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// First letter and length.
    fn meaning(key: &[u8]) -> (u8, usize) {
        (key.first().copied().unwrap_or(0), key.len())
    }

    /// The keys of an object of scalars, and where the cursor is left; by guesses or by the rules alone.
    fn keys<'a>(keys: Option<&mut Keys<'a, (u8, usize)>>, json: &'a [u8]) -> Result<(Vec<(u8, usize)>, usize), Fault> {
        let mut cursor = Cursor::new(json);
        cursor.take(b'{', "")?;
        let mut found = Vec::new();
        let mut none = Keys::default();
        let guessing = keys.is_some();
        let keys = keys.unwrap_or(&mut none);
        let (mut place, mut first) = (OPENED, true);
        loop {
            let key = if guessing {
                keys.next(&mut cursor, &mut place, meaning)?
            } else {
                cursor.key(&mut first)?.map(|key| meaning(key.raw))
            };
            let Some(key) = key else { return Ok((found, cursor.at())) };
            found.push(key);
            cursor.skip()?;
        }
    }

    proptest! {
        #[test]
        fn guesses_find_what_the_rules_find(
            objects in prop::collection::vec("\\{( {0,2}\"[ab]{0,2}\" ?: ?[17],?){0,4}\n?\\}?[ ,}]", 1..12)
        ) {
            let mut guessed = Keys::default();
            for json in &objects {
                prop_assert_eq!(keys(Some(&mut guessed), json.as_bytes()), keys(None, json.as_bytes()), "{}", json);
            }
        }
    }

    #[test]
    fn what_was_met_is_met_again_without_the_rules() {
        let mut met = Keys::default();
        let first = keys(Some(&mut met), b"{\"a\": 1, \"bc\": 2}").unwrap();
        assert_eq!(first.0, [(b'a', 1), (b'b', 2)]);
        let mut cursor = Cursor::new(b"{\"a\": 7, \"bc\": 8}");
        cursor.take(b'{', "").unwrap();
        let mut place = OPENED;
        for expected in [Some((b'a', 1)), Some((b'b', 2)), None] {
            let by_the_rules = |_: &[u8]| -> (u8, usize) { panic!("it was met") };
            assert_eq!(met.next(&mut cursor, &mut place, by_the_rules), Ok(expected));
            if expected.is_some() {
                cursor.skip().unwrap();
            }
        }
    }

    #[test]
    fn keys_without_end_take_no_memory_without_end() {
        let json: Vec<String> = (0..2_000).map(|at| format!("\"{at}\": 1")).collect();
        let json = format!("{{{}}}", json.join(","));
        let mut met = Keys::default();
        for _ in 0..2 {
            assert_eq!(keys(Some(&mut met), json.as_bytes()), keys(None, json.as_bytes()));
        }
        assert_eq!(met.met.len(), MOST);
    }
}
