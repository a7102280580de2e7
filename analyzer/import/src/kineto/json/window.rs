//! The part of a file that is in memory.

use std::io::Read;

/// A window over a file: values are read from it, and what was read makes room for what follows.
pub(in crate::kineto) struct Window<R> {
    reader: R,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    before: u64,
}

/// Why the window could not move on.
#[derive(Debug)]
pub(in crate::kineto) enum WindowError {
    /// The file.
    Io(std::io::Error),
    /// One value is longer than [`LONGEST`].
    TooLong,
}

/// Bytes at first: much more than an event, less than a core's cache.
const USUAL: usize = 1 << 18;
/// The longest value that is held whole: an event, or one fact about the trace.
pub(in crate::kineto) const LONGEST: usize = 1 << 26;

impl<R: Read> Window<R> {
    pub(in crate::kineto) fn new(reader: R) -> Self {
        Self { reader, bytes: vec![0; USUAL], start: 0, end: 0, before: 0 }
    }

    /// The same, without the first `offset` bytes of the file.
    pub(in crate::kineto) fn behind(mut reader: R, offset: u64) -> std::io::Result<Self> {
        std::io::copy(&mut reader.by_ref().take(offset), &mut std::io::sink())?;
        Ok(Self { before: offset, ..Self::new(reader) })
    }

    /// What is in it.
    pub(in crate::kineto) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Where it begins in the file, bytes.
    pub(in crate::kineto) fn offset(&self) -> u64 {
        self.before
    }

    /// Lets go of its first `count` bytes.
    pub(in crate::kineto) fn consume(&mut self, count: usize) {
        self.start += count;
        self.before += count as u64;
    }

    /// Reads on behind what is in it, and says whether there was more; makes room where nothing was consumed.
    pub(in crate::kineto) fn fill(&mut self) -> Result<bool, WindowError> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.bytes.len() {
            if self.end >= LONGEST {
                return Err(WindowError::TooLong);
            }
            self.bytes.resize(self.end * 2, 0);
        }
        let held = self.end;
        while self.end < self.bytes.len() {
            match self.reader.read(&mut self.bytes[self.end..]) {
                Ok(0) => break,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(WindowError::Io(error)),
            }
        }
        Ok(self.end > held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_slides_and_grows_and_knows_where_it_is() {
        let file: Vec<u8> = (0..USUAL * 3 - 10).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let mut window = Window::new(file.as_slice());
        assert!(window.fill().unwrap());
        assert_eq!(window.bytes(), &file[..USUAL]);
        window.consume(USUAL - 10);
        assert!(window.fill().unwrap());
        assert_eq!(window.bytes(), &file[USUAL - 10..2 * USUAL - 10]);
        assert_eq!(window.offset(), USUAL as u64 - 10);
        assert!(window.fill().unwrap(), "full, so it grows");
        assert_eq!(window.bytes(), &file[USUAL - 10..]);
        assert!(!window.fill().unwrap());
    }

    #[test]
    fn it_can_begin_later() {
        let mut window = Window::behind(&b"abcdef"[..], 2).unwrap();
        assert!(window.fill().unwrap());
        assert_eq!((window.bytes(), window.offset()), (&b"cdef"[..], 2));
    }

    #[test]
    fn one_endless_value_is_refused() {
        let mut window = Window::new(std::io::repeat(b'x'));
        let refused = std::iter::repeat_with(|| window.fill()).find_map(Result::err);
        assert!(matches!(refused, Some(WindowError::TooLong)));
    }
}
