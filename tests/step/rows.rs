//! The rows that are stepped: each kind of trampoline, in front of libc and of functions that look
//! at what they are given.
#![allow(
    clippy::too_many_arguments,
    reason = "one row has as many as there can be"
)]

use nosplit::{Row, calls};
use std::ffi::c_int;

nosplit::calls! {
    /// SP at the callee's first instruction.
    pub unsafe fn sp_of_callee() -> usize
        = crate::shim::sp_of_callee [never fails; in user system signal no_g];

    /// Six integer registers, two floats, four words on the stack.
    pub fn many(
        a: i8, b: u16, c: i32, d: u64, e: i16, f: u8, x: f64, y: f32, g: i64, h: i32, i: u16, j: isize,
    ) -> u64
        = many_c [never fails; in user system signal no_g];

    /// Half of it, in a float register.
    pub fn half(x: f64) -> f64
        = half_c [never fails; in user system signal no_g];

    /// A row that handlers may not call: fails with that errno, unless it is 0.
    pub fn not_for_handlers(errno: c_int) -> c_int
        = not_for_handlers_c [fails with -1; in user system no_g];
}

extern "C" fn many_c(
    a: i8,
    b: u16,
    c: i32,
    d: u64,
    e: i16,
    f: u8,
    x: f64,
    y: f32,
    g: i64,
    h: i32,
    i: u16,
    j: isize,
) -> u64 {
    mix([
        a.into(),
        b.into(),
        c.into(),
        d as i64,
        e.into(),
        f.into(),
        x.to_bits() as i64,
        y.to_bits().into(),
        g,
        h.into(),
        i.into(),
        j as i64,
    ])
}

/// What `many` makes of its arguments.
pub const fn mix(words: [i64; 12]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut n = 0;
    while n < words.len() {
        hash = (hash ^ words[n] as u64).wrapping_mul(0x100_0000_01b3);
        n += 1;
    }
    hash
}

extern "C" fn half_c(x: f64) -> f64 {
    x / 2.0
}

extern "C" fn not_for_handlers_c(errno: c_int) -> c_int {
    if errno == 0 {
        return 0;
    }
    // SAFETY: errno of this thread.
    unsafe { *nosplit::arch::errno_location() = errno };
    -1
}

/// A row, and the address of its C function.
pub struct Stepped {
    pub row: Row,
    pub function: fn() -> *const (),
}

pub const COUNT: usize = 9;

/// Every row that is stepped.
pub static ALL: [Stepped; COUNT] = [
    Stepped {
        row: sp_of_callee::ROW,
        function: || crate::shim::sp_of_callee as *const (),
    },
    Stepped {
        row: many::ROW,
        function: || many_c as *const (),
    },
    Stepped {
        row: half::ROW,
        function: || half_c as *const (),
    },
    Stepped {
        row: not_for_handlers::ROW,
        function: || not_for_handlers_c as *const (),
    },
    Stepped {
        row: calls::getpid::ROW,
        function: || libc::getpid as *const (),
    },
    Stepped {
        row: calls::kill::ROW,
        function: || libc::kill as *const (),
    },
    Stepped {
        row: calls::open::ROW,
        function: || libc::open64 as *const (),
    },
    Stepped {
        row: calls::mmap::ROW,
        function: || libc::mmap64 as *const (),
    },
    Stepped {
        row: calls::pthread_key_delete::ROW,
        function: || libc::pthread_key_delete as *const (),
    },
];
