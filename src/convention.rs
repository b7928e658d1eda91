//! How C functions report failure, and what a wrapper makes of it.
//!
//! The test itself is asmcgocall's, in the assembly: one entry for each convention reads errno on
//! the thread and the stack of the call, and only if the result says that it failed.

use crate::arch::{self, Outcome, Trampoline};
use crate::errno::{Errno, KernReturn};
use crate::table::{Contexts, Row};
use core::ffi::{c_int, c_void};

/// asmcgocall, for a row that handlers may call.
pub const OPEN: u8 = 0;
/// asmcgocall, which aborts when a handler of the layer calls it.
pub const CHECKED: u8 = 1;
/// asmcgocall_no_g, which never reads TLS.
pub const NO_G: u8 = 2;

/// The variant for a row of these contexts.
pub const fn how(contexts: Contexts) -> u8 {
    if contexts.contains(Contexts::SIGNAL) {
        OPEN
    } else {
        CHECKED
    }
}

/// A type that a C function behind a row may return.
///
/// # Safety
///
/// Every bit pattern that such a C function leaves must be a value of the type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of a nosplit row",
    note = "a row returns nothing, an integer, a float or a pointer"
)]
pub unsafe trait Ret: Copy {}

macro_rules! results {
    ($($t:ty)*) => {$(
        // SAFETY: a primitive of C.
        unsafe impl Ret for $t {}
    )*};
}

results!(() bool i8 i16 i32 i64 isize u8 u16 u32 u64 usize f32 f64);
// SAFETY: any word is a pointer.
unsafe impl<T> Ret for *mut T {}
// SAFETY: as above.
unsafe impl<T> Ret for *const T {}

/// How a C function that returns `R` reports failure.
///
/// # Safety
///
/// `call` must use the entry that tests what this convention says.
#[diagnostic::on_unimplemented(
    message = "a nosplit row that returns `{R}` cannot fail by this convention",
    note = "-1: an integer of 32 or 64 bits or a word; NULL and MAP_FAILED: a pointer; errno and kern_return_t: c_int"
)]
pub unsafe trait Convention<R> {
    /// What the wrapper returns.
    type Output;

    /// Calls by the entry of this convention and of `HOW`.
    ///
    /// # Safety
    ///
    /// `args` and `trampoline` must be of the same row, and the C function one that returns `R`.
    unsafe fn call<const HOW: u8>(
        args: *mut c_void,
        trampoline: Trampoline,
        row: &'static Row,
    ) -> Self::Output;
}

/// There is no failure.
#[derive(Debug)]
pub struct Never;
/// -1, in the width of the result, and errno.
#[derive(Debug)]
pub struct MinusOne;
/// NULL and errno.
#[derive(Debug)]
pub struct Null;
/// MAP_FAILED and errno.
#[derive(Debug)]
pub struct MapFailed;
/// -1 or NULL may be right: it is a failure if the call set errno, which is cleared before.
#[derive(Debug)]
pub struct Ambiguous;
/// The result is an error number or 0; errno is not used.
#[derive(Debug)]
pub struct ErrorNumber;
/// The result is a Mach error or 0.
#[derive(Debug)]
pub struct KernReturnValue;

/// Calls one of the three variants of an entry.
macro_rules! enter {
    ($args:expr, $trampoline:expr, $row:expr, $open:ident, $checked:ident, $no_g:ident) => {
        if HOW == NO_G {
            arch::$no_g($args, $trampoline)
        } else if HOW == CHECKED {
            arch::$checked($args, $trampoline, $row)
        } else {
            // Without a check nobody reads the row: its address is not worth an instruction.
            arch::$open($args, $trampoline, core::ptr::null())
        }
    };
}

// SAFETY: no test at all; the result stays in the registers of its type.
unsafe impl<R: Ret> Convention<R> for Never {
    type Output = R;

    #[inline(always)]
    unsafe fn call<const HOW: u8>(
        args: *mut c_void,
        trampoline: Trampoline,
        row: &'static Row,
    ) -> R {
        type Entry<R> = unsafe extern "C" fn(*mut c_void, Trampoline, *const Row) -> R;
        // SAFETY: the plain entries return what the C function left, so they have its type; a
        // function that takes fewer arguments ignores the third.
        unsafe {
            let (entry, row) = if HOW == NO_G {
                (arch::asmcgocall_no_g as *const (), core::ptr::null())
            } else if HOW == CHECKED {
                (arch::checked_asmcgocall as *const (), row as *const Row)
            } else {
                (arch::asmcgocall as *const (), core::ptr::null())
            };
            core::mem::transmute::<*const (), Entry<R>>(entry)(args, trampoline, row)
        }
    }
}

/// A result that one register of a pair can carry beside errno.
trait Word: Ret {
    fn from_outcome(outcome: Outcome) -> Self;
}

macro_rules! words {
    ($($t:ty)*) => {$(
        impl Word for $t {
            #[inline(always)]
            fn from_outcome(outcome: Outcome) -> $t {
                outcome.value() as $t
            }
        }
    )*};
}

words!(i32 u32 isize usize);

impl<T> Word for *mut T {
    #[inline(always)]
    fn from_outcome(outcome: Outcome) -> *mut T {
        outcome.value() as *mut T
    }
}

impl<T> Word for *const T {
    #[inline(always)]
    fn from_outcome(outcome: Outcome) -> *const T {
        outcome.value() as *const T
    }
}

#[inline(always)]
fn result<R: Word>(outcome: Outcome) -> Result<R, Errno> {
    match outcome.errno() {
        0 => Ok(R::from_outcome(outcome)),
        errno => Err(Errno::new(errno)),
    }
}

