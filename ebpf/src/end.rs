//! What every object of programs ends with.

/// Never reached: the programs have no path that panics, and the verifier would refuse one.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// Programs that use helpers for GPL programs must say a compatible licence.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
