//! Arguments arrive as C passes them, and results, errno among them, come back as C left them.
//!
//! Each callee is an `extern "C"` function of this file, so rustc's own lowering of the same
//! prototype is the oracle. Rust cannot define variadic functions: there libc's snprintf is.
//!
//! Every call is made on the system stack of a thread without g, by asmcgocall and by
//! asmcgocall_no_g; on the system stack of an attached one; and on a goroutine's stack of 4 KiB.
#![allow(clippy::too_many_arguments, reason = "as many as a row may have")]

mod support;

use core::ffi::{c_char, c_double, c_int, c_long, c_longlong, c_uint};
use nosplit::Errno;
use std::cell::Cell;
use std::ptr::{null, null_mut};
use support::{Stack, attached, on_g};

/// Where a call is made.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Place {
    ThreadWithoutG,
    NeverReadingTls,
    SystemStack,
    UserStack,
}

impl Place {
    fn run<R>(self, f: impl FnOnce() -> R) -> R {
        match self {
            Place::UserStack => on_g(&Stack::new(4096), f),
            _ => f(),
        }
    }
}

fn everywhere(check: impl Fn(Place)) {
    check(Place::ThreadWithoutG);
    check(Place::NeverReadingTls);
    attached(|_| {
        check(Place::SystemStack);
        check(Place::UserStack);
    });
}

/// Calls a row's wrapper at a place.
macro_rules! call {
    ($place:expr, $row:ident($($arg:expr),*)) => {
        match $place {
            // SAFETY: what the row's callee takes, on a system stack.
            Place::NeverReadingTls => unsafe { $row::no_g($($arg),*) },
            // SAFETY: likewise, on any stack.
            #[allow(unused_unsafe, reason = "most rows are safe")]
            place => place.run(|| unsafe { $row($($arg),*) }),
        }
    };
}

/// A value for each case and position: in the first two cases no two positions have the same.
trait Sample: Copy {
    fn sample(case: usize, position: usize) -> Self;
    /// Its bits, extended to 64 by its sign.
    fn bits(self) -> u64;
}

const CASES: usize = 5;
/// The position of a result.
const RESULT: usize = 12;

macro_rules! integers {
    ($($t:ty)*) => {$(
        impl Sample for $t {
            fn sample(case: usize, position: usize) -> $t {
                let step = 0x0101_0101_0101_0101 * position as u64;
                match (case, position % 2) {
                    // With the top bit of every width set, and clear.
                    (0, _) => (0x8182_8384_8586_8788 + step) as $t,
                    (1, _) => (0x1112_1314_1516_1718 + step) as $t,
                    (2, 0) | (3, 1) => <$t>::MIN,
                    (2, _) | (3, _) => <$t>::MAX,
                    (_, 0) => 0,
                    _ => !0,
                }
            }
            fn bits(self) -> u64 {
                self as u64
            }
        }
    )*};
}

macro_rules! floats {
    ($($t:ty)*) => {$(
        impl Sample for $t {
            fn sample(case: usize, position: usize) -> $t {
                match (case, position % 2) {
                    (0, _) => -1.0 / (position as $t + 3.0),
                    (1, _) => position as $t * 1e30 + 0.1,
                    (2, 0) | (3, 1) => <$t>::MIN,
                    (2, _) | (3, _) => <$t>::MAX,
                    (_, 0) => -0.0,
                    _ => <$t>::MIN_POSITIVE / 4.0,
                }
            }
            fn bits(self) -> u64 {
                self.to_bits().into()
            }
        }
    )*};
}

integers!(i8 u8 i16 u16 i32 u32 i64 u64 isize usize);
floats!(f32 f64);

impl Sample for bool {
    fn sample(case: usize, position: usize) -> bool {
        (case + position).is_multiple_of(2)
    }
    fn bits(self) -> u64 {
        self.into()
    }
}

impl Sample for *mut u8 {
    fn sample(case: usize, position: usize) -> *mut u8 {
        usize::sample(case, position) as *mut u8
    }
    fn bits(self) -> u64 {
        self as u64
    }
}

impl Sample for () {
    fn sample(_: usize, _: usize) {}
    fn bits(self) -> u64 {
        0
    }
}

thread_local! {
    static CASE: Cell<usize> = const { Cell::new(0) };
    static HEARD: Cell<Vec<u64>> = const { Cell::new(Vec::new()) };
}

