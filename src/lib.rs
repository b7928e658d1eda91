//! Call libc from any stack.
//!
//! A runtime's goroutines have small stacks, its signal handlers run on odd ones, and some of its
//! threads have no runtime state at all; but libc wants a big stack, and on Darwin there is no
//! other way into the kernel. Each wrapper of this crate packs its arguments into a struct and
//! hands it to a per-call assembly trampoline through `asmcgocall`, which moves to the thread's
//! system stack if, and only if, it must.
//!
//! - [`calls`](mod@calls): the ready wrappers; [`calls!`]: the macro that makes more of them.
//! - [`G`], [`M`], [`attach`](os::attach): the records that say what a small stack is.
//! - [`asmcgocall`], [`systemstack`]; [`gogo`], [`mcall`]; [`enter`], [`leave`]: the switch.
//! - [`os`]: threads and signals on top of it.
//!
//! ```
//! use nosplit::calls;
//! let line = b"from any stack\n";
//! // SAFETY: the buffer is as long as it says.
//! let n = unsafe { calls::write(1, line.as_ptr().cast(), line.len()) }?;
//! assert_eq!(n, line.len() as isize);
//! # Ok::<(), nosplit::Errno>(())
//! ```

#![no_std]
#![deny(missing_docs, unsafe_op_in_unsafe_fn)]

#[doc(hidden)]
pub mod abi;
#[doc(hidden)]
#[path = "../trampolines/mod.rs"]
#[allow(
    missing_docs,
    reason = "the entries' contracts stand above them, in the assembly"
)]
pub mod arch;
pub mod calls;
#[doc(hidden)]
pub mod convention;
mod errno;
#[doc(hidden)]
pub mod fatal;
mod g;
pub mod os;
mod switch;
mod table;
mod tls;

pub use arch::STACK_MIN;
pub use errno::{Errno, KernReturn};
pub use g::{G, M, Status};
pub use switch::{
    ENTER_ROOM, asmcgocall, asmcgocall_no_g, enter, gogo, gosave, gostartcallfn, in_entries, leave,
    mcall, systemstack,
};
pub use table::{Contexts, Row};
pub use tls::{getg, init};
