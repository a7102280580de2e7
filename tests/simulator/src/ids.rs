//! Ids of requests: as long as those of real clients, so that what reads them meets the lengths that it meets in the field.

/// The external id of a chat completion whose client sent a UUID.
#[must_use]
pub fn external(number: u32) -> String {
    format!("chatcmpl-51adc0de-0000-4000-8000-{number:012}")
}

/// The same as the engine of prefill or decode extends it, by any eight hexadecimal digits, different for each request.
#[must_use]
pub fn internal(number: u32) -> String {
    format!("{}-{:08x}", external(number), number.wrapping_mul(2_654_435_761) ^ 0x5eed_5eed)
}
