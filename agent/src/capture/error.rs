//! Why BPF programs cannot be used.

/// Why the programs are not in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The kernel refused the object or a map.
    #[error("the kernel refused the BPF programs: {0}")]
    Load(#[from] aya::EbpfError),
    /// The kernel refused a program, or to attach it.
    #[error("the kernel refused a BPF program: {0}")]
    Program(#[from] aya::programs::ProgramError),
    /// A map cannot be used.
    #[error("a BPF map cannot be used: {0}")]
    Map(#[from] aya::maps::MapError),
    /// The embedded object lacks a program or map.
    #[error("the embedded BPF object has no `{0}`")]
    Missing(&'static str),
    /// The kernel does not describe its tracepoints.
    #[error(
        "the kernel's tracepoint {0} cannot be looked at: mount tracefs at /sys/kernel/tracing, and give \
         CAP_DAC_READ_SEARCH"
    )]
    NoTracefs(&'static str),
    /// The kernel does not describe its types.
    #[error("/sys/kernel/btf/vmlinux cannot be read, so where the kernel keeps ids and addresses is not known")]
    NoBtf,
    /// A structure of this kernel is another than the programs read.
    #[error("this kernel's types: {0}")]
    Btf(#[from] crate::btf::BtfError),
    /// The kernel's types cannot be read, or lack a tracepoint.
    #[error("this kernel's types: {0}")]
    KernelTypes(#[from] aya::BtfError),
    /// A tracepoint of this kernel is another than the programs read.
    #[error("this kernel's tracepoint {tracepoint} has `{field}` elsewhere, or not at all")]
    Tracepoint {
        /// Its name.
        tracepoint: &'static str,
        /// The field.
        field: &'static str,
    },
}
