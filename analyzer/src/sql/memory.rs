//! Sizes of memory as users write them.

/// Reads `512MiB`, `2GiB`, `64M`, `1.5G` or plain bytes; the units are powers of 1024.
///
/// # Errors
/// Says what a size looks like.
pub fn parse(text: &str) -> Result<usize, String> {
    let bad = || format!("`{text}` is not a size; write bytes, or a number with KiB, MiB or GiB, such as 512MiB");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return Err(bad()),
    };
    let number: f64 = number.parse().map_err(|_| bad())?;
    let bytes = number * f64::from(1u32 << shift);
    // 2^53: beyond it neither the memory nor the arithmetic is real.
    if !(1.0..=9_007_199_254_740_992.0).contains(&bytes) {
        return Err(bad());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in 1..=2^53")]
    let bytes = bytes as usize;
    Ok(bytes)
}

/// Prints a size in the largest unit that shows it whole.
#[must_use]
pub fn show(bytes: usize) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >= 1 << shift && bytes.trailing_zeros() >= shift {
            return format!("{} {unit}", bytes >> shift);
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print() {
        assert_eq!(parse("2GiB").map(show), Ok("2 GiB".to_owned()));
        assert_eq!(parse("1.5g").map(show), Ok("1536 MiB".to_owned()));
        assert_eq!(parse("64 M").map(show), Ok("64 MiB".to_owned()));
        assert_eq!(parse("1000").map(show), Ok("1000 bytes".to_owned()));
    }

    #[test]
    fn what_is_no_size_is_refused_with_an_example() {
        for text in ["", "x", "-1", "0", "1TB", "1.2.3M", "99999999999G", "inf", "nan"] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(&format!("`{text}`")) && error.contains("512MiB"), "{error}");
        }
    }
}
