//! The process that runs a library of NIXL to see where it keeps what is recorded. Agents of this process move memory to one another,
//! and what was put in is looked for: transfers differ in operation, peer, notification, number and sizes of descriptors, and in
//! whether telemetry is on. Exactly one place must be left of each value.

mod capi;
mod ffi;
mod handle;
mod memory;
mod places;
mod strided;

use std::time::{Duration, Instant};

use capi::{Agent, Capi, READ, WRITE};
use ffi::{Library, Region};
use handle::{Asked, Handle, List};
use memory::Piece;

use crate::capture::nixl::builds::LayoutEntry;

/// Exit code where nothing was found out; the reason is the last line on stderr.
pub const FAILED: i32 = 3;
/// Memory of an agent.
const REGION: usize = 1 << 20;
const PEERS: [&str; 2] = ["decode-7", "a-peer-whose-name-is-not-kept-in-place"];
const NOTIFS: [Option<&[u8]>; 6] = [
    Some(b"cmpl-1:1"),
    None,
    Some(b"a notification that is longer than fifteen bytes:2"),
    Some(b"cmpl-20:16"),
    None,
    Some(&[b'x'; 300]),
];
/// How long a transfer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Measures the build whose C interface is that file, prints its layout as JSON, and ends the process.
pub fn run(capi: &str) -> ! {
    let measured = Library::open(capi).and_then(|library| measure(&Capi { library }));
    let printed = measured.and_then(|layout| {
        let json = serde_json::to_string(&layout).map_err(|error| error.to_string())?;
        println!("{json}");
        Ok(())
    });
    match printed {
        Ok(()) => ffi::leave(0),
        Err(why) => {
            eprintln!("{why}");
            ffi::leave(FAILED)
        }
    }
}

fn measure(capi: &Capi) -> Result<LayoutEntry, String> {
    let (basic, blob) = (List::measure(capi, "xfer")?, List::measure(capi, "reg")?);
    if (basic.memory, basic.begin) != (blob.memory, blob.begin) {
        return Err("lists of two kinds differ".to_owned());
    }
    let mut handle = Handle::new(basic);
    for has_telemetry in [false, true] {
        transfers(capi, &mut handle, has_telemetry)?;
    }
    let layout = handle.found(basic.element, blob.element)?;
    let strided_bytes = strided::measure(capi, &layout)?;
    Ok(LayoutEntry { strided_bytes, ..layout })
}

fn transfers(capi: &Capi, handle: &mut Handle, has_telemetry: bool) -> Result<(), String> {
    let mut pick = Pick(0x9e37_79b9_7f4a_7c15 + u64::from(has_telemetry));
    let agent = Agent::new(capi, &format!("prefill-{}", u8::from(has_telemetry)), has_telemetry)?;
    let own = agent.region(REGION)?;
    for name in PEERS {
        let peer = Agent::new(capi, &format!("{name}-{}", u8::from(has_telemetry)), has_telemetry)?;
        let far = peer.region(REGION)?;
        agent.meet(&peer)?;
        for (turn, notif) in NOTIFS.into_iter().enumerate() {
            for op in [READ, WRITE] {
                let (local, remote) = pieces(&mut pick, own, far);
                fill(&mut pick, &[own, far]);
                let asked = Asked { op, sides: [&local, &remote], peer: &peer.name, notif };
                let request = request(&agent, asked, turn % 2 == 0)?;
                handle.see(request, asked)?;
                let source = contents(if op == READ { &remote } else { &local });
                finish(&agent, request, |status| {
                    handle.see(request, asked)?;
                    handle.see_status(request, status)
                })?;
                if source.is_none() || contents(&local) != source || contents(&remote) != source {
                    return Err(format!("operation {op} has not moved its bytes"));
                }
                agent.release(request)?;
            }
        }
    }
    Ok(())
}

fn request(agent: &Agent<'_>, asked: Asked<'_>, is_made: bool) -> Result<u64, String> {
    if !is_made {
        return agent.create(asked.op, asked.sides, asked.peer, asked.notif);
    }
    let sides = [agent.prepare("", asked.sides[0])?, agent.prepare(asked.peer, asked.sides[1])?];
    agent.make(asked.op, sides, u32::try_from(asked.sides[0].len()).unwrap_or(0), asked.notif)
}

/// Posts, and waits for the end; `see` looks at each status that is given.
fn finish(agent: &Agent<'_>, request: u64, mut see: impl FnMut(i32) -> Result<(), String>) -> Result<(), String> {
    let since = Instant::now();
    let mut status = agent.post(request)?;
    see(status)?;
    while status == 1 {
        if since.elapsed() > PATIENCE {
            return Err("a transfer does not end".to_owned());
        }
        std::thread::sleep(Duration::from_micros(200));
        status = agent.status(request)?;
        see(status)?;
    }
    Ok(())
}

/// Descriptors of both sides, with gaps, so that NIXL merges none.
fn pieces(pick: &mut Pick, own: Region, far: Region) -> (Vec<Piece>, Vec<Piece>) {
    let (mut local, mut remote) = (Vec::new(), Vec::new());
    let (mut here, mut there) = (pick.among(64, 512), pick.among(4096, 8192));
    for _ in 0..pick.among(3, 12) {
        let size = pick.among(1000, 9000);
        local.push([own.address + here, size, 0]);
        remote.push([far.address + there, size, 0]);
        here += size + pick.among(64, 512);
        there += size + pick.among(64, 512);
    }
    (local, remote)
}

fn fill(pick: &mut Pick, regions: &[Region]) {
    for region in regions {
        let bytes: Vec<u8> = (0..region.size / 8).flat_map(|_| pick.next().to_le_bytes()).collect();
        ffi::write(region, &bytes);
    }
}

fn contents(pieces: &[Piece]) -> Option<Vec<Vec<u8>>> {
    pieces.iter().map(|[address, size, _]| ffi::read(*address, usize::try_from(*size).ok()?)).collect()
}

/// Numbers that look random and are the same each time.
struct Pick(u64);

impl Pick {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From `low` on, below `high`.
    fn among(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }
}
