//! The thread that probes and answers, and what it brings into a recording.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use kvpath_schema::segment::SegmentError;
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::clock::{ClockProbe, ClockProbes};

use super::packet::PACKET_BYTES;
use super::prober::{Arrival, Dropped, Prober};
use super::settings::Clocking;
use crate::capture::error::AttachError;
use crate::capture::{Context, RecordSource};
use crate::losses::{Cause, Losses};
use crate::segments::Facts;
use crate::system::{Clock, now_ns};

/// Between two probes of a peer, ns: 20 a second.
const PROBE_EVERY_NS: i64 = 50_000_000;
/// Between two attempts to find a peer's address, ns.
const RESOLVE_EVERY_NS: i64 = 10_000_000_000;
/// How long the thread may not look whether it is to stop.
const LONGEST_WAIT: Duration = Duration::from_millis(50);
/// Rows that wait to be written: those of 10 s with 100 peers.
const MOST_ROWS: usize = 20_000;

/// What happened, beside rows.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    came_back: u64,
    answered: u64,
    unwritten: u64,
    dropped: BTreeMap<Dropped, u64>,
    /// By what failed: how often, and what was said the first time.
    errors: BTreeMap<String, (u64, String)>,
}

/// The source.
#[derive(Debug)]
pub struct ClockSource {
    rows: Receiver<ClockProbe>,
    tally: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Kinds of errors and of dropped packets that were said.
    said: usize,
}

impl ClockSource {
    /// Begins to probe and to answer as the host `name`.
    ///
    /// # Errors
    /// The address cannot be listened on, or there is no randomness.
    pub fn start(settings: &Clocking, key: Vec<u8>, name: &str) -> io::Result<Self> {
        let socket = UdpSocket::bind(settings.listen)?;
        let (sender, rows) = sync_channel(MOST_ROWS);
        let (tally, stop) = (Arc::new(Mutex::new(Tally::default())), Arc::new(AtomicBool::new(false)));
        let end = ProberThread {
            prober: Prober::new(key, name, random()?),
            peers: settings
                .peers
                .iter()
                .map(|name| Peer { name: name.clone(), address: None, resolve_ns: i64::MIN })
                .collect(),
            is_v4: settings.listen.is_ipv4(),
            socket,
            rows: sender,
            tally: Arc::clone(&tally),
        };
        let stopping = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("clock".to_owned()).spawn(move || end.run(&stopping))?;
        Ok(Self { rows, tally, stop, thread: Some(thread), said: 0 })
    }
}

impl RecordSource for ClockSource {
    fn name(&self) -> &'static str {
        "clock"
    }

    fn finish(&mut self, context: &mut Context) -> Result<(), AttachError> {
        lock(&self.tally).say(&mut context.facts);
        Ok(())
    }

    /// What has not changed since is not said again.
    fn write(&mut self, context: &mut Context) -> Result<(), SegmentError> {
        let mut rows = ClockProbes::default();
        for row in self.rows.try_iter() {
            rows.push(row);
        }
        let unwritten = {
            let mut tally = lock(&self.tally);
            let said = tally.dropped.len() + tally.errors.len();
            if said > self.said {
                self.said = said;
                tally.say(&mut context.facts);
            }
            std::mem::take(&mut tally.unwritten)
        };
        let mut losses = Losses::default();
        losses.add(Cause::of("clock_probes", "they came faster than they were written"), unwritten);
        context.segments.table("clock", &rows, unwritten)?;
        context.segments.drops("clock", context.now_ns, &losses)
    }
}

impl Drop for ClockSource {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It ends within its longest wait; a panic of it was printed when it came.
            let _ = thread.join();
        }
    }
}

impl Tally {
    fn say(&self, facts: &mut Facts) {
        let Self { sent, came_back, answered, .. } = self;
        facts.say("clock", "probes", format!("{sent} sent, {came_back} came back, {answered} of others answered"));
        for (why, count) in &self.dropped {
            facts.say("clock", format!("dropped: {}", why.text()), format!("{count} packets"));
        }
        for (what, (count, error)) in &self.errors {
            facts.say("clock", what.clone(), format!("failed {count} times: {error}"));
        }
    }

    fn fail(&mut self, what: String, error: &io::Error) {
        let (count, _) = self.errors.entry(what).or_insert_with_key(|what| {
            tracing::warn!("clock probes: {what}: {error} (said once, counted in `capture_info`)");
            (0, error.to_string())
        });
        *count += 1;
    }
}

