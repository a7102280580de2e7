//! Perf records to notices. Pure.

use super::Notice;
use crate::bytes::{u16_at, u32_at, u64_at};

const COMM: u32 = 3;
const LOST: u32 = 2;
const EXIT: u32 = 4;
const MMAP2: u32 = 10;
/// `PERF_RECORD_MISC_COMM_EXEC`.
const MISC_EXEC: u16 = 1 << 13;
/// `sample_id`: pid, tid (u32) and time (u64).
const SAMPLE_ID: usize = 16;

/// Decodes whole records, one after another; what is cut or unknown is skipped.
pub fn notices(mut data: &[u8], mut tell: impl FnMut(Notice)) {
    while data.len() >= 8 {
        let kind = u32_at(data, 0).unwrap_or(0);
        let (misc, size) = (u16_at(data, 4).unwrap_or(0), usize::from(u16_at(data, 6).unwrap_or(0)));
        if size < 8 || size > data.len() {
            // Nothing after this can be trusted.
            tell(Notice::Lost);
            return;
        }
        let (record, rest) = data.split_at(size);
        data = rest;
        if let Some(notice) = notice(kind, misc, &record[8..]) {
            tell(notice);
        }
    }
}

fn notice(kind: u32, misc: u16, body: &[u8]) -> Option<Notice> {
    let pid = i32::try_from(u32_at(body, 0)?).ok()?;
    let second = i32::try_from(u32_at(body, 4)?).ok()?;
    match kind {
        LOST => Some(Notice::Lost),
        COMM if misc & MISC_EXEC != 0 => Some(Notice::Exec { pid }),
        COMM => Some(Notice::Renamed { pid, tid: second }),
        // pid, ppid, tid, ptid, time
        EXIT => {
            let tid = i32::try_from(u32_at(body, 8)?).ok()?;
            let time_ns = i64::try_from(u64_at(body, 16)?).ok()?;
            (pid == tid).then_some(Notice::Exit { pid, time_ns })
        }
        // pid, tid, addr, len, pgoff, maj, min, ino, ino_generation, prot, flags, filename
        MMAP2 => {
            let (start, len) = (u64_at(body, 8)?, u64_at(body, 16)?);
            let name = body.get(64..body.len().checked_sub(SAMPLE_ID)?)?;
            let name = name.split(|byte| *byte == 0).next()?;
            let path = String::from_utf8_lossy(name).into_owned();
            let mapping = super::maps::Mapping { start, end: start.checked_add(len)?, path };
            Some(Notice::Mapped { pid, mapping })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover::maps::Mapping;
    use proptest::prelude::*;

    fn record(kind: u32, misc: u16, body: &[u8]) -> Vec<u8> {
        let mut out = kind.to_ne_bytes().to_vec();
        out.extend(misc.to_ne_bytes());
        out.extend(u16::try_from(body.len() + 8).unwrap().to_ne_bytes());
        out.extend(body);
        out
    }

    fn words(values: &[u32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_ne_bytes()).collect()
    }

    fn read(data: &[u8]) -> Vec<Notice> {
        let mut all = Vec::new();
        notices(data, |notice| all.push(notice));
        all
    }

    #[test]
    fn mappings_execs_names_and_exits_are_told() {
        let mut mmap = words(&[7, 8]);
        for value in [0x1000u64, 0x2000, 0] {
            mmap.extend(value.to_ne_bytes());
        }
        mmap.extend([0; 32]);
        mmap.extend(b"/lib/libnixl.so\0");
        mmap.extend([0; SAMPLE_ID]);
        let mut exit = words(&[7, 1, 7, 1]);
        exit.extend(99u64.to_ne_bytes());
        exit.extend([0; SAMPLE_ID]);
        let mut thread_exit = words(&[7, 1, 8, 1]);
        thread_exit.extend([0; 24]);
        let data = [
            record(MMAP2, 0, &mmap),
            record(COMM, MISC_EXEC, &words(&[7, 7, 0, 0, 0, 0])),
            record(COMM, 0, &words(&[7, 9, 0, 0, 0, 0])),
            record(EXIT, 0, &thread_exit),
            record(EXIT, 0, &exit),
            record(77, 0, &[0; 16]),
        ]
        .concat();
        let mapping = Mapping { start: 0x1000, end: 0x3000, path: "/lib/libnixl.so".into() };
        assert_eq!(
            read(&data),
            [
                Notice::Mapped { pid: 7, mapping },
                Notice::Exec { pid: 7 },
                Notice::Renamed { pid: 7, tid: 9 },
                Notice::Exit { pid: 7, time_ns: 99 },
            ]
        );
    }

    #[test]
    fn a_record_that_lies_about_its_size_is_a_loss() {
        assert_eq!(read(&record(COMM, 0, &words(&[1, 1]))[..10]), [Notice::Lost]);
        assert_eq!(read(&[0; 16]), [Notice::Lost]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(data in proptest::collection::vec(any::<u8>(), 0..400), kind in 0u32..12) {
            read(&data);
            read(&record(kind, 0, &data));
        }
    }
}
