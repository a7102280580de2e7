//! Which schema versions this build reads and writes.
//!
//! A segment carries its version from the first file ever written, because a gate cannot be added afterwards.
//! A change that older readers would misread raises [`CURRENT`]; a new nullable column does not, since readers take
//! columns by name and a missing nullable column reads as null.

/// The version that this build writes.
pub const CURRENT: u32 = 1;
/// The oldest version that this build reads.
pub const OLDEST_READABLE: u32 = 1;

/// Why a segment of some version cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VersionError {
    /// Written by a newer kvpath.
    #[error(
        "schema version {found} is newer than version {CURRENT}, the newest that this kvpath reads; update kvpath to read it"
    )]
    Newer {
        /// Version of the file.
        found: u32,
    },
    /// Written by a kvpath too old for this one.
    #[error(
        "schema version {found} is older than version {OLDEST_READABLE}, the oldest that this kvpath reads; read it with an older kvpath"
    )]
    Older {
        /// Version of the file.
        found: u32,
    },
}

/// Says whether a segment of version `found` can be read.
///
/// # Errors
/// Outside of [`OLDEST_READABLE`]`..=`[`CURRENT`]; the error names both versions and the cure.
pub const fn check(found: u32) -> Result<(), VersionError> {
    if found > CURRENT {
        Err(VersionError::Newer { found })
    } else if found < OLDEST_READABLE {
        Err(VersionError::Older { found })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readable_range_is_closed() {
        assert_eq!(check(CURRENT), Ok(()));
        assert_eq!(check(OLDEST_READABLE), Ok(()));
        assert_eq!(check(CURRENT + 1), Err(VersionError::Newer { found: CURRENT + 1 }));
        assert_eq!(check(0), Err(VersionError::Older { found: 0 }));
    }

    #[test]
    fn a_refusal_names_both_versions_and_the_cure() {
        let text = check(99).unwrap_err().to_string();
        assert!(text.contains("99") && text.contains(&CURRENT.to_string()) && text.contains("update kvpath"), "{text}");
    }
}
