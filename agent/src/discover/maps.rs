//! `/proc/PID/maps`. Pure.

/// One executable file mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// End address.
    pub end: u64,
    /// Path as the process sees it.
    pub path: String,
}

impl Mapping {
    /// File name of its path, without the mark that the kernel adds to files that were removed.
    pub fn file_name(&self) -> &str {
        let path = self.path.strip_suffix(" (deleted)").unwrap_or(&self.path);
        path.rsplit('/').next().unwrap_or(path)
    }
}

/// A line of a `maps` file.
struct Line<'a> {
    start: u64,
    end: u64,
    permissions: &'a str,
    /// Where in the file `start` lies.
    offset: u64,
    path: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let (permissions, offset) = (fields.next()?, fields.next()?);
        // Behind device and inode.
        let path = fields.nth(2).unwrap_or_default().trim_start();
        Some(Self { start: number(start)?, end: number(end)?, permissions, offset: number(offset)?, path })
    }
}

/// The executable file mappings in the text of a `maps` file; lines that are something else are skipped.
pub fn executable(text: &str) -> impl Iterator<Item = Mapping> + '_ {
    let code = |line: &Line| line.permissions.as_bytes().get(2) == Some(&b'x') && line.path.starts_with('/');
    let lines = text.lines().filter_map(Line::parse).filter(code);
    lines.map(|line| Mapping { start: line.start, end: line.end, path: line.path.to_owned() })
}

/// Where in its file the byte at an address lies; `None` where nothing is mapped.
pub fn file_offset(text: &str, address: u64) -> Option<u64> {
    let line = at(text, address)?;
    line.offset.checked_add(address - line.start)
}

/// Whether the CPU may read the byte at an address; `None`: nothing is mapped there.
pub fn is_readable(text: &str, address: u64) -> Option<bool> {
    at(text, address).map(|line| line.permissions.starts_with('r'))
}

/// The line of the mapping that holds an address.
fn at(text: &str, address: u64) -> Option<Line<'_>> {
    text.lines().filter_map(Line::parse).find(|line| (line.start..line.end).contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_executable_files_are_taken() {
        let text = "\
7f0000000000-7f0000001000 r--p 00000000 fe:00 12 /opt/a b/libnixl.so
7f0000001000-7f0000002000 r-xp 00001000 fe:00 12                         /opt/a b/libnixl.so
7f0000002000-7f0000003000 r-xp 00000000 00:00 0                          [vdso]
7f0000003000-7f0000004000 r-xp 00000000 00:00 0 
7f0000004000-7f0000005000 r-xp 00000000 fe:00 13 /tmp/libplugin_UCX.so (deleted)
garbage
";
        let found: Vec<Mapping> = executable(text).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].start, found[0].end, found[0].path.as_str()),
            (0x7f00_0000_1000, 0x7f00_0000_2000, "/opt/a b/libnixl.so")
        );
        assert_eq!(found[0].file_name(), "libnixl.so");
        assert_eq!(found[1].file_name(), "libplugin_UCX.so");
        assert_eq!(file_offset(text, 0x7f00_0000_1010), Some(0x1010));
        assert_eq!(file_offset(text, 0x7f00_0000_6000), None);
    }
}
