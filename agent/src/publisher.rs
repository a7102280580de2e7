//! The thread that publishes segments: the recorder must not wait for the disk, or rings fill while it does.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use kvpath_schema::segment::{SegmentError, Unpublished};
use kvpath_schema::store::{Location, Store};

/// Segments that may wait for the disk; some seconds of them. Each is a file already, so they take no memory.
const WAITING: usize = 64;

/// A segment to be published, and the one that it replaces.
struct Job {
    segment: Unpublished,
    replaced: Option<(Store, Location)>,
}

impl Job {
    fn run(self) -> Result<(), SegmentError> {
        self.segment.publish()?;
        // Only now: a reader may meet both, never none.
        self.replaced.map_or(Ok(()), |(store, old)| store.remove(&old))
    }
}

/// The thread. Dropping this waits until everything is published.
pub(crate) struct Publisher {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    failed: Arc<Mutex<Option<SegmentError>>>,
}

impl Publisher {
    pub(crate) fn start() -> Self {
        let (jobs, inbox) = sync_channel::<Job>(WAITING);
        let failed = Arc::new(Mutex::new(None));
        let first = Arc::clone(&failed);
        let thread = std::thread::spawn(move || {
            for job in inbox {
                if let Err(error) = job.run() {
                    first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        });
        Self { jobs: Some(jobs), thread: Some(thread), failed }
    }

    /// Publishes a segment soon; in their order.
    ///
    /// # Errors
    /// One before it could not be published.
    pub(crate) fn publish(
        &self,
        segment: Unpublished,
        replaced: Option<(Store, Location)>,
    ) -> Result<(), SegmentError> {
        if let Some(jobs) = &self.jobs {
            // It takes jobs until this end is dropped.
            let _ = jobs.send(Job { segment, replaced });
        }
        self.error()
    }

    /// Waits until everything is published.
    ///
    /// # Errors
    /// Something could not be.
    pub(crate) fn end(&mut self) -> Result<(), SegmentError> {
        self.wait();
        self.error()
    }

    fn wait(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
        {
            std::panic::resume_unwind(panic);
        }
    }

    fn error(&self) -> Result<(), SegmentError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.wait();
        }
    }
}
