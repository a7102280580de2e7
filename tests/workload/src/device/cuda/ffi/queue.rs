//! Queues of work, points in them, and work that is launched as one.

use std::ffi::c_void;
use std::sync::Arc;

use anyhow::Context as _;
use cudarc::driver::{result, sys};

use super::{Buffer, Context, Kernel, Pinned};

/// A queue of work on the device, independent of the default stream.
pub struct Stream {
    pub(super) raw: sys::CUstream,
    context: Arc<Context>,
}

impl Stream {
    /// Makes a queue.
    ///
    /// # Errors
    /// The device has failed.
    pub fn new(context: &Arc<Context>) -> anyhow::Result<Self> {
        context.enter()?;
        let raw = result::stream::create(result::stream::StreamKind::NonBlocking).context("no CUDA stream")?;
        Ok(Self { raw, context: Arc::clone(context) })
    }

    /// Waits until all that was enqueued is done.
    ///
    /// # Errors
    /// Something of it failed.
    pub fn finish(&self) -> anyhow::Result<()> {
        // SAFETY: made by `new`.
        unsafe { result::stream::synchronize(self.raw) }.context("work on the GPU failed")
    }

    /// Has later work wait for an event.
    ///
    /// # Errors
    /// The device has failed.
    pub fn wait_for(&self, event: &Event) -> anyhow::Result<()> {
        // SAFETY: both live.
        unsafe { result::stream::wait_event(self.raw, event.raw, sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT) }
            .context("no wait between CUDA streams")
    }

    /// Enqueues zeroing of `bytes` at `address`.
    ///
    /// # Errors
    /// The device has failed.
    pub fn zero(&self, address: u64, bytes: usize) -> anyhow::Result<()> {
        // SAFETY: the stream lives; addresses are as the module says.
        unsafe { result::memset_d8_async(address, 0, bytes, self.raw) }.context("GPU memory is not zeroed")
    }

    /// Enqueues a copy between device memories.
    ///
    /// # Errors
    /// The device has failed.
    pub fn copy(&self, from: u64, to: u64, bytes: usize) -> anyhow::Result<()> {
        // SAFETY: the stream lives; addresses are as the module says.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.raw) }.context("no copy between GPU memories")
    }

    /// Enqueues a copy of the first words of `from` to the start of `to`. They must not change before it is done.
    ///
    /// # Errors
    /// The device has failed.
    ///
    /// # Panics
    /// One is smaller.
    pub fn upload(&self, from: &mut Pinned, to: &Buffer, words: usize) -> anyhow::Result<()> {
        assert!(words * 8 <= to.bytes, "a copy beyond its target");
        // SAFETY: the stream lives, and the words until the copy is done: freeing them waits for it.
        unsafe { result::memcpy_htod_async(to.address, &from.as_mut()[..words], self.raw) }
            .context("no copy to the GPU")
    }

    /// Copies words from the device, and waits for that and all work before it.
    ///
    /// # Errors
    /// The device has failed.
    pub fn download(&self, from: u64, to: &mut Pinned) -> anyhow::Result<()> {
        // SAFETY: the stream and the words live; the copy is done at return.
        unsafe { result::memcpy_dtoh_async(to.as_mut(), from, self.raw) }.context("no copy from the GPU")?;
        self.finish()
    }

    /// Keeps what `work` enqueues here as a graph, instead of doing it.
    ///
    /// # Errors
    /// `work` fails or did what a graph cannot hold.
    pub fn capture(&self, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Graph> {
        // Relaxed: what other threads do meanwhile is none of this capture's business.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream lives.
        unsafe { result::stream::begin_capture(self.raw, mode) }.context("no capture of a CUDA graph")?;
        let outcome = work();
        // SAFETY: capture has begun on it, in this thread.
        let graph = unsafe { result::stream::end_capture(self.raw) };
        outcome?;
        let graph = graph.context("the captured work makes no CUDA graph")?;
        // SAFETY: just captured; an executable graph does not need it any more.
        let raw = unsafe {
            let raw = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0));
            let _ = result::graph::destroy(graph);
            raw
        };
        Ok(Graph { raw: raw.context("the CUDA graph cannot run")?, context: Arc::clone(&self.context) })
    }

    /// Enqueues a graph.
    ///
    /// # Errors
    /// The device has failed.
    pub fn replay(&self, graph: &Graph) -> anyhow::Result<()> {
        // SAFETY: both live.
        unsafe { result::graph::launch(graph.raw, self.raw) }.context("the CUDA graph is not launched")
    }

    /// Enqueues a kernel with `grid` blocks of `threads`.
    ///
    /// # Errors
    /// The device has failed, or the grid is impossible.
    pub fn launch<const N: usize>(
        &self,
        kernel: &Kernel<N>,
        grid: (u32, u32),
        threads: u32,
        mut parameters: [u64; N],
    ) -> anyhow::Result<()> {
        let mut pointers = parameters.each_mut().map(|parameter| std::ptr::from_mut(parameter).cast::<c_void>());
        let (grid, block) = ((grid.0, grid.1, 1), (threads, 1, 1));
        // SAFETY: the kernel has N parameters of 8 bytes, as `Module::kernel` checked; they are copied by the call.
        unsafe { result::launch_kernel(kernel.raw, grid, block, 0, self.raw, &mut pointers) }
            .with_context(|| format!("{} is not launched", kernel.name))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed once.
        let _ = self.context.enter().map(|()| unsafe { result::stream::destroy(self.raw) });
    }
}

/// A point in a stream.
pub struct Event {
    raw: sys::CUevent,
    context: Arc<Context>,
}

impl Event {
    /// Makes an event; until it is recorded nobody waits for it.
    ///
    /// # Errors
    /// The device has failed.
    pub fn new(context: &Arc<Context>) -> anyhow::Result<Self> {
        context.enter()?;
        let raw = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).context("no CUDA event")?;
        Ok(Self { raw, context: Arc::clone(context) })
    }

    /// Sets it to the end of what is enqueued in a stream.
    ///
    /// # Errors
    /// The device has failed.
    pub fn record(&self, stream: &Stream) -> anyhow::Result<()> {
        // SAFETY: both live.
        unsafe { result::event::record(self.raw, stream.raw) }.context("a CUDA event is not recorded")
    }

    /// Waits for it.
    ///
    /// # Errors
    /// Work before it failed.
    pub fn wait(&self) -> anyhow::Result<()> {
        // SAFETY: it lives.
        unsafe { result::event::synchronize(self.raw) }.context("work on the GPU failed")
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed once.
        let _ = self.context.enter().map(|()| unsafe { result::event::destroy(self.raw) });
    }
}

/// Work that is launched as one.
pub struct Graph {
    raw: sys::CUgraphExec,
    context: Arc<Context>,
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: instantiated once, destroyed once.
        let _ = self.context.enter().map(|()| unsafe { result::graph::exec_destroy(self.raw) });
    }
}
