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

/// The whole token, if it is plain digits.
#[inline]
fn quick(token: &[u8], power: u32) -> Option<i64> {
    plain(token, power).filter(|(_, length)| *length == token.len()).map(|(value, _)| value)
}

/// Digits that `bytes` begin with, and after a point no more of them than `power`; 18 in all, which fit whatever they are.
/// Returns the number times 10^`power`, and how long it is.
#[inline]
pub(super) fn plain(bytes: &[u8], power: u32) -> Option<(i64, usize)> {
    const MOST: usize = 18;
    let (mut value, length) = digits(bytes);
    if length == 0 || length > MOST {
        return None;
    }
    if bytes.get(length) != Some(&b'.') {
        return Some((value.checked_mul(10_i64.pow(power))?, length));
    }
    let fraction = &bytes[length + 1..];
    let mut count = 0;
    while let Some(digit @ b'0'..=b'9') = fraction.get(count) {
        count += 1;
        if count > power as usize || length + count > MOST {
            return None;
        }
        value = value * 10 + i64::from(digit - b'0');
    }
    let left = power.checked_sub(u32::try_from(count).ok()?)?;
    (count > 0).then_some((value.checked_mul(10_i64.pow(left))?, length + 1 + count))
}

/// The number that digits make, and how many they are; what is beyond 18 of them is not followed.
#[inline]
fn digits(bytes: &[u8]) -> (i64, usize) {
    const EIGHT: i64 = 100_000_000;
    let (mut value, mut length) = (0_i64, 0);
    while length <= 8
        && let Some(eight) = bytes[length..].first_chunk::<8>().and_then(|word| eight_digits(u64::from_le_bytes(*word)))
    {
        value = value * EIGHT + eight;
        length += 8;
    }
    while length <= 18
        && let Some(digit @ b'0'..=b'9') = bytes.get(length)
    {
        value = value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
        length += 1;
    }
    (value, length)
}

/// Eight digits at once, the first lowest; none where any of the bytes is none. Pairs, fours and the whole are made of their
/// halves by one multiplication each (D. Lemire, "Quickly parsing eight digits", 2018).
#[inline]
fn eight_digits(word: u64) -> Option<i64> {
    const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);
    const HIGH: u64 = u64::from_le_bytes([0xf0; 8]);
    const SIX: u64 = u64::from_le_bytes([6; 8]);
    // A byte is a digit where its high half is 3, and stays 3 when six are added.
    if word & HIGH != ZEROS || word.wrapping_add(SIX) & HIGH != ZEROS {
        return None;
    }
    let digits = word & !HIGH;
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some(((fours * 10_000 + (fours >> 32)) & 0xffff_ffff).cast_signed())
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
        fn eight_digits_are_read_at_once(bytes in prop::array::uniform8(b'*'..b'@')) {
            let text = std::str::from_utf8(&bytes).unwrap();
            let expected = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().unwrap());
            prop_assert_eq!(eight_digits(u64::from_le_bytes(bytes)), expected);
            let number: u32 = text.bytes().fold(0, |sum, byte| sum * 10 + u32::from(byte % 10));
            let digits = format!("{number:08}");
            let word = u64::from_le_bytes(digits.as_bytes().try_into().unwrap());
            prop_assert_eq!(eight_digits(word), Some(i64::from(number)));
        }

        #[test]
        fn plain_digits_read_as_any_number_does(token in "[0-9]{0,20}(\\.[0-9]{0,5})?", power in 0_u32..4) {
            if let Some((value, length)) = plain(token.as_bytes(), power) {
                prop_assert_eq!(general(&token.as_bytes()[..length], power), Some((value, true)));
                prop_assert!(!token.as_bytes().get(length).is_some_and(u8::is_ascii_digit));
            }
        }

        #[test]
        fn no_token_panics(token in "[-+.eE0-9]{0,50}") {
            let _ = nanoseconds(token.as_bytes());
        }
    }
}
