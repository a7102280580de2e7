//! The system calls that a confined process may make: all but those by which it could reach beyond itself. Pure.

use libc::{c_long, sock_filter};

/// `clone3`, whose flags a filter cannot see: without it libraries take `clone`.
const REFUSED_SO_THAT_CLONE_IS_TAKEN: c_long = libc::SYS_clone3;
/// Never: other programs and processes, the system, and the kernel's larger interfaces.
const REFUSED: [c_long; 45] = [
    libc::SYS_execve,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_ptrace,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fsconfig,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_io_uring_setup,
    libc::SYS_open_by_handle_at,
    libc::SYS_personality,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_quotactl,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_mknodat,
];
/// Families of sockets that there may be: with these nothing but the loopback of its own network is reached. Those of the file system
/// lead out.
const FAMILIES: [i32; 3] = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

// In `seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// Lower half of the first argument; they are 8 bytes apart.
const ARGUMENT: u32 = 16;
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
/// Numbers from here on are those of another calling convention.
const X32: u32 = 0x4000_0000;

/// The filter.
pub fn program() -> Vec<sock_filter> {
    let allow = word(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW);
    let refuse = |errno: i32| word(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | low(errno.into()));
    let load = |at: u32| word(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at);
    let equal =
        |value: u32, then: u8, otherwise: u8| word(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, then, otherwise, value);
    let mut filter = vec![
        load(ARCHITECTURE),
        equal(AUDIT_ARCH_X86_64, 1, 0),
        word(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
        word(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32),
        refuse(libc::EPERM),
        equal(low(REFUSED_SO_THAT_CLONE_IS_TAKEN), 0, 1),
        refuse(libc::ENOSYS),
    ];
    for number in REFUSED {
        filter.extend([equal(low(number), 0, 1), refuse(libc::EPERM)]);
    }
    // Threads, and no processes.
    filter.extend([
        equal(low(libc::SYS_clone), 0, 4),
        load(ARGUMENT),
        word(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, low(libc::CLONE_THREAD.into())),
        allow,
        refuse(libc::EPERM),
    ]);
    // The one program that is run after this is an open file.
    filter.extend([
        equal(low(libc::SYS_execveat), 0, 4),
        load(ARGUMENT + 4 * 8),
        equal(low(libc::AT_EMPTY_PATH.into()), 0, 1),
        allow,
        refuse(libc::EPERM),
    ]);
    filter.extend([equal(low(libc::SYS_socket), 0, 5), load(ARGUMENT)]);
    filter.extend((0..).zip(FAMILIES).map(|(at, family)| equal(low(family.into()), 3 - at, 0)));
    filter.extend([refuse(libc::EAFNOSUPPORT), allow]);
    filter
}

#[expect(clippy::cast_possible_truncation, reason = "opcodes are small")]
fn word(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "numbers and flags are small")]
fn low(number: c_long) -> u32 {
    number as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter on a call.
    fn run(filter: &[sock_filter], number: c_long, args: [u64; 6]) -> u32 {
        let mut data = [0u8; 64];
        data[..4].copy_from_slice(&low(number).to_le_bytes());
        data[4..8].copy_from_slice(&AUDIT_ARCH_X86_64.to_le_bytes());
        for (at, arg) in args.iter().enumerate() {
            data[16 + 8 * at..24 + 8 * at].copy_from_slice(&arg.to_le_bytes());
        }
        let (mut at, mut loaded) = (0, 0u32);
        loop {
            let sock_filter { code, jt, jf, k } = filter[at];
            let jump = |holds: bool| 1 + usize::from(if holds { jt } else { jf });
            at += match u32::from(code) {
                code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                    loaded = u32::from_le_bytes(data[k as usize..][..4].try_into().unwrap());
                    1
                }
                code if code == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K => jump(loaded == k),
                code if code == libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K => jump(loaded >= k),
                code if code == libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K => jump(loaded & k != 0),
                _ => return k,
            };
        }
    }

    #[test]
    fn only_what_stays_within_the_process_is_allowed() {
        let filter = program();
        let arg = |position: usize, value: i32| {
            let mut args = [0; 6];
            args[position] = u64::try_from(value).unwrap();
            args
        };
        let result = |number, args| run(&filter, number, args);
        let refused = |errno: i32| libc::SECCOMP_RET_ERRNO | u32::try_from(errno).unwrap();
        for number in
            [libc::SYS_read, libc::SYS_mmap, libc::SYS_futex, libc::SYS_exit_group, libc::SYS_process_vm_readv]
        {
            assert_eq!(result(number, [0; 6]), libc::SECCOMP_RET_ALLOW, "{number}");
        }
        for number in REFUSED {
            assert_eq!(result(number, [0; 6]), refused(libc::EPERM), "{number}");
        }
        assert_eq!(result(libc::SYS_clone3, [0; 6]), refused(libc::ENOSYS));
        assert_eq!(result(libc::SYS_clone, arg(0, libc::SIGCHLD)), refused(libc::EPERM));
        assert_eq!(result(libc::SYS_clone, arg(0, libc::CLONE_THREAD | libc::CLONE_VM)), libc::SECCOMP_RET_ALLOW);
        assert_eq!(result(libc::SYS_execveat, arg(4, 0)), refused(libc::EPERM));
        assert_eq!(result(libc::SYS_execveat, arg(4, libc::AT_EMPTY_PATH)), libc::SECCOMP_RET_ALLOW);
        for family in FAMILIES {
            assert_eq!(result(libc::SYS_socket, arg(0, family)), libc::SECCOMP_RET_ALLOW, "{family}");
        }
        for family in [libc::AF_UNIX, libc::AF_PACKET, libc::AF_VSOCK] {
            assert_eq!(result(libc::SYS_socket, arg(0, family)), refused(libc::EAFNOSUPPORT), "{family}");
        }
        assert_eq!(result(libc::SYS_read | c_long::from(X32), [0; 6]), refused(libc::EPERM));
    }
}
