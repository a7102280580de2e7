//! Numbers, from their digits to integers without floats.

/// A time in microseconds, as nanoseconds: exact to the last digit of a nanosecond, rounded (halves away from zero)
/// where there are more; `None` where the token is no number or the time does not fit.
#[inline]
pub(in crate::kineto) fn nanoseconds(token: &[u8]) -> Option<i64> {
    scaled(token, 3).map(|(value, _)| value)
}

/// An integer, also where it is written as `7.0` or `7e0`; `None` for fractions and what does not fit.
#[inline]
pub(in crate::kineto) fn integer(token: &[u8]) -> Option<i64> {
    scaled(token, 0).and_then(|(value, exact)| exact.then_some(value))
}

/// The number times 10^`power`, rounded to an integer, and whether it was one.
#[inline]
fn scaled(token: &[u8], power: u32) -> Option<(i64, bool)> {
    quick(token, power).map(|value| (value, true)).or_else(|| general(token, power))
}

/// Digits, and after a point no more of them than `power`; 18 in all, which fit whatever they are.
#[inline]
fn quick(token: &[u8], power: u32) -> Option<i64> {
    if token.is_empty() || token.len() > 18 {
        return None;
    }
    let mut value = 0_i64;
    let mut left = power;
    let mut after_point = false;
    for (at, byte) in token.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                value = value * 10 + i64::from(byte - b'0');
                if after_point {
                    left = left.checked_sub(1)?;
                }
            }
            b'.' if !after_point && at > 0 && at + 1 < token.len() => after_point = true,
            _ => return None,
        }
    }
    value.checked_mul(10_i64.pow(left))
}

/// Any number of JSON.
fn general(token: &[u8], power: u32) -> Option<(i64, bool)> {
    let (negative, token) = token.strip_prefix(b"-").map_or((false, token), |rest| (true, rest));
    let exponent_at = token.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(token.len());
    let (mantissa, exponent) = token.split_at(exponent_at);
    let mut exponent = match exponent {
        [] => 0,
        [_, digits @ ..] => std::str::from_utf8(digits).ok()?.parse::<i32>().ok()?,
    };
    let mut value = 0_u128;
    let mut after_point = false;
    let mut digits = 0;
    let mut exact = true;
    for byte in mantissa {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                if value < 10_u128.pow(36) {
                    value = value * 10 + u128::from(byte - b'0');
                    exponent = exponent.saturating_sub(i32::from(after_point));
                } else {
                    exact &= *byte == b'0';
                    exponent = exponent.saturating_add(i32::from(!after_point));
                }
            }
            b'.' if !after_point => after_point = true,
            _ => return None,
        }
    }
    if digits == 0 {
        return None;
    }
    let exponent = exponent.saturating_add(i32::try_from(power).ok()?);
    let tens = 10_u128.checked_pow(exponent.unsigned_abs());
    let whole = match (tens, exponent < 0) {
        _ if value == 0 => 0,
        (Some(tens), false) => value.checked_mul(tens)?,
        (None, false) => return None,
        (Some(tens), true) => {
            exact &= value.is_multiple_of(tens);
            value / tens + u128::from(value % tens >= tens.div_ceil(2))
        }
        (None, true) => {
            exact = false;
            0
        }
    };
    let whole = i128::try_from(whole).ok()?;
    i64::try_from(if negative { -whole } else { whole }).ok().map(|value| (value, exact))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_keep_every_nanosecond() {
        for (token, ns) in [
            ("1712195495519689.0", 1_712_195_495_519_689_000),
            ("4458676522690.655", 4_458_676_522_690_655),
            ("1669783687464181", 1_669_783_687_464_181_000),
            ("0.0004", 0),
            ("0.0005", 1),
            ("-2.5", -2_500),
            ("63.81299999", 63_813),
            ("1.5e3", 1_500_000),
            ("1E-3", 1),
            ("0e999999999", 0),
            ("1e-999999999", 0),
            ("12345678901234567890123456789012345678901e-35", 123_456_789),
        ] {
            assert_eq!(nanoseconds(token.as_bytes()), Some(ns), "{token}");
        }
    }

    #[test]
    fn what_is_no_number_or_does_not_fit_is_none() {
        let long = "9".repeat(1_000);
        for token in ["", "-", ".", "1.2.3", "inf", "NaN", "1e", "1e999999999999", "9223372036854775807", &long, "0x10"]
        {
            assert_eq!(nanoseconds(token.as_bytes()), None, "{token}");
        }
        assert_eq!(integer(b"7.0"), Some(7));
        assert_eq!(integer(b"7.5"), None);
        assert_eq!(integer(b"-1"), Some(-1));
        assert_eq!(integer(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(integer(b"9223372036854775808"), None);
    }

    proptest! {
        #[test]
        fn both_ways_agree(ns in 0..i64::MAX / 1000, digits in 0_usize..6) {
            let token = format!("{}.{:0digits$}", ns, 0);
            prop_assert_eq!(general(token.as_bytes(), 3), Some((ns * 1000, true)));
            let token = format!("{}.{:03}", ns / 1000, ns % 1000);
            prop_assert_eq!(nanoseconds(token.as_bytes()), Some(ns));
            prop_assert_eq!(general(token.as_bytes(), 3), Some((ns, true)));
        }

        #[test]
        fn no_token_panics(token in "[-+.eE0-9]{0,50}") {
            let _ = nanoseconds(token.as_bytes());
        }
    }
}
