//! `./x vm`: the agent records NIXL over RDMA verbs, in a virtual machine whose kernel makes an RDMA device in software;
//! then what was recorded is checked here. tests/vm holds what makes the guest and what runs in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::project;
use crate::setup::{self, Setup};
use crate::shell::{Result, run};

/// The test that compares what was recorded with what the workload wrote down itself.
const COMPARISON: &str = "vm::a_recording_over_rdma_is_what_happened";
/// An emulated processor crashes now and then while Linux patches its own code; a crash says nothing about the agent.
const TRIES: u32 = 3;
/// Longest time of a guest, which needs a tenth of it.
const LIMIT_S: &str = "180";
/// Payload of the largest packet: what fits the MTU that tests/vm/guest.sh gives the network device.
const PACKET_BYTES: u64 = 4096;

/// What is run in the guest, one after the other.
const OPS: [&str; 2] = ["write", "read"];

/// A check's outcome, right or wrong.
type Outcome = std::result::Result<String, String>;

pub(crate) fn vm(setup: &Setup) -> Result<()> {
    if let Some(why) = setup.no_build.as_ref().or(setup.no_nixl.as_ref()) {
        return Err(format!("there is nothing to run in a virtual machine: {why}"));
    }
    setup.build()?;
    check(setup, &ready()?).map(|_| ())
}

/// Installs what a virtual machine needs and makes its guest; gives the folder.
pub(crate) fn ready() -> Result<PathBuf> {
    setup::virtual_machine()?;
    let folder = project::target().join("vm");
    image(&folder)?;
    Ok(folder)
}

/// Runs the guest, and prints what is right and what is wrong. Gives how many checks there were.
pub(crate) fn check(setup: &Setup, folder: &Path) -> Result<u64> {
    let share = folder.join("share");
    guest(folder, &share)?;
    let facts = Facts::read(&share)?;
    println!("guest: Linux {}", facts.text("kernel")?);
    let mut checks = vec![("doctor".to_owned(), doctor(&facts, &share)?)];
    for op in OPS {
        checks.push((format!("{op}: recorded"), recorded(&facts, &share, op)?));
        checks.push((format!("{op}: through the RDMA device"), packets(&facts, &share, op)?));
    }
    checks.push(("comparison with the workload's own account".to_owned(), comparison(setup, &share)?));
    for (what, outcome) in &checks {
        match outcome {
            Ok(how) => println!("ok     {what}: {how}"),
            Err(why) => println!("WRONG  {what}: {why}"),
        }
    }
    let wrong = checks.iter().filter(|(_, outcome)| outcome.is_err()).count();
    if wrong > 0 {
        return Err(format!("{wrong} of {} checks failed; see {}", checks.len(), share.display()));
    }
    Ok(checks.len() as u64)
}

/// Kernel and initramfs; made once for each version of what makes them.
fn image(folder: &Path) -> Result<()> {
    let source = project::root().join("tests/vm");
    let made_by = read(&source.join("image.sh"))? + &read(&source.join("init"))?;
    let stamp = folder.join("made-by");
    if std::fs::read_to_string(&stamp).is_ok_and(|before| before == made_by) {
        return Ok(());
    }
    println!("making the guest from Debian packages, once");
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    run(Command::new(source.join("image.sh")).arg(folder))?;
    std::fs::write(&stamp, made_by).map_err(|error| format!("{}: {error}", stamp.display()))
}

/// Runs the guest until its script has ended.
fn guest(folder: &Path, share: &Path) -> Result<()> {
    for attempt in 1..=TRIES {
        let _ = std::fs::remove_dir_all(share);
        std::fs::create_dir_all(share).map_err(|error| format!("{}: {error}", share.display()))?;
        let script = project::root().join("tests/vm/guest.sh");
        std::fs::copy(&script, share.join("guest.sh")).map_err(|error| format!("{}: {error}", script.display()))?;
        // A guest that ends in a panic ends qemu too, with success: what counts is what its init left.
        let ended = run(&mut machine(folder, share));
        match std::fs::read_to_string(share.join("status")).as_deref().map(str::trim) {
            Ok("0") => return Ok(()),
            Ok(status) => {
                let output = read(&share.join("output"))?;
                return Err(format!("the guest's script failed (exit code {status}):\n{output}"));
            }
            Err(_) => {
                let why = ended.err().unwrap_or_else(|| "it crashed".to_owned());
                println!("try {attempt} of {TRIES}: the guest did not end its script: {why}");
            }
        }
    }
    Err(format!("the guest never ended its script; its console: {}", folder.join("console").display()))
}

