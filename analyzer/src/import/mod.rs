//! Runs made from other tools' files.
