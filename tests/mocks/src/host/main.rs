//! A program that uses CUDA and NVTX as far as `libkvpath_inject.so` can tell. Its arguments are steps, done in order:
//!
//! | step | what |
//! |---|---|
//! | `cuda` | loads `CUDA_INJECTION64_PATH` and calls it, as the driver does in `cuInit` |
//! | `gpu:N` | the next N items of the mock GPU's script |
//! | `now:N` | the same with the time of now |
//! | `busy:MS` | 100 items with the time of now each 100 us, for that long |
//! | `ahead:N` | N kernels of 5 ms launched at once |
//! | `graph` | a graph launch |
//! | `make-graph` | a graph is instantiated |
//! | `context` | the primary context is made |
//! | `cupti` | prints whether CUPTI was initialised, and when |
//! | `nvtx:N` | N rounds of ranges, marks, registered strings, in two domains |
//! | `open` | a range that never ends |
//! | `threads:N` | N threads one after another, a round of NVTX each |
//! | `together:N` | N threads at once, a thousand ranges each |
//! | `fork:N` | a forked process does N rounds of NVTX and leaves by `_exit` |
//! | `other` `other-leaves` `other-forgets` | another CUPTI client comes; leaves; leaves without turning anything off |
//! | `force:KIND` | turns that kind of CUPTI on, as no client should |
//! | `off:KIND` | prints whether that kind of CUPTI is off |
//! | `sleep:MS` `say:TEXT` `wait` | sleeps; prints; waits for a line |
//! | `exec` | runs itself anew, in its place, with the steps that follow |
//! | `exit` `_exit` `abort` | ends so |

mod ffi;
mod nvtx;

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::time::{Duration, Instant};

use ffi::{Cuda, Nvtx};

fn main() {
    let steps: Vec<String> = std::env::args().skip(1).collect();
    let nvtx = Nvtx::load();
    let mut cuda = None;
    for (at, step) in steps.iter().enumerate() {
        let (word, value) = step.split_once(':').unwrap_or((step, ""));
        let number = || value.parse::<u64>().unwrap_or_else(|_| panic!("{step}: no number"));
        let gpu = || cuda.as_ref().unwrap_or_else(|| panic!("{step}: `cuda` must come first"));
        match word {
            "cuda" => cuda = Some(Cuda::init()),
            "gpu" => gpu().run(number(), false),
            "now" => gpu().run(number(), true),
            "busy" => {
                let end = Instant::now() + Duration::from_millis(number());
                while Instant::now() < end {
                    gpu().run(100, true);
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
            "ahead" => gpu().run_ahead(number(), 5_000_000),
            "graph" => gpu().graph(),
            "make-graph" => gpu().make_graph(),
            "context" => gpu().make_context(),
            "cupti" => say(gpu().initialised()),
            "other" => gpu().other_client(),
            "other-leaves" => gpu().other_client_leaves(true),
            "other-forgets" => gpu().other_client_leaves(false),
            "force" => gpu().force(u32::try_from(number()).unwrap_or(0)),
            "off" => say(if gpu().is_on(u32::try_from(number()).unwrap_or(0)) { "on" } else { "off" }),
            "nvtx" => nvtx::rounds(&nvtx, number()),
            "open" => nvtx.push(&nvtx.domain(c"open"), c"never ends"),
            "threads" => (0..number()).for_each(|_| {
                std::thread::scope(|scope| scope.spawn(|| nvtx::rounds(&nvtx, 1)).join().expect("it does not panic"));
            }),
            "together" => std::thread::scope(|scope| {
                for _ in 0..number() {
                    scope.spawn(|| nvtx::many(&nvtx, 1000));
                }
            }),
            "fork" => ffi::in_fork(|| nvtx::rounds(&nvtx, number())),
            "sleep" => std::thread::sleep(Duration::from_millis(number())),
            "say" => say(value),
            "wait" => {
                let _ = std::io::stdin().read_line(&mut String::new());
            }
            "exec" => {
                let own = std::env::current_exe().expect("a program has a path");
                panic!("{}", std::process::Command::new(own).args(&steps[at + 1..]).exec());
            }
            "exit" => std::process::exit(0),
            "_exit" => ffi::exit_now(),
            "abort" => std::process::abort(),
            _ => panic!("unknown step {step}"),
        }
    }
}

fn say(text: &str) {
    println!("{text}");
    let _ = std::io::stdout().flush();
}
