//! Choices on the command line of what is defined below it.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::report::gathered::SummedBy;
use crate::sql::format::Format;
use kvpath_import::nsys::Calls;

/// Makes `$name` a choice among all values of `$of`, each with its name and meaning.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident($of:ident): $($value:ident),+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name(pub $of);

        impl ValueEnum for $name {
            fn value_variants<'a>() -> &'a [Self] {
                &[$(Self($of::$value)),+]
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                Some(PossibleValue::new(self.0.name()).help(self.0.meaning()))
            }
        }
    };
}

choice! {
    /// What the time on paths is summed by.
    By(SummedBy): Stage, Chunk, Layer, Category, Gate, Name
}

choice! {
    /// How an answer is written.
    Written(Format): Table, Csv, Json, Parquet, Arrow
}

choice! {
    /// Which API calls are kept.
    Kept(Calls): Chosen, All
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value that is added below is missing here until it can be chosen.
    #[test]
    fn every_value_can_be_chosen_by_its_name() {
        for name in ["stage", "chunk", "layer", "category", "gate", "name"] {
            assert_eq!(By::from_str(name, false).map(|by| by.0.name()), Ok(name));
        }
        for name in ["table", "csv", "json", "parquet", "arrow"] {
            assert_eq!(Written::from_str(name, false).map(|written| written.0.name()), Ok(name));
        }
        assert_eq!(Kept::from_str("all", false), Ok(Kept(Calls::All)));
    }
}
