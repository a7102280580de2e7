//! The release that a library of NIXL says it is of: `libnixl_common.so` of the same installation holds the version and the commit as
//! texts, which it would log.

use std::collections::BTreeSet;
use std::fmt;

use crate::discover::library::{FileId, Library};
use crate::elf::Elf;

/// The library with the texts, and where it may lie as seen from the library that is asked about: beside it; a plugin lies deeper.
const COMMON: [&str; 2] = ["libnixl_common.so", "../libnixl_common.so"];
/// What the version follows in the log.
const VERSION: &[u8] = b"NIXL version: ";
/// What the commit follows there.
const COMMIT: &[u8] = b" (git: ";

/// What an installation of NIXL says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Version, as `1.5.1`.
    pub version: String,
    /// The commit that it was built of, if that is said.
    pub commit: Option<String>,
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.version)?;
        self.commit.as_ref().map_or(Ok(()), |commit| write!(f, " (git {commit})"))
    }
}

/// What the installation that a library belongs to says, and the file that says it.
///
/// # Errors
/// That file is not there, or does not say one version.
pub fn of(library: &Library) -> Result<(Release, FileId), String> {
    let mut missing = None;
    for name in COMMON {
        match library.beside(name) {
            Ok(common) => {
                let data = common.read().map_err(|error| format!("{}: {error}", common.path))?;
                let elf = Elf::parse(&data).map_err(|error| format!("{}: {error}", common.path))?;
                let release = read(elf.texts()).map_err(|error| format!("{} {error}", common.path))?;
                return Ok((release, common.id));
            }
            Err(error) => missing = missing.or(Some(error)),
        }
    }
    let why = missing.map(|error| format!(": {error}")).unwrap_or_default();
    Err(format!("its release is not known, for there is no libnixl_common.so beside it{why}"))
}

fn read<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Result<Release, String> {
    let (mut says_it, mut versions, mut commit, mut before) = (false, BTreeSet::new(), None, &b""[..]);
    for text in texts {
        says_it |= text == VERSION;
        if let Some(version) = version(text) {
            versions.insert(version);
        }
        if before == COMMIT && !text.is_empty() && text.len() <= 40 && text.iter().all(u8::is_ascii_hexdigit) {
            commit = commit.or_else(|| Some(String::from_utf8_lossy(text).into_owned()));
        }
        before = text;
    }
    if !says_it {
        return Err("does not say its version".to_owned());
    }
    match (versions.pop_first(), versions.pop_first()) {
        (Some(version), None) => Ok(Release { version, commit }),
        (None, _) => Err("does not say its version".to_owned()),
        (Some(one), Some(other)) => Err(format!("may be of {one} or {other}")),
    }
}

/// A version of three numbers.
fn version(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= 16)?;
    let mut numbers = text.split('.');
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_version = numbers.clone().count() == 3 && numbers.all(is_number);
    is_version.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_texts(texts: &[&str]) -> Result<Release, String> {
        read(texts.iter().map(|text| text.as_bytes()))
    }

    #[test]
    fn the_version_is_the_only_text_of_that_form() {
        let texts = ["NIXL_LOG_LEVEL", "NIXL version: ", "1.5.1", " (git: ", "1d2a52eb", "", "10.0", "a.b.c"];
        let release = of_texts(&texts).unwrap();
        assert_eq!((release.version.as_str(), release.commit.as_deref()), ("1.5.1", Some("1d2a52eb")));
        assert_eq!(release.to_string(), "1.5.1 (git 1d2a52eb)");
        // A linker may put them into any order.
        assert_eq!(of_texts(&["1.4.0", "x", "NIXL version: "]).unwrap().to_string(), "1.4.0");
    }

    #[test]
    fn what_does_not_say_one_version_says_none() {
        assert_eq!(of_texts(&["1.4.0"]), Err("does not say its version".to_owned()));
        assert_eq!(of_texts(&["NIXL version: "]), Err("does not say its version".to_owned()));
        assert_eq!(of_texts(&["NIXL version: ", "1.4.0", "1.5.0"]), Err("may be of 1.4.0 or 1.5.0".to_owned()));
        for none in ["", "1", "1.2", "1.2.3.4", "1.2.3rc1", "v1.2.3", "1..3", "123456789.12345678.1"] {
            assert_eq!(version(none.as_bytes()), None, "{none}");
        }
    }
}
