//! `./x`: sets up, builds, demonstrates, tests.

mod builds;
mod check;
mod demo;
mod deny;
mod dist;
mod docs;
mod lint;
mod overhead;
mod picture;
mod project;
mod sanitize;
mod setup;
mod shell;
mod test;
mod vm;

use std::process::ExitCode;

const HELP: &str = "\
./x COMMAND

  demo    install what is missing, build, record a live KV hand-off, report it and a bundled H200 recording
  test    everything that can be tested here: rules of the tree, format, lints, unit, command-line and live tests; says what was skipped
  setup   only install what is missing: Debian packages, bpf-linker, NIXL wheels
  build   build all binaries (quick profile)
  check   rules of the tree that no compiler holds: imports go downward, links lead somewhere (tests/xtask/src/check)
  lint    format, clippy and documentation, of ebpf/ and bench/ too
  deny    licences, bans and sources of dependencies (deny.toml); installs cargo-deny, which takes minutes; advisories: ./x deny advisories
  docs    write the generated pages anew: docs/tables.md, docs/categories.md, queries/README.md, docs/report.svg
  bench   the benchmarks (docs/benchmarks.md); words after it go to cargo: --bench drain
  overhead  what recording costs each NIXL call, off and on in turn (docs/benchmarks.md); root
  vm      NIXL over RDMA verbs (UCX rc), recorded in a virtual machine with rdma_rxe; needs neither KVM nor a network card
  miri    the ring's tests under Miri; installs a nightly toolchain
  asan    the tests of ring, injected library and mocks with AddressSanitizer
  dist    build the binaries for use, optimised, and pack them with man pages and completions: dist/ in the target folder
  builds  make the table of NIXL builds anew from their wheels, and docs/builds.md; ./x builds mooncake that of Mooncake

The target folder is $CARGO_TARGET_DIR, else ~/.cache/kvpath/target.";

fn main() -> ExitCode {
    let command = std::env::args().nth(1).unwrap_or_default();
    let words: Vec<String> = std::env::args().skip(2).collect();
    let done = match command.as_str() {
        "demo" => demo::demo(),
        "test" => test::all(),
        "deny" => deny::deny(&words),
        "setup" => {
            setup::ready_to_test().print();
            Ok(())
        }
        "build" => setup::ready().build(),
        "check" => check::check(),
        "lint" => {
            let setup = setup::ready();
            lint::lint(&setup).and_then(|()| lint::apart(&setup))
        }
        "docs" => docs::docs(&setup::ready()),
        "bench" => test::bench(&setup::ready(), &words),
        "overhead" => overhead::overhead(&setup::ready()),
        "vm" => vm::vm(&setup::ready()),
        "miri" => sanitize::miri(),
        "asan" => sanitize::asan(&setup::ready()),
        "dist" => dist::dist(&setup::ready()),
        "builds" => builds::run(),
        "help" | "--help" | "-h" => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("x: {error}");
            ExitCode::FAILURE
        }
    }
}
