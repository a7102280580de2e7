//! `kvpath`: see [`kvpath::cli`].

fn main() -> std::process::ExitCode {
    kvpath::cli::run()
}