/// For each prototype a callee that writes down what it heard, its row, and a check of one case.
macro_rules! echoes {
    ($($name:ident($($arg:ident: $t:ty),*) $(-> $r:ty)?;)+) => {
        mod callee {
            use super::*;
            $(
                pub extern "C" fn $name($($arg: $t),*) $(-> $r)? {
                    HEARD.set(vec![$($arg.bits()),*]);
                    Sample::sample(CASE.get(), RESULT)
                }
            )+
        }

        nosplit::calls! {$(
            fn $name($($arg: $t),*) $(-> $r)? = callee::$name [never fails; in user system signal no_g];
        )+}

        const ECHOES: &[fn(usize, Place)] = &[$(
            |case, place| {
                #[allow(unused, reason = "where there are no arguments")]
                let mut position = 0..;
                $(let $arg = <$t>::sample(case, position.next().unwrap());)*
                CASE.set(case);
                let returned = call!(place, $name($($arg),*));
                let sent: Vec<u64> = vec![$($arg.bits()),*];
                assert_eq!(HEARD.take(), sent, "{} case {case} {place:?}: arguments", stringify!($name));
                let answer = { $(<$r as Sample>::sample(case, RESULT))? };
                assert_eq!(returned.bits(), answer.bits(), "{} case {case} {place:?}: result", stringify!($name));
            },
        )+];
    };
}

echoes! {
    nothing();
    only_result() -> i32;
    // Each type alone, there and back.
    one_i8(a: i8) -> i8;
    one_u8(a: u8) -> u8;
    one_i16(a: i16) -> i16;
    one_u16(a: u16) -> u16;
    one_i32(a: i32) -> i32;
    one_u32(a: u32) -> u32;
    one_i64(a: i64) -> i64;
    one_u64(a: u64) -> u64;
    one_isize(a: isize) -> isize;
    one_usize(a: usize) -> usize;
    one_bool(a: bool) -> bool;
    one_pointer(a: *mut u8) -> *mut u8;
    one_f32(a: f32) -> f32;
    one_f64(a: f64) -> f64;
    // Every count; 64-bit values at odd positions, which i386 does not align.
    two(a: i32, b: i64) -> i64;
    three(a: *mut u8, b: u64, c: i16);
    four(a: u8, b: i64, c: u32, d: u64) -> u16;
    five(a: i8, b: f64, c: u64, d: f32, e: i64) -> f64;
    six(a: u16, b: i16, c: u8, d: i8, e: bool, f: u32) -> bool;
    seven(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32, g: i32) -> i8;
    eight(a: u64, b: u8, c: u64, d: u16, e: u64, f: u32, g: u64, h: bool) -> u32;
    nine(a: i8, b: i8, c: i8, d: i8, e: i8, f: i8, g: i8, h: i8, i: i8) -> i16;
    ten(a: i64, b: i64, c: i64, d: i64, e: i64, f: i64, g: i64, h: i64, i: i64, j: i64) -> u64;
    eleven(a: bool, b: u16, c: f32, d: i64, e: i8, f: f64, g: u32, h: *mut u8, i: i16, j: f32,
        k: u64) -> *mut u8;
    twelve(a: i8, b: u8, c: i16, d: u16, e: i32, f: u32, g: i64, h: u64, i: isize, j: usize,
        k: bool, l: *mut u8) -> usize;
    twelve_reversed(a: *mut u8, b: bool, c: usize, d: isize, e: u64, f: i64, g: u32, h: i32,
        i: u16, j: i16, k: u8, l: i8) -> isize;
    // A float before the first integer, which shares its register with the packed arguments.
    float_first(a: f64, b: i32) -> f64;
    floats_first(a: f32, b: f64, c: u8, d: f32, e: *mut u8) -> f32;
    // More floats than registers.
    twelve_doubles(a: f64, b: f64, c: f64, d: f64, e: f64, f: f64, g: f64, h: f64, i: f64, j: f64,
        k: f64, l: f64) -> f64;
    twelve_singles(a: f32, b: f32, c: f32, d: f32, e: f32, f: f32, g: f32, h: f32, i: f32, j: f32,
        k: f32, l: f32) -> f32;
    // Mixed sizes on the stack: Apple's arm64 packs them.
    packed_up(a: i64, b: i64, c: i64, d: i64, e: i64, f: i64, g: i64, h: i64, i: i8, j: i16,
        k: i32, l: i64) -> i32;
    packed_down(a: u64, b: u64, c: u64, d: u64, e: u64, f: u64, g: u64, h: u64, i: u64, j: u32,
        k: u16, l: u8) -> u8;
    packed_bytes(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32, g: i32, h: i32, i: bool, j: u8,
        k: i8, l: u16);
    packed_floats(a: f64, b: f64, c: f64, d: f64, e: f64, f: f64, g: f64, h: f64, i: f32, j: i8,
        k: f64, l: f32) -> i64;
}