/// Implements a convention whose entries return an outcome.
macro_rules! convention {
    ($convention:ident<$r:ty> $([$($generic:tt)+])?: $open:ident $checked:ident $no_g:ident) => {
        // SAFETY: the entry tests the value that the convention names, in the width of the result.
        unsafe impl$(<$($generic)+>)? Convention<$r> for $convention {
            type Output = Result<$r, Errno>;

            #[inline(always)]
            unsafe fn call<const HOW: u8>(
                args: *mut c_void,
                trampoline: Trampoline,
                row: &'static Row,
            ) -> Result<$r, Errno> {
                // SAFETY: the caller's word.
                result(unsafe { enter!(args, trampoline, row, $open, $checked, $no_g) })
            }
        }
    };
}

convention!(MinusOne<i32>: asmcgocall_i32 checked_asmcgocall_i32 asmcgocall_no_g_i32);
convention!(MinusOne<u32>: asmcgocall_i32 checked_asmcgocall_i32 asmcgocall_no_g_i32);
convention!(MinusOne<isize>: asmcgocall_word checked_asmcgocall_word asmcgocall_no_g_word);
convention!(MinusOne<usize>: asmcgocall_word checked_asmcgocall_word asmcgocall_no_g_word);
convention!(Null<*mut T> [T]: asmcgocall_null checked_asmcgocall_null asmcgocall_no_g_null);
convention!(Null<*const T> [T]: asmcgocall_null checked_asmcgocall_null asmcgocall_no_g_null);
convention!(MapFailed<*mut T> [T]: asmcgocall_word checked_asmcgocall_word asmcgocall_no_g_word);

cfg_if::cfg_if! {
    if #[cfg(target_pointer_width = "64")] {
        words!(i64 u64);
        convention!(MinusOne<i64>: asmcgocall_word checked_asmcgocall_word asmcgocall_no_g_word);
        convention!(MinusOne<u64>: asmcgocall_word checked_asmcgocall_word asmcgocall_no_g_word);
        convention!(Ambiguous<i64>: asmcgocall_ambiguous_word checked_asmcgocall_ambiguous_word asmcgocall_no_g_ambiguous_word);
    } else {
        // Two registers hold the value: errno comes back by a pointer.
        macro_rules! wide {
            ($convention:ident<$r:ty>: $open:ident $checked:ident $no_g:ident) => {
                // SAFETY: the entry tests all 64 bits.
                unsafe impl Convention<$r> for $convention {
                    type Output = Result<$r, Errno>;

                    #[inline(always)]
                    unsafe fn call<const HOW: u8>(
                        args: *mut c_void,
                        trampoline: Trampoline,
                        row: &'static Row,
                    ) -> Result<$r, Errno> {
                        let mut errno: c_int = 0;
                        // SAFETY: the caller's word.
                        let value = unsafe {
                            if HOW == NO_G {
                                arch::$no_g(args, trampoline, core::ptr::null(), &mut errno)
                            } else if HOW == CHECKED {
                                arch::$checked(args, trampoline, row, &mut errno)
                            } else {
                                arch::$open(args, trampoline, core::ptr::null(), &mut errno)
                            }
                        };
                        match errno {
                            0 => Ok(value as $r),
                            errno => Err(Errno::new(errno)),
                        }
                    }
                }
            };
        }

        wide!(MinusOne<i64>: asmcgocall_i64 checked_asmcgocall_i64 asmcgocall_no_g_i64);
        wide!(MinusOne<u64>: asmcgocall_i64 checked_asmcgocall_i64 asmcgocall_no_g_i64);
        wide!(Ambiguous<i64>: asmcgocall_ambiguous_i64 checked_asmcgocall_ambiguous_i64 asmcgocall_no_g_ambiguous_i64);
    }
}

convention!(Ambiguous<i32>: asmcgocall_ambiguous_i32 checked_asmcgocall_ambiguous_i32 asmcgocall_no_g_ambiguous_i32);
convention!(Ambiguous<isize>: asmcgocall_ambiguous_word checked_asmcgocall_ambiguous_word asmcgocall_no_g_ambiguous_word);
convention!(Ambiguous<*mut T> [T]: asmcgocall_ambiguous_null checked_asmcgocall_ambiguous_null asmcgocall_no_g_ambiguous_null);

// SAFETY: the number is the result; the plain entry leaves it alone.
unsafe impl Convention<c_int> for ErrorNumber {
    type Output = Result<(), Errno>;

    #[inline(always)]
    unsafe fn call<const HOW: u8>(
        args: *mut c_void,
        trampoline: Trampoline,
        row: &'static Row,
    ) -> Result<(), Errno> {
        // SAFETY: the caller's word.
        match unsafe { <Never as Convention<c_int>>::call::<HOW>(args, trampoline, row) } {
            0 => Ok(()),
            number => Err(Errno::new(number)),
        }
    }
}

// SAFETY: as for error numbers.
unsafe impl Convention<c_int> for KernReturnValue {
    type Output = Result<(), KernReturn>;

    #[inline(always)]
    unsafe fn call<const HOW: u8>(
        args: *mut c_void,
        trampoline: Trampoline,
        row: &'static Row,
    ) -> Result<(), KernReturn> {
        // SAFETY: the caller's word.
        match unsafe { <Never as Convention<c_int>>::call::<HOW>(args, trampoline, row) } {
            0 => Ok(()),
            number => Err(KernReturn::new(number)),
        }
    }
}
