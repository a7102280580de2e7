//! Counts what lies in a ring file, for `tests/gpu/capture.sh`: a word and a number a line.
//!
//! usage: ring-dump FILE

use std::path::Path;
use std::process::ExitCode;

use kvpath_ring::file;
use kvpath_schema::wire::ring::records::{Kernel, RingRecord as _};
use kvpath_schema::wire::ring::{Kind, State, header};

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: ring-dump FILE");
        return ExitCode::from(2);
    };
    let mut reader = match file::open(Path::new(&path)) {
        Ok(reader) => reader,
        Err(error) => {
            eprintln!("ring-dump: {}: {error}", Path::new(&path).display());
            return ExitCode::from(2);
        }
    };
    let mut counts = [0u64; 256];
    let mut off_clock = 0u64;
    // A day behind the making of the file is another clock.
    let made = reader.word(header::CREATED_NS);
    let on_clock = made..made.saturating_add(86_400_000_000_000);
    let drained = reader.drain(0, |record| {
        counts[usize::from(record.kind)] += 1;
        if record.kind == Kind::Kernel as u8 {
            let kernel = Kernel::read(record.words);
            off_clock += u64::from(kernel.is_none_or(|kernel| !on_clock.contains(&kernel.start_ns)));
        }
    });
    let damages = match drained.and_then(|drained| reader.look().map(|()| drained.damages)) {
        Ok(damages) => damages,
        Err(error) => {
            eprintln!("ring-dump: {error}");
            return ExitCode::from(2);
        }
    };
    let lost: u64 = reader.losses().iter().map(|loss| loss.2).sum();
    let state = reader.state();
    println!("state {}", if state == State::Running { "recording" } else { state.text() });
    println!("error {}", reader.word(header::CUPTI_ERROR));
    println!("version {}", reader.word(header::CUPTI_VERSION));
    println!("lost {}", lost + damages);
    println!("off_clock {off_clock}");
    for kind in [Kind::Kernel, Kind::Memcpy, Kind::Memset, Kind::Sync, Kind::Event, Kind::Overhead] {
        println!("{} {}", kind.table(), counts[kind as usize]);
    }
    println!("graph_launches {}", counts[Kind::Graph as usize]);
    println!("calls {}", counts[Kind::Call as usize]);
    for (loss, kind, count) in reader.losses() {
        println!("loss {count} {} ({})", loss.text(), kind.table());
    }
    ExitCode::SUCCESS
}