#[test]
fn arguments_and_results_arrive_as_c_passes_them() {
    for check in ECHOES {
        for case in 0..CASES {
            everywhere(|place| check(case, place));
        }
    }
}

mod wide {
    /// A callee that looks at all 32 bits of its arguments.
    #[unsafe(no_mangle)]
    extern "C" fn nosplit_echo_narrow(a: i32, b: u32, c: i32, d: u32, e: u32) {
        super::HEARD.set(vec![a as u64, b.into(), c as u64, d.into(), e.into()]);
    }
}

unsafe extern "C" {
    safe fn nosplit_echo_narrow(a: i8, b: u8, c: i16, d: u16, e: bool);
}

nosplit::calls! {
    fn narrow(a: i8, b: u8, c: i16, d: u16, e: bool)
        = nosplit_echo_narrow [never fails; in user system signal no_g];
}

/// rustc's callees extend narrow arguments themselves; clang's count on it that the caller did.
#[test]
fn narrow_arguments_are_extended_by_their_sign() {
    let (a, b, c, d, e) = (i8::MIN, u8::MAX, -2i16, u16::MAX, true);
    everywhere(|place| {
        call!(place, narrow(a, b, c, d, e));
        let sent = [a.bits(), b.bits(), c.bits(), d.bits(), e.bits()];
        assert_eq!(HEARD.take(), sent, "{place:?}");
    });
}

/// How a callee ends.
#[derive(Clone, Copy, Debug)]
struct Ending {
    value: u64,
    /// What it stores in errno; `None`: it leaves errno alone.
    errno: Option<c_int>,
}

thread_local! {
    static ENDING: Cell<Ending> = const { Cell::new(Ending { value: 0, errno: None }) };
}

fn set_errno(errno: c_int) {
    // SAFETY: errno of this thread.
    unsafe { *nosplit::arch::errno_location() = errno };
}

/// What the wrapper must make of it; `None` if no function of that convention ends like this.
fn promised<R: PartialEq>(
    end: Ending,
    value: R,
    failure: R,
    ambiguous: bool,
) -> Option<Result<R, Errno>> {
    match end.errno {
        _ if value != failure => Some(Ok(value)),
        Some(errno) => Some(Err(Errno::new(errno))),
        None => ambiguous.then_some(Ok(value)),
    }
}

/// For each convention and type a callee that ends as it is told, and a check of one ending.
macro_rules! endings {
    ($($name:ident: $r:ty [$($how:tt)+] $failure:expr, ambiguous: $ambiguous:literal;)+) => {
        mod ending {
            use super::*;
            $(
                pub extern "C" fn $name() -> $r {
                    let end = ENDING.get();
                    if let Some(errno) = end.errno {
                        set_errno(errno);
                    }
                    end.value as $r
                }
            )+
        }

        nosplit::calls! {$(
            fn $name() -> $r = ending::$name [$($how)+; in user system signal no_g];
        )+}

        /// The same rows for those that handlers must not call: other entries.
        mod checked {
            use super::*;
            nosplit::calls! {$(
                pub fn $name() -> $r = ending::$name [$($how)+; in user system];
            )+}
        }

        const ENDINGS: &[fn(Ending, Place)] = &[$(
            |end, place| {
                let Some(promised) = promised(end, end.value as $r, $failure, $ambiguous) else {
                    return;
                };
                ENDING.set(end);
                set_errno(libc::EDOM);
                assert_eq!(call!(place, $name()), promised, "{} {end:x?} {place:?}", stringify!($name));
                set_errno(libc::EDOM);
                assert_eq!(place.run(checked::$name), promised, "checked {} {end:x?} {place:?}", stringify!($name));
            },
        )+];
    };
}

