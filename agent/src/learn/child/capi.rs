//! NIXL's C interface, as much as measuring needs. Every call must succeed.

use super::ffi::{Library, Region};
use super::memory::Piece;

/// `NIXL_DRAM_SEG`.
pub const DRAM: i32 = 0;
/// `NIXL_READ`.
pub const READ: i32 = 0;
/// `NIXL_WRITE`.
pub const WRITE: i32 = 1;

/// The library.
pub struct Capi {
    pub library: Library,
}

/// `nixl_capi_agent_config_t`.
#[repr(C)]
struct Config {
    has_progress_thread: bool,
    listens: bool,
    listen_port: i32,
    thread_sync: i32,
    workers: u32,
    progress_delay_us: u64,
    listen_delay_us: u64,
    has_telemetry: bool,
}

/// A text with its end, in memory that stays.
fn c_text(text: &str) -> u64 {
    Region::of(&[text.as_bytes(), b"\0"].concat()).address
}

impl Capi {
    /// Calls a function, and refuses every status but these.
    pub fn call(&self, name: &str, args: &[u64], allowed: &[i32]) -> Result<i32, String> {
        let status = self.library.call(&format!("nixl_capi_{name}"), args)?;
        if allowed.contains(&status) { Ok(status) } else { Err(format!("nixl_capi_{name}: status {status}")) }
    }

    /// Calls a function whose last argument takes what it makes.
    pub fn made(&self, name: &str, args: &[u64]) -> Result<u64, String> {
        self.made_before(name, args, &[])
    }

    /// The same with arguments behind that one.
    fn made_before(&self, name: &str, args: &[u64], behind: &[u64]) -> Result<u64, String> {
        let out = Region::new(8);
        self.call(name, &[args, &[out.address], behind].concat(), &[0])?;
        super::memory::word(out.address).ok_or_else(|| format!("nixl_capi_{name} makes nothing"))
    }

    /// A descriptor list: those of `xfer` are of `nixlBasicDesc`, those of `reg` of `nixlBlobDesc`.
    pub fn list(&self, kind: &str, memory: i32, pieces: &[Piece]) -> Result<u64, String> {
        let list = self.made(&format!("create_{kind}_dlist"), &[int(memory)])?;
        let more: &[u64] = if kind == "reg" { &[c_text(""), 0] } else { &[] };
        for piece in pieces {
            self.call(&format!("{kind}_dlist_add_desc"), &[&[list], &piece[..], more].concat(), &[0])?;
        }
        Ok(list)
    }
}

#[expect(clippy::cast_sign_loss, reason = "the bits of an int, as a register holds them")]
fn int(value: i32) -> u64 {
    u64::from(value as u32)
}

/// An agent with its UCX backend.
pub struct Agent<'a> {
    capi: &'a Capi,
    pub name: String,
    pub handle: u64,
    backend: u64,
}

impl<'a> Agent<'a> {
    /// Makes one.
    pub fn new(capi: &'a Capi, name: &str, has_telemetry: bool) -> Result<Self, String> {
        let config = Box::leak(Box::new(Config {
            has_progress_thread: true,
            listens: false,
            listen_port: 0,
            thread_sync: 0,
            workers: 1,
            progress_delay_us: 100,
            listen_delay_us: 0,
            has_telemetry,
        }));
        let handle = capi.made("create_configured_agent", &[c_text(name), &raw mut *config as u64])?;
        let (memories, params) = (Region::new(8), Region::new(8));
        capi.call("get_plugin_params", &[handle, c_text("UCX"), memories.address, params.address], &[0])?;
        let params = super::memory::word(params.address).unwrap_or(0);
        let backend = capi.made("create_backend", &[handle, c_text("UCX"), params])?;
        Ok(Self { capi, name: name.to_owned(), handle, backend })
    }

    fn options(&self, notif: Option<&[u8]>) -> Result<u64, String> {
        let options = self.capi.made("create_opt_args", &[])?;
        self.capi.call("opt_args_add_backend", &[options, self.backend], &[0])?;
        if let Some(notif) = notif {
            let text = Region::of(notif).address;
            self.capi.call("opt_args_set_notif_msg", &[options, text, notif.len() as u64], &[0])?;
            self.capi.call("opt_args_set_has_notif", &[options, 1], &[0])?;
        }
        Ok(options)
    }

    /// Memory of its own, registered.
    pub fn region(&self, size: usize) -> Result<Region, String> {
        let region = Region::new(size);
        let list = self.capi.list("reg", DRAM, &[[region.address, size as u64, 0]])?;
        self.capi.call("register_mem", &[self.handle, list, self.options(None)?], &[0])?;
        Ok(region)
    }

    /// Makes another agent known to this one.
    pub fn meet(&self, other: &Self) -> Result<(), String> {
        let (data, size, name) = (Region::new(8), Region::new(8), Region::new(8));
        self.capi.call("get_local_md", &[other.handle, data.address, size.address], &[0])?;
        let word = |region: Region| super::memory::word(region.address).unwrap_or(0);
        self.capi.call("load_remote_md", &[self.handle, word(data), word(size), name.address], &[0]).map(drop)
    }

    /// A request of plain lists.
    pub fn create(&self, op: i32, sides: [&[Piece]; 2], peer: &str, notif: Option<&[u8]>) -> Result<u64, String> {
        let [local, remote] = sides.map(|side| self.capi.list("xfer", DRAM, side));
        let args = [self.handle, int(op), local?, remote?, c_text(peer)];
        self.capi.made_before("create_xfer_req", &args, &[self.options(notif)?])
    }

    /// A prepared list of a peer's memory, or (no name) of its own.
    pub fn prepare(&self, peer: &str, pieces: &[Piece]) -> Result<u64, String> {
        let list = self.capi.list("xfer", DRAM, pieces)?;
        self.capi.made_before("prep_xfer_dlist", &[self.handle, c_text(peer), list], &[0])
    }

    /// A request of the first `blocks` of two prepared lists.
    pub fn make(&self, op: i32, sides: [u64; 2], blocks: u32, notif: Option<&[u8]>) -> Result<u64, String> {
        let indices: Vec<u8> = (0..blocks).flat_map(u32::to_le_bytes).collect();
        let (indices, blocks) = (Region::of(&indices).address, u64::from(blocks));
        let args = [self.handle, int(op), sides[0], indices, blocks, sides[1], indices, blocks];
        self.capi.made_before("make_xfer_req", &args, &[self.options(notif)?])
    }

    /// Begins a transfer: its status.
    pub fn post(&self, request: u64) -> Result<i32, String> {
        self.capi.call("post_xfer_req", &[self.handle, request, 0], &[0, 1])
    }

    /// The status of a transfer.
    pub fn status(&self, request: u64) -> Result<i32, String> {
        self.capi.call("get_xfer_status", &[self.handle, request], &[0, 1])
    }

    /// Gives a request back.
    pub fn release(&self, request: u64) -> Result<(), String> {
        self.capi.call("release_xfer_req", &[self.handle, request], &[0]).map(drop)
    }
}