/// Nothing is done under the lock that could panic half way.
fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

fn random() -> io::Result<u64> {
    use std::io::Read as _;
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

struct Peer {
    name: String,
    address: Option<SocketAddr>,
    /// When its address is to be looked for next, if it has none.
    resolve_ns: i64,
}

/// What the thread owns.
struct ProberThread {
    prober: Prober,
    peers: Vec<Peer>,
    is_v4: bool,
    socket: UdpSocket,
    rows: SyncSender<ClockProbe>,
    tally: Arc<Mutex<Tally>>,
}

impl ProberThread {
    fn run(mut self, stop: &AtomicBool) {
        // Longer than any packet of ours, so that a longer one is seen to be none.
        let mut buffer = [0; 2 * PACKET_BYTES];
        let mut next = now_ns(Clock::Monotonic);
        while !stop.load(Ordering::Relaxed) {
            let now = now_ns(Clock::Monotonic);
            if now >= next {
                next = (next + PROBE_EVERY_NS).max(now);
                self.probe_all();
            }
            let wait = u64::try_from(next - now_ns(Clock::Monotonic)).unwrap_or(0);
            // No wait at all would be one without end.
            let wait = Duration::from_nanos(wait).clamp(Duration::from_micros(100), LONGEST_WAIT);
            let received = self.socket.set_read_timeout(Some(wait)).and_then(|()| self.socket.recv_from(&mut buffer));
            let now = now_ns(Clock::Monotonic);
            match received {
                Ok((length, from)) => self.arrived(&buffer[..length], from, now),
                Err(error) if is_nothing(&error) => {}
                Err(error) => {
                    lock(&self.tally).fail("receiving".to_owned(), &error);
                    std::thread::sleep(LONGEST_WAIT);
                }
            }
        }
    }

    fn probe_all(&mut self) {
        let Self { prober, peers, is_v4, socket, tally, .. } = self;
        for peer in peers {
            let now = now_ns(Clock::Monotonic);
            if peer.address.is_none() && now >= peer.resolve_ns {
                peer.resolve_ns = now + RESOLVE_EVERY_NS;
                match resolve(&peer.name, *is_v4) {
                    Ok(address) => peer.address = Some(address),
                    Err(error) => lock(tally).fail(format!("address of {}", peer.name), &error),
                }
            }
            let Some(address) = peer.address else { continue };
            let probe = prober.probe(now_ns(Clock::Monotonic));
            match socket.send_to(&probe, address) {
                Ok(_) => lock(tally).sent += 1,
                Err(error) => {
                    lock(tally).fail(format!("sending to {}", peer.name), &error);
                    // It may have moved.
                    peer.address = None;
                }
            }
        }
    }

    fn arrived(&mut self, bytes: &[u8], from: SocketAddr, now: i64) {
        match self.prober.arrived(bytes, now) {
            Ok(Arrival::Answer(answer)) => {
                let answer = self.prober.answer(answer, now_ns(Clock::Monotonic));
                let sent = self.socket.send_to(&answer, from);
                let mut tally = lock(&self.tally);
                match sent {
                    Ok(_) => tally.answered += 1,
                    Err(error) => tally.fail("answering".to_owned(), &error),
                }
            }
            Ok(Arrival::Row(row)) => {
                let mut tally = lock(&self.tally);
                tally.came_back += 1;
                if let Err(TrySendError::Full(_)) = self.rows.try_send(row) {
                    tally.unwritten += 1;
                }
            }
            Err(why) => *lock(&self.tally).dropped.entry(why).or_default() += 1,
        }
    }
}

/// A time-out, or a signal.
fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

fn resolve(peer: &str, is_v4: bool) -> io::Result<SocketAddr> {
    let mut addresses = peer.to_socket_addrs()?;
    addresses
        .find(|address| address.is_ipv4() == is_v4)
        .ok_or_else(|| io::Error::other("it has no address of the kind that is listened on"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use kvpath_schema::segment::{RunWriter, read_into};
    use kvpath_schema::tables::capture::CaptureInfos;

    use super::super::packet::Foreign::{BadSignature, NoPacket};
    use super::*;
    use crate::segments::Segments;

    const KEY: &[u8] = b"0123456789abcdef";

    fn free() -> SocketAddr {
        UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    fn start(listen: SocketAddr, peer: SocketAddr, key: &[u8], name: &str) -> ClockSource {
        let settings = Clocking { listen, peers: vec![peer.to_string()], key: "unused".into() };
        ClockSource::start(&settings, key.to_vec(), name).unwrap()
    }

    /// Waits until that is so.
    fn until(sources: &[&ClockSource], holds: impl Fn(&Tally) -> bool) {
        let began = Instant::now();
        while !sources.iter().all(|source| holds(&lock(&source.tally))) {
            assert!(began.elapsed() < Duration::from_secs(60), "{sources:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The rows of a node, and what it says of its probes.
    fn written(mut source: ClockSource, folder: &Path, name: &str) -> (ClockProbes, Vec<String>) {
        let mut context = Context::new(1, Segments::new(RunWriter::new(folder, name, "test", None)));
        source.finish(&mut context).unwrap();
        source.write(&mut context).unwrap();
        drop(source);
        context.write().unwrap();
        let (mut probes, mut infos) = (ClockProbes::default(), CaptureInfos::default());
        for (source, table) in [("clock", "clock_probes"), ("capture", "capture_info")] {
            for file in std::fs::read_dir(folder.join(format!("node={name}/source={source}"))).into_iter().flatten() {
                let path = file.unwrap().path();
                if table == "clock_probes" { read_into(&path, &mut probes) } else { read_into(&path, &mut infos) }
                    .unwrap();
            }
        }
        let said = (0..infos.len()).map(|row| format!("{}: {}", infos.key[row], infos.value[row])).collect();
        (probes, said)
    }

    #[test]
    fn two_agents_record_each_others_probes() {
        let (at_a, at_b) = (free(), free());
        let (a, b) = (start(at_a, at_b, KEY, "node-a"), start(at_b, at_a, KEY, "node-b"));
        until(&[&a, &b], |tally| tally.came_back >= 3 && tally.answered >= 3);
        let folder = tempfile::tempdir().unwrap();
        for (source, name, peer) in [(a, "node-a", "node-b"), (b, "node-b", "node-a")] {
            let (rows, said) = written(source, folder.path(), name);
            assert!(rows.len() >= 3 && rows.peer.iter().all(|name| &**name == peer));
            for row in 0..rows.len() {
                // One clock, so the order shows.
                let times =
                    [rows.sent_ns[row], rows.peer_received_ns[row], rows.peer_sent_ns[row], rows.received_ns[row]];
                assert!(times.is_sorted(), "{times:?}");
            }
            assert!(said.iter().any(|line| line.starts_with("probes: ") && line.contains("came back")), "{said:?}");
        }
    }

    #[test]
    fn another_key_replays_and_garbage_are_dropped_and_counted() {
        let (at_a, at_b) = (free(), free());
        let (a, b) = (start(at_a, at_b, KEY, "node-a"), start(at_b, at_a, b"fedcba9876543210", "node-b"));
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        let probe = Prober::new(KEY.to_vec(), "node-c", 3).probe(1);
        for bytes in [&probe[..], &probe, &probe[..9], b"", &[7; 600]] {
            stranger.send_to(bytes, at_a).unwrap();
        }
        until(&[&a], |tally| {
            let count = |why| tally.dropped.get(&why).copied().unwrap_or(0);
            count(Dropped::Foreign(BadSignature)) >= 2
                && count(Dropped::Foreign(NoPacket)) == 3
                && count(Dropped::OldProbe) == 1
        });
        until(&[&b], |tally| !tally.dropped.is_empty());
        let folder = tempfile::tempdir().unwrap();
        let (rows, said) = written(a, folder.path(), "node-a");
        assert!(rows.is_empty());
        assert!(said.iter().any(|line| line.starts_with("dropped: another key, or altered: ")), "{said:?}");
        assert!(said.iter().any(|line| line == "dropped: no clock packet: 3 packets"), "{said:?}");
    }

    #[test]
    fn a_peer_that_cannot_be_found_is_said_and_hinders_nothing() {
        let (at_a, at_b) = (free(), free());
        let settings = Clocking {
            listen: at_a,
            peers: vec!["no.such.host.invalid:7433".into(), at_b.to_string()],
            key: "unused".into(),
        };
        let a = ClockSource::start(&settings, KEY.to_vec(), "node-a").unwrap();
        let b = start(at_b, at_a, KEY, "node-b");
        until(&[&a], |tally| tally.came_back >= 2 && tally.errors.len() == 1);
        drop(b);
        let error = ClockSource::start(&settings, KEY.to_vec(), "node-a").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