endings! {
    minus_one_i32: i32 [fails with -1] -1, ambiguous: false;
    minus_one_u32: u32 [fails with -1] !0, ambiguous: false;
    minus_one_isize: isize [fails with -1] -1, ambiguous: false;
    minus_one_usize: usize [fails with -1] !0, ambiguous: false;
    minus_one_i64: i64 [fails with -1] -1, ambiguous: false;
    minus_one_u64: u64 [fails with -1] !0, ambiguous: false;
    mut_null: *mut u8 [fails with NULL] null_mut(), ambiguous: false;
    const_null: *const u8 [fails with NULL] null(), ambiguous: false;
    map_failed: *mut u8 [fails with MAP_FAILED] !0 as *mut u8, ambiguous: false;
    ambiguous_i32: i32 [fails with -1 if errno] -1, ambiguous: true;
    ambiguous_isize: isize [fails with -1 if errno] -1, ambiguous: true;
    ambiguous_i64: i64 [fails with -1 if errno] -1, ambiguous: true;
    ambiguous_null: *mut u8 [fails with NULL if errno] null_mut(), ambiguous: true;
}

#[test]
fn failures_are_told_by_the_convention_in_its_own_width() {
    const LOW: u64 = 0xffff_ffff;
    let values = [0, 1, !0, !1, 1 << 31, 1 << 63, LOW, !LOW, !0 >> 1];
    let errnos = [None, Some(libc::EBADF), Some(c_int::MIN)];
    for check in ENDINGS {
        for value in values {
            for errno in errnos {
                everywhere(|place| check(Ending { value, errno }, place));
            }
        }
    }
}

nosplit::calls! {
    unsafe fn print_int(to: *mut c_char, size: usize, format: *const c_char, ... a: c_int)
        -> c_int = libc::snprintf [never fails; in user system signal no_g];
    unsafe fn print_integers(to: *mut c_char, size: usize, format: *const c_char, ... a: c_int,
        b: c_longlong, c: c_uint, d: c_long, e: *const c_char, f: c_longlong, g: c_int, h: usize,
        i: c_int) -> c_int = libc::snprintf [never fails; in user system signal no_g];
    unsafe fn print_floats(to: *mut c_char, size: usize, format: *const c_char, ... a: c_double,
        b: c_double, c: c_double, d: c_double, e: c_double, f: c_double, g: c_double, h: c_double,
        i: c_double) -> c_int = libc::snprintf [never fails; in user system signal no_g];
    unsafe fn print_mixed(to: *mut c_char, size: usize, format: *const c_char, ... a: c_int,
        b: c_double, c: c_longlong, d: c_double, e: *const c_char, f: c_uint, g: c_double,
        h: c_long, i: c_int) -> c_int = libc::snprintf [never fails; in user system signal no_g];
}

#[test]
#[rustfmt::skip::macros(print)]
fn variadic_arguments_arrive_where_c_looks_for_them() {
    const WORD: *const c_char = c"word".as_ptr();
    type Print = fn(Place, *mut c_char, usize) -> c_int;
    macro_rules! print {
        ($row:ident, $format:literal, $($arg:expr),+) => {
            |place, to, size| call!(place, $row(to, size, $format.as_ptr(), $($arg),+))
        };
    }
    let cases: &[(Print, &str)] = &[
        (print!(print_int, c"%d", c_int::MIN), "-2147483648"),
        (print!(print_int, c"%c", b'c'.into()), "c"),
        (
            print!(print_integers, c"%d %lld %u %ld %s %lld %d %zu %d",
                -1, -2, 3 << 30, -4, WORD, i64::MAX, c_int::MAX, 8, -9),
            "-1 -2 3221225472 -4 word 9223372036854775807 2147483647 8 -9",
        ),
        (
            print!(print_floats, c"%g %g %g %g %g %g %g %g %g",
                1.5, -2.5, 3.5, -4.5, 5.5, -6.5, 7.5, -8.5, 1e300),
            "1.5 -2.5 3.5 -4.5 5.5 -6.5 7.5 -8.5 1e+300",
        ),
        (
            print!(print_mixed, c"%d %g %lld %g %s %u %g %ld %d",
                -1, 0.5, i64::MIN, -1.5, WORD, c_uint::MAX, 2.5, -8, 9),
            "-1 0.5 -9223372036854775808 -1.5 word 4294967295 2.5 -8 9",
        ),
    ];
    for (print, expected) in cases {
        everywhere(|place| {
            let mut text = [0u8; 128];
            let length = print(place, text.as_mut_ptr().cast(), text.len());
            assert_eq!(
                str::from_utf8(&text[..length as usize]),
                Ok(*expected),
                "{place:?}"
            );
        });
    }
}
