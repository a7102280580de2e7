//! Which functions of which libraries are probed.

use kvpath_schema::wire::ucx::Call;

use crate::discover::library::is_named;
use crate::elf::{Elf, ElfError, Point};

/// The soname whose interface the probes read.
const SONAME: &str = "libucp.so.0";
/// Calls of libucp.
const CALLS: [(&str, Call); 6] = [
    ("ucp_put_nbx", Call::Put),
    ("ucp_get_nbx", Call::Get),
    ("ucp_am_send_nbx", Call::Am),
    ("ucp_tag_send_nbx", Call::Tag),
    ("ucp_ep_flush_nbx", Call::Flush),
    ("ucp_request_free", Call::Free),
];

/// One function to probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// What it is.
    pub call: Call,
    /// Of a transport's: the transport, and the function's last words.
    pub transport: Option<(String, String)>,
    /// Where.
    pub point: Point,
}

/// Whether a file of that name may be a library of UCX that has probes: wheels that bundle libraries put a hash into their
/// names.
pub fn is_candidate(file_name: &str) -> bool {
    is_ucp(file_name) || file_name.starts_with("libuct") && file_name.contains(".so")
}

fn is_ucp(file_name: &str) -> bool {
    is_named(file_name, "libucp", ".so.0")
}

/// The functions to probe in a library.
///
/// # Errors
/// It is no ELF file, or lacks a call of libucp.
pub fn find(file_name: &str, data: &[u8]) -> Result<Vec<Function>, String> {
    let elf = Elf::parse(data).map_err(|error| error.to_string())?;
    if is_ucp(file_name) {
        let function = |(symbol, call): (&str, Call)| {
            let point = elf.entry(symbol).map_err(|error: ElfError| format!("{symbol}: {error}; {SONAME} has it"))?;
            Ok(Function { call, transport: None, point })
        };
        return CALLS.into_iter().map(function).collect();
    }
    let functions = elf.exports("uct_").into_iter().filter_map(|(symbol, point)| {
        let transport = Some(transport(&symbol)?);
        Some(Function { call: Call::Transport, transport, point })
    });
    Ok(functions.collect())
}

/// Transport and function of `uct_TRANSPORT_ep_FUNCTION`, if that moves data.
fn transport(symbol: &str) -> Option<(String, String)> {
    let (transport, function) = symbol.strip_prefix("uct_")?.split_once("_ep_")?;
    let (verb, how) = function.split_once('_')?;
    let moves = matches!(verb, "put" | "get" | "am") && matches!(how, "short" | "short_iov" | "bcopy" | "zcopy");
    // Base classes pass on what a transport does not implement.
    (moves && transport != "base").then(|| (transport.to_owned(), function.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_told_by_name() {
        for yes in [
            "libucp.so.0",
            "libucp.so.0.0.0",
            "libucp-0a1b2c3d.so.0.0.0",
            "libuct_cuda.so.0.0.0",
            "libuct-1141f529.so.0.0.0",
        ] {
            assert!(is_candidate(yes), "{yes}");
        }
        for no in ["libucp.so.1", "libucs.so.0", "libucm_cuda.so.0", "libucp_perf.so", ""] {
            assert!(!is_candidate(no), "{no}");
        }
    }

    #[test]
    fn transports_are_told_by_their_functions() {
        let found = |symbol| transport(symbol).map(|(transport, function)| format!("{transport} {function}"));
        assert_eq!(found("uct_cuda_ipc_ep_put_zcopy").as_deref(), Some("cuda_ipc put_zcopy"));
        assert_eq!(found("uct_rc_mlx5_base_ep_am_short_iov").as_deref(), Some("rc_mlx5_base am_short_iov"));
        for none in [
            "uct_base_ep_am_short_iov",
            "uct_tcp_ep_get_address",
            "uct_cuda_ipc_ep_get_device_ep",
            "uct_rc_ep_get_bcopy_handler",
            "uct_iface_open",
        ] {
            assert_eq!(found(none), None, "{none}");
        }
    }

    #[test]
    fn a_libucp_without_its_calls_is_refused() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(find("libucp.so.0", &own).unwrap_err().contains("ucp_put_nbx: no symbol of that name"));
        assert_eq!(find("libuct.so.0", &own), Ok(Vec::new()));
        assert!(find("libuct.so.0", b"no").is_err());
    }
}
