//! Numbers for people.

/// A size, with a unit of 1024.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_have_one_decimal() {
        assert_eq!((bytes(0), bytes(1023)), ("0 B".to_owned(), "1023 B".to_owned()));
        assert_eq!((bytes(3 << 20), bytes(1 << 40)), ("3.0 MiB".to_owned(), "1.0 TiB".to_owned()));
    }
}