/// The virtual machine. One thread emulates both of its processors: with a thread each, the kernel's patching of its own
/// code crashes more.
fn machine(folder: &Path, share: &Path) -> Command {
    let mut qemu = Command::new("timeout");
    qemu.args([LIMIT_S, "qemu-system-x86_64", "-nodefaults", "-no-reboot", "-display", "none"]);
    qemu.args(["-machine", "pc,usb=off", "-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2", "-m", "2048"]);
    qemu.arg("-kernel").arg(folder.join("vmlinuz")).arg("-initrd").arg(folder.join("initrd"));
    qemu.args(["-append", "console=ttyS0 panic=-1 quiet mitigations=off"]);
    qemu.arg("-serial").arg(format!("file:{}", folder.join("console").display()));
    let binaries = project::target().join("ci");
    for (tag, path, options) in
        [("host", share, ""), ("kvpath", &binaries, ",readonly=on"), ("nixl", &project::nixl(), ",readonly=on")]
    {
        let path = path.display();
        qemu.arg("-virtfs");
        qemu.arg(format!("local,path={path},mount_tag={tag},security_model=none,multidevs=remap{options}"));
    }
    qemu
}

/// What the guest's script wrote down: a name and a value a line.
struct Facts(BTreeMap<String, String>);

impl Facts {
    fn read(share: &Path) -> Result<Self> {
        Ok(Self::of(&read(&share.join("facts"))?))
    }

    fn of(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn text(&self, name: &str) -> Result<&str> {
        self.0.get(name).map(String::as_str).ok_or_else(|| format!("the guest did not say its `{name}`"))
    }

    fn number(&self, name: &str) -> Result<u64> {
        let text = self.text(name)?;
        text.parse().map_err(|_| format!("the guest's `{name}` is no number: {text}"))
    }
}

fn doctor(facts: &Facts, share: &Path) -> Result<Outcome> {
    let page = read(&share.join("doctor"))?;
    Ok(if facts.number("doctor")? == 0 { Ok(last_line(&page)) } else { Err(format!("the doctor says\n{page}")) })
}

fn recorded(facts: &Facts, share: &Path, op: &str) -> Result<Outcome> {
    let said = read(&share.join(op).join("said"))?;
    let ended = facts.number(&format!("{op}.record"))?;
    Ok(if ended == 0 { Ok(last_line(&said)) } else { Err(format!("the agent says\n{said}")) })
}

/// Whether the device sent as many packets as the bytes need; none would have passed it by TCP or shared memory.
fn packets(facts: &Facts, share: &Path, op: &str) -> Result<Outcome> {
    let sent = |when: &str| facts.number(&format!("{op}.sent_{when}"));
    let sent = sent("after")?.saturating_sub(sent("before")?);
    let bytes = posted_bytes(&read(&share.join(op).join("truth.tsv"))?)?;
    let least = bytes.div_ceil(PACKET_BYTES);
    let found = format!("{sent} packets for {bytes} bytes, which need {least} at least");
    Ok(if bytes > 0 && sent >= least { Ok(found) } else { Err(found) })
}

/// The bytes of all posts, as the workload wrote them down.
fn posted_bytes(truth: &str) -> Result<u64> {
    let mut lines = truth.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let names = lines.next().unwrap_or_default();
    let column =
        |name: &str| names.iter().position(|found| *found == name).ok_or_else(|| format!("no column `{name}`"));
    let (what, bytes) = (column("what")?, column("bytes")?);
    lines
        .filter(|fields| fields.get(what) == Some(&"post"))
        .map(|fields| {
            fields.get(bytes).and_then(|text| text.parse::<u64>().ok()).ok_or_else(|| format!("no bytes: {fields:?}"))
        })
        .sum()
}

fn comparison(setup: &Setup, share: &Path) -> Result<Outcome> {
    let mut cargo = setup.cargo();
    cargo.args(["test", "--profile", "ci", "--locked", "--quiet", "--workspace", "--test", "live"]);
    cargo.args(["--", "--ignored", "--exact", COMPARISON]).env("KVPATH_VM", share);
    let out = cargo.output().map_err(|error| format!("cargo test: {error}"))?;
    let text = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    // A name that fits no test is a success too.
    Ok(if out.status.success() && text.contains("1 passed") {
        Ok("every transfer, notification, agent and region is as the workload wrote it down".to_owned())
    } else {
        Err(text.into_owned())
    })
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().to_owned()
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_named_and_missing_ones_are_an_error() {
        let facts = Facts::of("kernel 6.12.1-amd64\nsent_after 12\n");
        assert_eq!((facts.text("kernel"), facts.number("sent_after")), (Ok("6.12.1-amd64"), Ok(12)));
        assert!(facts.number("kernel").unwrap_err().contains("no number"));
        assert!(facts.number("sent_before").unwrap_err().contains("did not say"));
    }

    #[test]
    fn posted_bytes_are_those_of_posts_alone() {
        let truth = "pid\twhat\tbytes\n1\tpost\t10\n1\tregister\t99\n2\tpost\t5\n";
        assert_eq!(posted_bytes(truth), Ok(15));
        assert!(posted_bytes("pid\twhat\n").unwrap_err().contains("`bytes`"));
        assert!(posted_bytes("what\tbytes\npost\t\n").unwrap_err().contains("no bytes"));
    }
}
