//! What records say of the layout that they were read by.

use std::collections::HashMap;

use kvpath_schema::wire::nixl::{DESCRIPTOR_LIMIT, Kind, flaw};

use super::super::decode::{Event, HandleInfo, Range, TracedText};

/// `nixl_mem_t` that there are: DRAM, VRAM, BLK, OBJ and FILE.
const MEMORIES: i32 = 5;
/// Of these, those whose ranges are addresses.
const ADDRESSED: [i32; 2] = [0, 1];

/// A post whose descriptors are coming.
#[derive(Debug, Clone, Copy)]
struct Post {
    bytes: Option<u64>,
    descriptors: u64,
    is_addressed: bool,
    seen: u64,
    sum: u64,
}

/// Posts so far.
#[derive(Debug, Default)]
pub struct Evidence {
    posts: u32,
    open: HashMap<(i64, u64), Post>,
}

impl Evidence {
    /// Whole posts that agree with the layout.
    pub fn posts(&self) -> u32 {
        self.posts
    }

    /// Forgets a process.
    pub fn process_ended(&mut self, process_id: i64) {
        self.open.retain(|(process, _), _| *process != process_id);
    }

    /// Takes an event. Where the layout is believed already, what could not be read is no sign against it.
    ///
    /// # Errors
    /// What in it cannot be with the right layout.
    pub fn take(&mut self, process_id: i64, event: &Event, is_believed: bool) -> Result<(), String> {
        match event {
            Event::Contradicted { of, flaws } => Err(flawed(*of, *flaws)),
            Event::Regions { memory, ranges, .. } => {
                memory_is_known(Some(*memory), is_believed, "registered")?;
                ranges.iter().try_for_each(|range| range_is_sound(range, ADDRESSED.contains(memory)))
            }
            Event::PreparedRow(blocks) => range_is_sound(&blocks.range, false),
            Event::Prepared(list) => memory_is_known(Some(list.memory), is_believed, "prepared"),
            Event::Made { asked, op, about, .. } => {
                handle_is_sound(about, is_believed)?;
                if let (Some(asked), Some(kept)) = (op, about.op)
                    && *asked != kept
                {
                    return Err(format!("operation {asked} is asked for, and the handle has {kept}"));
                }
                match about.descriptors {
                    Some(count) if *asked > 0 && count > *asked => {
                        Err(format!("{asked} descriptors are asked for, and the handle has {count}"))
                    }
                    _ => Ok(()),
                }
            }
            Event::Posted { handle, status, about, .. } => {
                handle_is_sound(about, is_believed)?;
                self.open.remove(&(process_id, *handle));
                if let Some(count) = about.descriptors.filter(|_| *status >= 0) {
                    let is_addressed = [about.local_memory, about.remote_memory]
                        .iter()
                        .all(|memory| memory.is_some_and(|memory| ADDRESSED.contains(&memory)));
                    // Of a longer list only so much is recorded.
                    let bytes = about.bytes.filter(|_| count <= DESCRIPTOR_LIMIT);
                    let descriptors = count.min(DESCRIPTOR_LIMIT);
                    let post = Post { bytes, descriptors, is_addressed, seen: 0, sum: 0 };
                    self.open.insert((process_id, *handle), post);
                }
                Ok(())
            }
            Event::Descriptors { handle, first, local, remote } => {
                self.descriptors((process_id, *handle), *first, (local, remote.as_deref()), is_believed)
            }
            Event::Released { handle, .. } => {
                self.open.remove(&(process_id, *handle));
                Ok(())
            }
            Event::Agent { .. }
            | Event::RegionsEnd { .. }
            | Event::Call { .. }
            | Event::CallEnd { .. }
            | Event::Status { .. }
            | Event::NotifSent { .. }
            | Event::NotifArrived { .. }
            | Event::NotifTaken { .. } => Ok(()),
        }
    }

    fn descriptors(
        &mut self,
        key: (i64, u64),
        first: u32,
        (local, remote): (&[Range], Option<&[Range]>),
        is_believed: bool,
    ) -> Result<(), String> {
        let Some(mut post) = self.open.remove(&key) else { return Ok(()) };
        let Some(remote) = remote else {
            let why = "the remote descriptors cannot be read, or are not as many as the local ones";
            return if is_believed { Ok(()) } else { Err(why.to_owned()) };
        };
        // Those before were lost: nothing can be said of the whole.
        if u64::from(first) != post.seen {
            return Ok(());
        }
        for (near, far) in local.iter().zip(remote) {
            range_is_sound(near, post.is_addressed)?;
            range_is_sound(far, post.is_addressed)?;
            if near.bytes != far.bytes {
                return Err(format!("a descriptor has {} bytes here and {} there", near.bytes, far.bytes));
            }
            post.sum = post.sum.saturating_add(near.bytes);
        }
        post.seen += local.len() as u64;
        if post.seen < post.descriptors {
            self.open.insert(key, post);
            return Ok(());
        }
        match post.bytes {
            Some(bytes) if bytes != post.sum => {
                Err(format!("a handle has {bytes} bytes, and its descriptors have {}", post.sum))
            }
            _ => {
                self.posts = self.posts.saturating_add(1);
                Ok(())
            }
        }
    }
}

fn flawed(of: Kind, flaws: u32) -> String {
    let found = flaw::ALL.iter().filter(|(bit, _)| flaws & bit != 0).map(|(_, what)| *what);
    format!("in {of:?}, not where they should be: {}", found.collect::<Vec<_>>().join(", "))
}

fn memory_is_known(memory: Option<i32>, may_be_unread: bool, what: &str) -> Result<(), String> {
    match memory.filter(|memory| *memory != -1) {
        Some(0..MEMORIES) => Ok(()),
        None if may_be_unread => Ok(()),
        _ => Err(format!("memory of kind {} is {what}", memory.unwrap_or(-1))),
    }
}

fn range_is_sound(range: &Range, is_address: bool) -> Result<(), String> {
    let Range { addr, bytes, .. } = *range;
    let is_sound = addr.checked_add(bytes).is_some() && (!is_address || addr != 0 && bytes != 0 && addr < 1 << 57);
    if is_sound { Ok(()) } else { Err(format!("a range of {bytes} bytes at {addr:#x}")) }
}

fn handle_is_sound(about: &HandleInfo, may_be_unread: bool) -> Result<(), String> {
    match about.op {
        Some(0 | 1) => {}
        None if may_be_unread => {}
        op => return Err(format!("a handle has operation {}", op.unwrap_or(-1))),
    }
    for memory in [about.local_memory, about.remote_memory] {
        memory_is_known(memory, may_be_unread, "in a handle")?;
    }
    if about.descriptors.map_or(!may_be_unread, |count| count == 0) {
        return Err("a handle has no descriptors".to_owned());
    }
    if about.peer.text.as_ref().map_or(!may_be_unread, |_| !is_a_name(&about.peer)) {
        return Err("a handle names no peer".to_owned());
    }
    let lacks_notif = about.has_notif.is_none_or(|has| has && about.notif.text.is_none());
    if lacks_notif && !may_be_unread { Err("a notification cannot be read".to_owned()) } else { Ok(()) }
}

/// A text without control characters; agents are named by programs.
fn is_a_name(text: &TracedText) -> bool {
    text.raw.is_none()
        && text.text.as_deref().is_some_and(|text| !text.is_empty() && !text.chars().any(char::is_control))
}
