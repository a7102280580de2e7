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

/// The executable file mappings in the text of a `maps` file; lines that are something else are skipped.
pub fn executable(text: &str) -> impl Iterator<Item = Mapping> + '_ {
    text.lines().filter_map(|line| {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let permissions = fields.next()?;
        let path = fields.nth(3)?.trim_start();
        (permissions.as_bytes().get(2) == Some(&b'x') && path.starts_with('/')).then_some(())?;
        Some(Mapping {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            path: path.to_owned(),
        })
    })
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
    }
}
