//! `kvpath sql`, `queries` and `schema` as users meet them: the built program, run on segments that the tests write.

mod errors;
mod formats;
mod functions;
mod joins;
mod library;
mod limits;
mod run;
