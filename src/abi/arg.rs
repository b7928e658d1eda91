//! The C types that a row may take.

use super::Kind;
use core::ffi::c_void;

/// A type that an argument of a row may have: integers, pointers and C function pointers of every
/// width, `bool`, `f32` and `f64`.
///
/// # Safety
///
/// `KIND` must describe the type as the C ABI of every supported target passes it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a nosplit row",
    label = "neither an integer, a float nor a pointer",
    note = "a row takes what travels in one register of its class, or two words on i386: integers, floats, pointers and C function pointers",
    note = "pass a struct by pointer, as libc does"
)]
pub unsafe trait Arg: Copy {
    /// Size, sign and class.
    const KIND: Kind;
}

macro_rules! args {
    ($($kind:ident: $($t:ty)*;)*) => {$($(
        // SAFETY: a primitive of this class and of the size that the compiler gives.
        unsafe impl Arg for $t {
            const KIND: Kind = Kind::$kind(size_of::<$t>());
        }
    )*)*};
}

args! {
    signed: i8 i16 i32 i64 isize;
    unsigned: u8 u16 u32 u64 usize bool;
    float: f32 f64;
}

// SAFETY: a thin pointer is an unsigned word.
unsafe impl<T> Arg for *const T {
    const KIND: Kind = Kind::unsigned(size_of::<*const c_void>());
}

// SAFETY: as above.
unsafe impl<T> Arg for *mut T {
    const KIND: Kind = Kind::unsigned(size_of::<*mut c_void>());
}

macro_rules! function_pointers {
    ($($a:ident)*) => {
        function_pointers!(@each extern "C" fn($($a),*) -> R; $($a)*);
        function_pointers!(@each unsafe extern "C" fn($($a),*) -> R; $($a)*);
    };
    (@each $t:ty; $($a:ident)*) => {
        // SAFETY: a C function pointer is an unsigned word.
        unsafe impl<R, $($a),*> Arg for $t {
            const KIND: Kind = Kind::unsigned(size_of::<$t>());
        }
        // SAFETY: `None` is the null pointer.
        unsafe impl<R, $($a),*> Arg for Option<$t> {
            const KIND: Kind = Kind::unsigned(size_of::<Option<$t>>());
        }
    };
}

function_pointers!();
function_pointers!(A);
function_pointers!(A B);
function_pointers!(A B C);
function_pointers!(A B C D);
