//! Which functions of which libraries are probed.

use kvpath_schema::wire::rdma::Call;

use crate::capture::pairs::AttachPoint;
use crate::discover::library::is_named;
use crate::elf::Elf;

const CALLS: [(&str, Call); 9] = [
    ("ibv_reg_mr_iova2", Call::RegMr),
    ("ibv_reg_dmabuf_mr", Call::RegDmabuf),
    ("ibv_dereg_mr", Call::DeregMr),
    ("ibv_create_qp", Call::CreateQp),
    ("ibv_modify_qp", Call::ModifyQp),
    ("ibv_destroy_qp", Call::DestroyQp),
    ("ibv_create_cq", Call::CreateCq),
    ("mlx5dv_create_qp", Call::CreateQp),
    ("mlx5dv_devx_obj_create", Call::DevxCreate),
];

/// Whether a file of that name may be a library that has probes.
pub fn is_candidate(file_name: &str) -> bool {
    ["libibverbs", "libmlx5"].iter().any(|stem| is_named(file_name, stem, ".so.1"))
}

/// Where to attach: every version of a function's symbol is one.
///
/// # Errors
/// It is no ELF file.
pub fn find(data: &[u8]) -> Result<Vec<AttachPoint>, String> {
    let elf = Elf::parse(data).map_err(|error| error.to_string())?;
    let exports = ["ibv_", "mlx5dv_"].into_iter().flat_map(|prefix| elf.exports(prefix));
    Ok(exports
        .filter_map(|(name, point)| {
            let (_, call) = CALLS.iter().find(|(symbol, _)| *symbol == name)?;
            Some(AttachPoint { offset: point.offset, cookie: *call as u64, has_return: true })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_told_by_name() {
        for yes in ["libibverbs.so.1", "libibverbs-1de1263b.so.1.14.48.0", "libmlx5.so.1", "libmlx5-rdmav34-0a.so.1"] {
            assert!(is_candidate(yes), "{yes}");
        }
        for no in ["libibverbs.so", "librxe-rdmav34.so", "libmlx5_core.so", ""] {
            assert!(!is_candidate(no), "{no}");
        }
    }

    #[test]
    fn what_has_none_of_them_has_no_probe() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(find(&own).unwrap().len(), 0);
        assert!(find(b"no").is_err());
    }
}
