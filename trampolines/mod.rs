//! All that is assembly, and the one place that chooses an architecture.
//!
//! Each architecture's file has the same entries with the same names: `asmcgocall` and its
//! variants, `gogo`, `mcall`, `gosave`, `goentry`, `sigtramp`, `mstart_stub`; the template of a
//! row's trampoline; and the few facts about the processor that the layer asks for.
//! `x86_64.rs` is the commented original; the others say what differs.

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
