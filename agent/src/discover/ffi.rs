//! A perf ring a CPU that tells of executable mappings, execs, thread names and exits of all processes.
#![expect(unsafe_code, reason = "perf_event_open(2), and the memory it shares with the kernel")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use aya_obj::generated::{perf_event_attr, perf_event_mmap_page, perf_event_sample_format, perf_sw_ids, perf_type_id};
use memmap2::{MmapOptions, MmapRaw};

/// Data pages of a ring: only execs, exits and executable mappings write into it.
const PAGES: usize = 16;

/// One CPU's ring.
pub struct Ring {
    fd: OwnedFd,
    memory: MmapRaw,
    page: usize,
}

impl Ring {
    /// Opens the ring of a CPU.
    ///
    /// # Errors
    /// Not permitted (needs `CAP_PERFMON`), no such CPU, or no memory.
    pub fn open(cpu: i32) -> io::Result<Self> {
        // SAFETY: a plain struct of integers, for which zeros mean "default".
        let mut attr: perf_event_attr = unsafe { std::mem::zeroed() };
        attr.type_ = perf_type_id::PERF_TYPE_SOFTWARE as u32;
        attr.size = u32::try_from(size_of::<perf_event_attr>()).unwrap_or(0);
        attr.config = perf_sw_ids::PERF_COUNT_SW_DUMMY as u64;
        attr.sample_type =
            perf_event_sample_format::PERF_SAMPLE_TID as u64 | perf_event_sample_format::PERF_SAMPLE_TIME as u64;
        attr.set_mmap(1);
        attr.set_mmap2(1);
        attr.set_comm(1);
        attr.set_comm_exec(1);
        attr.set_task(1);
        attr.set_sample_id_all(1);
        attr.set_use_clockid(1);
        attr.clockid = libc::CLOCK_MONOTONIC;
        attr.set_watermark(1);
        attr.__bindgen_anon_2.wakeup_watermark = 1;
        // SAFETY: `attr` says its own size and outlives the call; the result is a new file or an error.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attr,
                -1 as libc::pid_t,
                cpu,
                -1 as libc::c_int,
                libc::c_ulong::from(aya_obj::generated::PERF_FLAG_FD_CLOEXEC),
            )
        };
        let fd = i32::try_from(fd).unwrap_or(-1);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let page = rustix::param::page_size();
        let memory = MmapOptions::new().len(page * (PAGES + 1)).map_raw(&fd)?;
        Ok(Self { fd, memory, page })
    }

    /// Takes what is in the ring: whole records, one after another, are appended to `into`.
    pub fn drain(&mut self, into: &mut Vec<u8>) {
        let head_page: *mut perf_event_mmap_page = self.memory.as_mut_ptr().cast();
        // SAFETY: the first page of the mapping, which lives as long as `self`; the kernel moves `data_head` and we move
        // `data_tail`, both as atomics.
        let (head, tail_cell) = unsafe {
            let head = AtomicU64::from_ptr(&raw mut (*head_page).data_head).load(Ordering::Acquire);
            (head, AtomicU64::from_ptr(&raw mut (*head_page).data_tail))
        };
        let tail = tail_cell.load(Ordering::Relaxed);
        let size = self.page * PAGES;
        let len = usize::try_from(head - tail).unwrap_or(0).min(size);
        let from = usize::try_from(tail).unwrap_or(0) % size;
        let first = len.min(size - from);
        // SAFETY: the data pages follow the first page; the kernel does not write between tail and head, and both pieces
        // lie within the data pages.
        unsafe {
            let data = self.memory.as_mut_ptr().add(self.page);
            into.extend_from_slice(std::slice::from_raw_parts(data.add(from), first));
            into.extend_from_slice(std::slice::from_raw_parts(data, len - first));
        }
        tail_cell.store(head, Ordering::Release);
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
