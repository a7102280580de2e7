//! What the mock host does with NVTX.

use crate::ffi::Nvtx;

/// Each round: in the default domain a range within a range, and a mark; in domain `d` a range with a registered string
/// and a payload, and a start/end range whose text is new each time.
pub fn rounds(nvtx: &Nvtx, count: u64) {
    let domain = nvtx.domain(c"d");
    let registered = nvtx.register(&domain, c"registered");
    for round in 0..count {
        nvtx.push_plain(c"outer");
        nvtx.push_wide("inn\u{e9}r");
        nvtx.mark(c"mark");
        nvtx.pop_plain();
        nvtx.push_registered(&domain, registered, round);
        let id = nvtx.start(&domain, &std::ffi::CString::new(format!("step {round}")).expect("no zero inside"));
        nvtx.end(&domain, id);
        nvtx.pop(&domain);
        nvtx.pop_plain();
    }
}

/// That many ranges.
pub fn many(nvtx: &Nvtx, count: u64) {
    for _ in 0..count {
        nvtx.push_plain(c"many");
        nvtx.pop_plain();
    }
}
