//! How a Rust type of a column becomes an Arrow array and comes back.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, DictionaryArray, Int32Array, PrimitiveArray, StringArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float64Type, Int32Type, Int64Type, UInt64Type};

use crate::values::Spelling;

/// A shared string, stored as a dictionary: kernel names, operation names, agent names.
pub type Name = Arc<str>;

/// Bytes as they were, for texts that are not UTF-8.
pub type Bytes = Arc<[u8]>;

/// Some values of a column, in an order.
pub trait Values<'a, T: 'a>: ExactSizeIterator<Item = &'a T> + Clone {}

impl<'a, T: 'a, I: ExactSizeIterator<Item = &'a T> + Clone> Values<'a, T> for I {}

/// A type that a column can have.
pub trait Cell: Sized {
    /// Whether the column may hold nulls.
    const NULLABLE: bool;
    /// All that the column can hold, if that is one of a few values ([`crate::define_values`]).
    const SPELLINGS: &'static [Spelling] = &[];
    /// The Arrow type of the column.
    fn data_type() -> DataType;
    /// Values of a column as one array.
    fn to_array<'a>(values: impl Values<'a, Self>) -> ArrayRef
    where
        Self: 'a;
    /// Appends the values of an array of type [`Cell::data_type`]; `None` where it holds another type, or a null that
    /// the column does not allow.
    fn read(array: &dyn Array, into: &mut Vec<Self>) -> Option<()>;
}

macro_rules! primitive_cell {
    ($rust:ty, $arrow:ty) => {
        impl Cell for $rust {
            const NULLABLE: bool = false;
            fn data_type() -> DataType {
                <$arrow>::DATA_TYPE
            }
            fn to_array<'a>(values: impl Values<'a, Self>) -> ArrayRef {
                Arc::new(PrimitiveArray::<$arrow>::from_iter_values(values.copied()))
            }
            fn read(array: &dyn Array, into: &mut Vec<Self>) -> Option<()> {
                let array = array.as_primitive_opt::<$arrow>()?;
                if array.null_count() > 0 {
                    return None;
                }
                into.extend_from_slice(array.values());
                Some(())
            }
        }
        impl Cell for Option<$rust> {
            const NULLABLE: bool = true;
            fn data_type() -> DataType {
                <$arrow>::DATA_TYPE
            }
            fn to_array<'a>(values: impl Values<'a, Self>) -> ArrayRef {
                // In passes without branches, not bit by bit.
                let plain = values.clone().map(|value| value.unwrap_or_default()).collect::<Vec<$rust>>();
                let nulls = values
                    .clone()
                    .any(Option::is_none)
                    .then(|| NullBuffer::new(values.map(Option::is_some).collect::<BooleanBuffer>()));
                Arc::new(PrimitiveArray::<$arrow>::new(plain.into(), nulls))
            }
            fn read(array: &dyn Array, into: &mut Vec<Self>) -> Option<()> {
                into.extend(array.as_primitive_opt::<$arrow>()?.iter());
                Some(())
            }
        }
    };
}
primitive_cell!(i64, Int64Type);
primitive_cell!(i32, Int32Type);
primitive_cell!(u64, UInt64Type);
primitive_cell!(f64, Float64Type);

impl Cell for bool {
    const NULLABLE: bool = false;
    fn data_type() -> DataType {
        DataType::Boolean
    }
    fn to_array<'a>(values: impl Values<'a, Self>) -> ArrayRef {
        Arc::new(values.copied().map(Some).collect::<BooleanArray>())
    }
    fn read(array: &dyn Array, into: &mut Vec<Self>) -> Option<()> {
        for value in array.as_boolean_opt()? {
            into.push(value?);
        }
        Some(())
    }
}

impl Cell for Option<bool> {
    const NULLABLE: bool = true;
    fn data_type() -> DataType {
        DataType::Boolean
    }
    fn to_array<'a>(values: impl Values<'a, Self>) -> ArrayRef {
        Arc::new(values.copied().collect::<BooleanArray>())
    }
    fn read(array: &dyn Array, into: &mut Vec<Self>) -> Option<()> {
        into.extend(array.as_boolean_opt()?);
        Some(())
    }
}

impl Cell for String {
    const NULLABLE: bool = false;
    fn data_type() -> DataType {
        DataType::Utf8
    }
    fn to_array<'a>(values: impl Values<'a, Self>) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(values))
    }
    fn read(array: &dyn Array, into: &mut Vec<Self>) -> Option<()> {
        for value in array.as_string_opt::<i32>()? {
            into.push(value?.to_owned());
        }
        Some(())
    }
}

impl Cell for Option<String> {
    const NULLABLE: bool = true;
    fn data_type() -> DataType {
        DataType::Utf8
    }
    fn to_array<'a>(values: impl Values<'a, Self>) -> ArrayRef {
        Arc::new(values.map(Option::as_deref).collect::<StringArray>())
    }
    fn read(array: &dyn Array, into: &mut Vec<Self>) -> Option<()> {
        into.extend(array.as_string_opt::<i32>()?.iter().map(|v| v.map(str::to_owned)));
        Some(())
    }
}

impl Cell for Option<Bytes> {
    const NULLABLE: bool = true;
    fn data_type() -> DataType {
        DataType::Binary
    }
    fn to_array<'a>(values: impl Values<'a, Self>) -> ArrayRef {
        Arc::new(values.map(Option::as_deref).collect::<BinaryArray>())
    }
    fn read(array: &dyn Array, into: &mut Vec<Self>) -> Option<()> {
        into.extend(array.as_binary_opt::<i32>()?.iter().map(|value| value.map(Bytes::from)));
        Some(())
    }
}

