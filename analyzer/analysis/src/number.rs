//! Integers as floating-point numbers.

/// An integer to be compared, divided or printed with a few digits.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "for ratios and a few digits")]
pub fn float(n: i64) -> f64 {
    n as f64
}
