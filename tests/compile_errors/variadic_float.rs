// error: nosplit: C promotes this variadic argument: declare it as c_int, c_uint or f64

use std::ffi::c_int;

mod ffi {
    unsafe extern "C" {
        pub fn variadic(count: super::c_int, ...) -> super::c_int;
    }
}

nosplit::calls! {
    pub unsafe fn variadic(count: c_int, ... x: f32) -> c_int = ffi::variadic [fails with -1; in user];
}

fn main() {}
