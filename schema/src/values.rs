//! Columns that hold one of a few values: an enum whose spelling and meaning are written once.

/// One of the values of such a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spelling {
    /// As it stands in the table.
    pub text: &'static str,
    /// What it says.
    pub doc: &'static str,
}

/// Defines the values of a column: an enum, its spellings and a [`crate::cell::Cell`] that stores them as a dictionary.
#[macro_export]
macro_rules! define_values {
    (
        $(#[$meta:meta])*
        $name:ident $(($absent:ident where absent))? { $( $(#[doc = $doc:literal])+ $variant:ident = $text:literal, )+ }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $( $(#[doc = $doc])+ $variant, )+ }

        impl $name {
            /// All, in the order of the documentation.
            pub const ALL: &'static [Self] = &[ $( Self::$variant ),+ ];

            /// How each is spelled, and what it says.
            pub const SPELLINGS: &'static [$crate::values::Spelling] = &[ $(
                $crate::values::Spelling { text: $text, doc: concat!($($doc, "\n"),+) }
            ),+ ];

            /// What a segment from before the column says by not having it.
            pub const ABSENT: Option<&'static str> = {
                #[allow(unused_variables, reason = "most columns have none")]
                let absent: Option<&'static str> = None;
                $( let absent = Some(Self::$absent.text()); )?
                absent
            };

            /// As it stands in tables.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $( Self::$variant => $text, )+ }
            }

            /// The one that is spelled so.
            #[must_use]
            pub fn from_text(text: &str) -> Option<Self> {
                match text { $( $text => Some(Self::$variant), )+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.text())
            }
        }

        /// Of raw tables, which hold texts: another recorder may have written others.
        impl PartialEq<$name> for str {
            fn eq(&self, other: &$name) -> bool {
                self == other.text()
            }
        }

        impl $crate::cell::Cell for $name {
            const NULLABLE: bool = false;
            const SPELLINGS: &'static [$crate::values::Spelling] = Self::SPELLINGS;
            fn data_type() -> arrow::datatypes::DataType {
                <$crate::cell::Name as $crate::cell::Cell>::data_type()
            }
            fn to_array<'a>(values: impl $crate::cell::Values<'a, Self>) -> arrow::array::ArrayRef {
                $crate::cell::spelled(Self::SPELLINGS, values.map(|value| Some(*value as usize)))
            }
            fn read(array: &dyn arrow::array::Array, into: &mut Vec<Self>) -> Option<()> {
                $crate::cell::read_spelled(array, |text| {
                    into.push(Self::from_text(text?)?);
                    Some(())
                })
            }
        }

        impl $crate::cell::Cell for Option<$name> {
            const NULLABLE: bool = true;
            const SPELLINGS: &'static [$crate::values::Spelling] = $name::SPELLINGS;
            fn data_type() -> arrow::datatypes::DataType {
                <$crate::cell::Name as $crate::cell::Cell>::data_type()
            }
            fn to_array<'a>(values: impl $crate::cell::Values<'a, Self>) -> arrow::array::ArrayRef {
                $crate::cell::spelled($name::SPELLINGS, values.map(|value| value.map(|value| value as usize)))
            }
            fn read(array: &dyn arrow::array::Array, into: &mut Vec<Self>) -> Option<()> {
                $crate::cell::read_spelled(array, |text| {
                    into.push(match text {
                        Some(text) => Some($name::from_text(text)?),
                        None => None,
                    });
                    Some(())
                })
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array as _, AsArray as _};

    use crate::cell::{Cell, Name};

    crate::define_values! {
        /// A colour.
        Colour {
            /// Of blood.
            Red = "red",
            /// Of the sea,
            /// by day.
            Blue = "blue",
        }
    }

    #[test]
    fn values_survive_arrow_and_are_spelled_as_defined() {
        let values = [Some(Colour::Blue), None, Some(Colour::Red), Some(Colour::Blue)];
        let array = Option::<Colour>::to_array(values.iter());
        assert_eq!(array.data_type(), &Name::data_type());
        let texts: Vec<Option<Name>> = {
            let mut texts = Vec::new();
            Option::<Name>::read(&array, &mut texts).unwrap();
            texts
        };
        assert_eq!(
            texts.iter().map(Option::as_deref).collect::<Vec<_>>(),
            [Some("blue"), None, Some("red"), Some("blue")]
        );
        let mut back: Vec<Option<Colour>> = Vec::new();
        Cell::read(&array, &mut back).unwrap();
        assert_eq!(back, values);
        assert_eq!(array.as_any_dictionary().values().len(), 2);
    }

    #[test]
    fn what_is_spelled_otherwise_or_forbidden_is_refused() {
        let foreign = Name::to_array([Name::from("green")].iter());
        assert!(Colour::read(&foreign, &mut Vec::new()).is_none());
        assert!(Option::<Colour>::read(&foreign, &mut Vec::new()).is_none());
        let null = Option::<Colour>::to_array([None].iter());
        assert!(Colour::read(&null, &mut Vec::new()).is_none());
    }

    #[test]
    fn texts_and_values_belong_together() {
        for (value, spelling) in Colour::ALL.iter().zip(Colour::SPELLINGS) {
            assert_eq!(Colour::from_text(spelling.text), Some(*value));
            assert_eq!(format!("{value:>5}").trim(), spelling.text);
        }
        assert_eq!(Colour::from_text("Red"), None);
    }
}
