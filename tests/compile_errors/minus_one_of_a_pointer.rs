// error: a nosplit row that returns `*mut c_void` cannot fail by this convention
// error: -1: an integer of 32 or 64 bits or a word

use std::ffi::c_void;

nosplit::calls! {
    pub fn malloc(size: usize) -> *mut c_void = libc::malloc [fails with -1; in user];
}

fn main() {}
