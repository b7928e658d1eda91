//! All that is assembly, and the one place that chooses an architecture.
//!
//! Each architecture's file has the same entries with the same names: `asmcgocall` and its
//! variants, `gogo`, `mcall`, `gosave`, `goentry`, `sigtramp`, `mstart_stub`; the template of a
//! row's trampoline; and the few facts about the processor that the layer asks for.
//! `x86_64.rs` is the commented original; the others say what differs.

/// Every variant of asmcgocall, a line for each convention. Three entries of a line: for rows that
/// handlers may call, for those that they may not, and without g. Behind the colon: how the C function
/// is called, and by which test of the architecture's `errno_if` it has failed.
macro_rules! variants {
    (
        $plain:ident $plain_checked:ident $plain_no_g:ident;
        $($open:ident $checked:ident $no_g:ident: $call:ident, $test:ident $(($errno:ident) -> $r:ty)?;)+
    ) => {
        asmcgocall! {
            $plain, size: size, outside: "", call: call!(), test: "", [];
            $($open $(($errno) -> $r)?, size: size, outside: "", call: $call!(), test: errno_if!($test),
                [errno = sym $crate::arch::errno_location,];)+
            $plain_checked, size: open_size, outside: refuse_in_handler!(), call: call!(), test: "",
                [handling = const offset_of!(G, handling), forbidden = sym $crate::fatal::in_handler,];
            $($checked $(($errno) -> $r)?, size: open_size, outside: refuse_in_handler!(), call: $call!(), test: errno_if!($test),
                [errno = sym $crate::arch::errno_location,
                handling = const offset_of!(G, handling), forbidden = sym $crate::fatal::in_handler,];)+
        }

        asmcgocall_no_g! {
            $plain_no_g, call: call!(), test: "", [];
            $($no_g $(($errno) -> $r)?, call: $call!(), test: errno_if!($test),
                [errno = sym $crate::arch::errno_location,];)+
        }
    };
}

mod format;

// Plain cfgs: macros that a macro expands to could not be exported.
#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
mod processor;

#[cfg(target_arch = "aarch64")]
#[path = "aarch64.rs"]
mod processor;

#[cfg(target_arch = "x86")]
#[path = "i386.rs"]
mod processor;

pub use processor::*;

pub use format::{entry_bounds, errno_location};

use core::ffi::c_void;

/// What `asmcgocall` runs: a C function that takes a pointer to packed arguments.
///
/// Its result is whatever the C function behind it leaves in the result registers of its type.
pub type Trampoline = unsafe extern "C" fn(args: *mut c_void);