fn dictionary_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn dictionary<'a>(values: impl Iterator<Item = Option<&'a Name>>) -> ArrayRef {
    // By address first: names are shared, and long ones cost more to hash than all else of a row.
    let mut key_at: HashMap<usize, i32, BuildHasherDefault<AddressHasher>> = HashMap::default();
    let mut key_of: HashMap<&str, i32> = HashMap::new();
    let mut distinct: Vec<&str> = Vec::new();
    let keys: Int32Array = values
        .map(|value| {
            value.map(|name| {
                *key_at.entry(name.as_ptr().addr()).or_insert_with(|| {
                    *key_of.entry(name).or_insert_with(|| {
                        distinct.push(name);
                        i32::try_from(distinct.len() - 1).expect("a segment holds fewer than 2^31 rows")
                    })
                })
            })
        })
        .collect();
    Arc::new(DictionaryArray::new(keys, Arc::new(StringArray::from(distinct))))
}

/// For addresses, whose low bits are alike.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }
    fn write_usize(&mut self, address: usize) {
        // The table takes its place from the low bits and its tag from the high ones.
        self.0 = (self.0 ^ address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_right(32);
    }
}

/// A column of values by their positions among `spellings`; used by [`crate::define_values`].
#[doc(hidden)]
pub fn spelled(spellings: &[Spelling], values: impl Iterator<Item = Option<usize>>) -> ArrayRef {
    let keys: Int32Array = values.map(|at| at.map(|at| i32::try_from(at).expect("a column has few values"))).collect();
    let texts = StringArray::from_iter_values(spellings.iter().map(|spelling| spelling.text));
    Arc::new(DictionaryArray::new(keys, Arc::new(texts)))
}

/// Reads such a column text by text; `None` where `push` does not know one. Used by [`crate::define_values`].
#[doc(hidden)]
pub fn read_spelled(array: &dyn Array, mut push: impl FnMut(Option<&str>) -> Option<()>) -> Option<()> {
    read_dictionary(array, |name| push(name.as_deref()))
}

fn read_dictionary(array: &dyn Array, mut push: impl FnMut(Option<Name>) -> Option<()>) -> Option<()> {
    if let Some(plain) = array.as_string_opt::<i32>() {
        for value in plain {
            push(value.map(Name::from))?;
        }
        return Some(());
    }
    let array = array.as_dictionary_opt::<Int32Type>()?;
    let values: Vec<Name> =
        array.values().as_string_opt::<i32>()?.iter().map(|v| Name::from(v.unwrap_or(""))).collect();
    for key in array.keys() {
        match key {
            Some(key) => push(Some(values.get(usize::try_from(key).ok()?)?.clone()))?,
            None => push(None)?,
        }
    }
    Some(())
}

impl Cell for Name {
    const NULLABLE: bool = false;
    fn data_type() -> DataType {
        dictionary_type()
    }
    fn to_array<'a>(values: impl Values<'a, Self>) -> ArrayRef {
        dictionary(values.map(Some))
    }
    fn read(array: &dyn Array, into: &mut Vec<Self>) -> Option<()> {
        read_dictionary(array, |value| {
            into.push(value?);
            Some(())
        })
    }
}

impl Cell for Option<Name> {
    const NULLABLE: bool = true;
    fn data_type() -> DataType {
        dictionary_type()
    }
    fn to_array<'a>(values: impl Values<'a, Self>) -> ArrayRef {
        dictionary(values.map(Option::as_ref))
    }
    fn read(array: &dyn Array, into: &mut Vec<Self>) -> Option<()> {
        read_dictionary(array, |value| {
            into.push(value);
            Some(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Cell + Clone + PartialEq + std::fmt::Debug>(values: &[T]) {
        let array = T::to_array(values.iter());
        assert_eq!(array.data_type(), &T::data_type());
        let mut back = Vec::new();
        T::read(&array, &mut back).expect("reads its own array");
        assert_eq!(back, values);
    }

    #[test]
    fn every_cell_type_survives_arrow() {
        round_trip(&[i64::MIN, 0, i64::MAX]);
        round_trip(&[Some(1i64), None]);
        round_trip(&[1i32, -1]);
        round_trip(&[u64::MAX]);
        round_trip(&[Some(0.5f64), None]);
        round_trip(&[true, false]);
        round_trip(&["a".to_owned(), String::new()]);
        round_trip(&[Some("a".to_owned()), None]);
        round_trip::<Name>(&["k".into(), "l".into(), "k".into()]);
        round_trip::<Option<Name>>(&[Some("k".into()), None, Some("k".into())]);
        round_trip::<Option<Bytes>>(&[Some([0xd9, b'6', 0].as_slice().into()), None, Some([].as_slice().into())]);
        round_trip::<Option<i64>>(&[]);
        // Equal names at different addresses.
        round_trip::<Name>(&["".into(), "k".into(), "".into()]);
    }

    #[test]
    fn a_foreign_type_or_a_forbidden_null_is_refused() {
        assert!(i64::read(&StringArray::from(vec!["x"]), &mut Vec::new()).is_none());
        assert!(i64::read(&PrimitiveArray::<Int64Type>::from(vec![None, Some(1)]), &mut Vec::new()).is_none());
        assert!(Option::<Bytes>::read(&StringArray::from(vec!["x"]), &mut Vec::new()).is_none());
        assert!(Name::read(&StringArray::from(vec![None, Some("x")]), &mut Vec::new()).is_none());
    }
}
