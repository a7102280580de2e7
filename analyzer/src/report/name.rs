//! Names of kernels and calls for people.

use std::borrow::Cow;

use cpp_demangle::{DemangleOptions, Symbol};

/// A mangled name of C++ as it was written, without parameters and return type; any other as it is.
#[must_use]
pub fn demangled(name: &str) -> Cow<'_, str> {
    if !name.starts_with("_Z") {
        return name.into();
    }
    let options = DemangleOptions::new().no_params().no_return_type();
    let written = Symbol::new(name).ok().and_then(|symbol| symbol.demangle_with_options(&options).ok());
    written.map_or(name.into(), Cow::from)
}

/// At most `widest` characters of a text, the middle cut: names differ at their beginning and at their end.
#[must_use]
pub fn fitted(text: &str, widest: usize) -> String {
    let length = text.chars().count();
    if length <= widest {
        return text.to_owned();
    }
    let kept = widest.saturating_sub(1);
    let tail = kept / 3;
    text.chars().take(kept - tail).chain(['…']).chain(text.chars().skip(length - tail)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mangled_names_are_written_out_and_others_stay() {
        let name = "_ZN2at6native29vectorized_elementwise_kernelILi4EEEvi";
        assert_eq!(demangled(name), "at::native::vectorized_elementwise_kernel<4>");
        for name in ["_Zebra", "_ZN", "cudaLaunchKernel", ""] {
            assert_eq!(demangled(name), name);
        }
    }

    #[test]
    fn the_middle_is_cut() {
        assert_eq!(fitted("abcdefghij", 10), "abcdefghij");
        assert_eq!(fitted("abcdefghijk", 10), "abcdef…ijk");
        assert_eq!(fitted(&"é".repeat(80), 48).chars().count(), 48);
    }
}
