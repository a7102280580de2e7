//! The kernel's tracepoints: its own description of them, against which our programs' offsets are held, and attaching.

use std::fs;

use aya::Ebpf;
use aya::programs::TracePoint;

use crate::capture::error::AttachError;

/// Where the kernel describes them.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// A field that a program reads.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Category and name of the tracepoint.
    pub tracepoint: (&'static str, &'static str),
    /// Its declaration.
    pub declaration: &'static str,
    /// Offset, bytes.
    pub offset: usize,
    /// Size, bytes.
    pub size: usize,
}

/// Whether all fields are where the programs read them.
///
/// # Errors
/// One is not, or they cannot be looked at.
pub fn are_known(fields: &[Field]) -> Result<(), AttachError> {
    for field in fields {
        let (category, name) = field.tracepoint;
        let described = TRACEFS
            .iter()
            .find_map(|root| fs::read_to_string(format!("{root}/events/{category}/{name}/format")).ok())
            .ok_or(AttachError::NoTracefs(name))?;
        if !has_field(&described, field) {
            return Err(AttachError::Tracepoint { tracepoint: name, field: field.declaration });
        }
    }
    Ok(())
}

/// Loads the programs of those names and attaches each to the tracepoint of its name.
///
/// # Errors
/// The kernel refuses.
pub fn attach(ebpf: &mut Ebpf, category: &str, names: &[&'static str]) -> Result<(), AttachError> {
    for name in names {
        let program: &mut TracePoint =
            ebpf.program_mut(name).ok_or(AttachError::Missing(name))?.try_into().map_err(AttachError::Program)?;
        program.load()?;
        program.attach(category, name)?;
    }
    Ok(())
}

fn has_field(described: &str, field: &Field) -> bool {
    let wanted = format!("field:{};\toffset:{};\tsize:{};", field.declaration, field.offset, field.size);
    described.lines().any(|line| line.trim().starts_with(&wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_moved_is_seen() {
        let text = "\tfield:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:0;\n\
                    \tfield:pid_t prev_pid;\toffset:24;\tsize:4;\tsigned:1;\n";
        let field = Field { tracepoint: ("sched", "sched_switch"), declaration: "pid_t prev_pid", offset: 24, size: 4 };
        assert!(has_field(text, &field));
        assert!(!has_field(text, &Field { offset: 28, ..field }));
        assert!(!has_field(text, &Field { declaration: "pid_t next_pid", ..field }));
    }
}
