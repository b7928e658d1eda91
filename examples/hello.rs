//! A first call of libc from a stack of 2 KiB.
//!
//! ```text
//! cargo run --example hello
//! ```

use nosplit::{G, M, Status, calls, gogo, gostartcallfn, os};
use std::ffi::c_void;

/// Runs on the small stack; `write` runs on the thread's own.
unsafe extern "C" fn goroutine(_: *mut c_void) {
    let line = b"hello, from a stack of 2 KiB\n";
    // SAFETY: the buffer is as long as it says.
    let written = unsafe { calls::write(1, line.as_ptr().cast(), line.len()) };
    assert!(written == Ok(line.len() as isize));
}

fn main() -> Result<(), nosplit::Errno> {
    static THREAD: M = M::new();
    #[repr(align(16))]
    struct Stack([u8; 2048]);

    let mut stack = Stack([0; 2048]);
    let g = G::new();
    // SAFETY: the M is static; the stack and the G outlive the goroutine, which ends in gogo.
    unsafe {
        os::attach((&raw const THREAD).cast_mut(), None)?;
        g.init(stack.0.as_mut_ptr().cast(), stack.0.len());
        gostartcallfn(&g, goroutine, std::ptr::null_mut());
        gogo((&raw const g).cast_mut());
    }
    assert_eq!(g.status(), Status::Dead);
    os::detach()
}
