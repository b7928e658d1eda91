// error: a nosplit row that returns `()` cannot fail by this convention

use std::ffi::c_void;

nosplit::calls! {
    pub unsafe fn free(p: *mut c_void) = libc::free [fails with -1; in user];
}

fn main() {}
