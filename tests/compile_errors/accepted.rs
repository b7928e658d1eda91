// The control: what the others do wrong, done right. It compiles.

use std::ffi::{c_char, c_int, c_uint, c_void};

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Pair(u64, u64);

mod ffi {
    use super::{Pair, c_int, c_uint, c_void};

    unsafe extern "C" {
        #[rustfmt::skip]
        pub fn twelve(
            a: u8,
            b: u8,
            c: u8,
            d: u8,
            e: u8,
            f: u8,
            g: u8,
            h: u8,
            i: u8,
            j: u8,
            k: u8,
            l: u8,
        );
        pub fn by_pointer(pair: *const Pair) -> c_int;
        pub fn variadic(count: c_int, ...) -> c_int;
        pub fn pointer() -> *mut c_void;
        pub fn integer() -> c_int;
        pub fn unsigned() -> c_uint;
    }
}

nosplit::calls! {
    pub unsafe fn twelve(
        a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8, j: u8, k: u8, l: u8,
    ) = ffi::twelve [never fails; in user];
    pub unsafe fn by_pointer(pair: *const Pair) -> c_int = ffi::by_pointer [fails with -1; in user system];
    pub unsafe fn variadic(count: c_int, ... letter: c_int, x: f64) -> c_int
        = ffi::variadic [fails with -1 if errno; in user system signal fork no_g; blocks];
    pub unsafe fn pointer() -> *mut c_void = ffi::pointer [fails with NULL; in user];
    pub unsafe fn map() -> *mut c_void = ffi::pointer [fails with MAP_FAILED; in user];
    pub unsafe fn integer() -> c_int = ffi::integer [returns errno; in user];
    pub unsafe fn unsigned() -> c_uint = ffi::unsigned [fails with -1; in user];
    pub fn exit(status: c_int) -> ! = libc::exit [never returns; in user];
    pub unsafe fn puts(text: *const c_char) -> c_int = libc::puts [fails with -1; in user];
}

fn main() {}
