// error: nosplit: a row is [pub] [unsafe] fn NAME
// error: variadic arguments follow `...`, behind a named one

use std::ffi::c_int;

mod ffi {
    unsafe extern "C" {
        pub fn variadic(...) -> super::c_int;
    }
}

nosplit::calls! {
    pub unsafe fn variadic(... count: c_int) -> c_int = ffi::variadic [fails with -1; in user];
}

fn main() {}
