//! The ready wrappers, by family: libc's functions, callable from any stack.
//!
//! Each is a row of [`calls!`](crate::calls!), and each has the C function's name, arguments and
//! result; failures are an [`Errno`](crate::Errno). On Linux the variants with 64-bit offsets are
//! behind the plain names, on i386 too.
//!
//! The last line of each documents its row: how it fails, and where it may be called. A row without
//! `signal` aborts, in one line, in a handler of the layer on an attached thread.

mod file;
mod memory;
mod process;
mod signal;
mod sync;
mod thread;
mod time;

pub use file::*;
pub use memory::*;
pub use process::*;
pub use signal::*;
pub use sync::*;
pub use thread::*;
pub use time::*;

use crate::table::Row;

/// Every row, by family.
pub static TABLE: &[&[&Row]] = &[
    file::ROWS,
    memory::ROWS,
    process::ROWS,
    signal::ROWS,
    sync::ROWS,
    thread::ROWS,
    thread::BOUNDS,
    time::ROWS,
];

/// Where the two systems name one function differently: 64-bit offsets have names of their own on
/// Linux, and are all there is on Darwin.
mod sys {
    cfg_if::cfg_if! {
        if #[cfg(target_os = "linux")] {
            pub use libc::{mmap64 as mmap, open64 as open};
        } else {
            pub use libc::{mmap, open};
        }
    }
}
