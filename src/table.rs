//! The call table: what is known of a row, and the macro that makes everything out of it.

use crate::abi::Plan;
use crate::arch::Trampoline;
use core::fmt;

/// One row of a call table, for programs that read it: `doctor`, tests, a manifest of imports.
#[derive(Debug)]
pub struct Row {
    /// The name of the wrapper.
    pub name: &'static str,
    /// The path of the C function's declaration.
    pub function: &'static str,
    /// Names and types of the arguments, as written.
    pub arguments: &'static [(&'static str, &'static str)],
    /// The type that the C function returns, as written; empty for void.
    pub result: &'static str,
    /// How a failure shows, as written: `"fails with -1"`.
    pub convention: &'static str,
    /// Where it may be called.
    pub contexts: Contexts,
    /// May the C function block?
    pub blocking: bool,
    /// Where the arguments travel on this target.
    pub plan: Plan,
    /// Bytes of the packed arguments.
    pub packed: usize,
    /// What `asmcgocall` runs for this row.
    pub trampoline: Trampoline,
}

/// A set of contexts in which a row may be called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Contexts(u8);

impl Contexts {
    /// On the stack of a G.
    pub const USER: Contexts = Contexts(1);
    /// On the stack that the OS gave the thread.
    pub const SYSTEM: Contexts = Contexts(2);
    /// In a signal handler, on whichever stack.
    pub const SIGNAL: Contexts = Contexts(4);
    /// In the child of a fork, before exec.
    pub const FORK: Contexts = Contexts(8);
    /// On a thread without a g: never attached, or attached no more.
    pub const NO_G: Contexts = Contexts(16);

    const NAMES: [(Contexts, &'static str); 5] = [
        (Contexts::USER, "user"),
        (Contexts::SYSTEM, "system"),
        (Contexts::SIGNAL, "signal"),
        (Contexts::FORK, "fork"),
        (Contexts::NO_G, "no g"),
    ];

    /// No context at all.
    pub const fn empty() -> Contexts {
        Contexts(0)
    }

    /// These contexts and those.
    pub const fn or(self, other: Contexts) -> Contexts {
        Contexts(self.0 | other.0)
    }

    /// Are all of `other` among these?
    pub const fn contains(self, other: Contexts) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of these contexts.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Contexts::NAMES
            .into_iter()
            .filter(move |&(c, _)| self.contains(c))
            .map(|(_, name)| name)
    }
}

impl fmt::Debug for Contexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// Makes C functions callable from any stack, each in one line.
///
/// ```
/// use core::ffi::{c_int, c_long};
///
/// mod ffi {
///     use core::ffi::c_long;
///     unsafe extern "C" {
///         /// stdlib.h
///         pub safe fn labs(x: c_long) -> c_long;
///     }
/// }
///
/// nosplit::calls! {
///     /// The absolute value of `x`.
///     pub fn labs(x: c_long) -> c_long = ffi::labs [never fails; in user system signal no_g];
///
///     /// Duplicates a descriptor.
///     pub fn dup(fd: c_int) -> c_int = libc::dup [fails with -1; in user system signal fork no_g];
/// }
///
/// assert_eq!(labs(-7), 7);
/// assert_eq!(dup(-1), Err(nosplit::Errno::EBADF));
/// assert_eq!(dup::ROW.name, "dup");
/// ```
///
/// A row is a prototype, the path of the function's declaration, and in brackets how it fails,
/// where it may be called (`user`, `system`, `signal`, `fork`, `no_g`) and, if it may, that it
/// `blocks`. `unsafe fn` makes the wrapper unsafe; a row without `unsafe` promises that no
/// argument can break memory safety.
///
/// | how it fails | result `T` | the wrapper returns |
/// |---|---|---|
/// | `never fails` | any or none | `T` |
/// | `never returns` | `!` | `!` |
/// | `fails with -1` | an integer of 32 bits or a word or 64 bits; tested in its own width | `Result<T, Errno>` |
/// | `fails with NULL` | a pointer | `Result<*mut T, Errno>` |
/// | `fails with MAP_FAILED` | a pointer | `Result<*mut T, Errno>` |
/// | `fails with -1 if errno` | an integer for which -1 may be right: errno is cleared before | `Result<T, Errno>` |
/// | `fails with NULL if errno` | likewise a pointer | `Result<*mut T, Errno>` |
/// | `returns errno` | `c_int`, an error number or 0 | `Result<(), Errno>` |
/// | `returns kern_return_t` | `c_int`, a Mach error or 0 | `Result<(), KernReturn>` |
///
/// The failure itself is what the C function leaves in errno: -1 with errno 0 is no failure.
///
/// Variadic arguments follow `...`, as the row uses them, each of its promoted type:
/// `fn open(path: *const c_char, flags: c_int, ... mode: c_uint) -> c_int = libc::open [..];`
///
/// The prototype is held against the declaration at compile time. Up to 12 arguments: integers,
/// pointers, C function pointers, `f32` and `f64`. What cannot be expressed does not compile:
///
/// ```compile_fail
/// #[derive(Clone, Copy)]
/// #[repr(C)]
/// pub struct Pair(u64, u64);
/// unsafe extern "C" { fn by_value(pair: Pair) -> i32; }
/// nosplit::calls! {
///     pub unsafe fn take(pair: Pair) -> i32 = by_value [never fails; in user];
/// }
/// ```
///
/// Beside the wrapper, a row makes a type of the same name: its packed arguments, with `ROW` (the
/// [`Row`]), `trampoline`, and `no_g`, the call by `asmcgocall_no_g`, which never reads TLS.
/// `pub static NAME;` before the first row makes `NAME: &[&Row]`, the table of these rows.
#[macro_export]
macro_rules! calls {
    ($(#[$meta:meta])* $vis:vis static $table:ident; $($rows:tt)+) => {
        $crate::calls! { @ {$(#[$meta])* $vis static $table} $($rows)+ }
    };
    (
        @ {$($table:tt)*}
        $(
            $(#[$meta:meta])*
            $vis:vis $(unsafe $(@ $never:tt)?)? fn $name:ident(
                $($arg:ident: $t:ty),* $(, ... $(@ $dots:tt)? $($extra:ident: $u:ty),+)? $(,)?
            ) $(-> $r:ty)? = $f:path [$($clauses:tt)+];
        )+
    ) => {
        $crate::__table! { {$($table)*} $($name)+ }
        $(
            #[doc = concat!("The packed arguments of [`", stringify!($name), "()`], and its row.")]
            #[allow(non_camel_case_types)]
            #[derive(Clone, Copy)]
            #[repr(C)]
            $vis struct $name {
                $($arg: $t,)*
                $($($extra: $u,)+)?
            }

            const _: unsafe extern "C" fn($($t,)* $(... $($dots)?)?) $(-> $r)? = $f;

            #[allow(dead_code)]
            impl $name {
                const PLAN: $crate::abi::Plan = {
                    const KINDS: &[$crate::abi::Kind] = &[
                        $(<$t as $crate::abi::Arg>::KIND,)*
                        $($(<$u as $crate::abi::Arg>::KIND,)+)?
                    ];
                    const NAMED: usize = <[&str]>::len(&[$(stringify!($arg)),*]);
                    $crate::abi::Plan::new(
                        $crate::arch::assign(KINDS, NAMED),
                        KINDS,
                        &[
                            $(::core::mem::offset_of!($name, $arg),)*
                            $($(::core::mem::offset_of!($name, $extra),)+)?
                        ],
                        NAMED,
                    )
                };

                /// What is known of this row.
                pub const ROW: $crate::Row = $crate::Row {
                    name: stringify!($name),
                    function: stringify!($f),
                    arguments: &[
                        $((stringify!($arg), stringify!($t)),)*
                        $($((stringify!($extra), stringify!($u)),)+)?
                    ],
                    result: concat!($(stringify!($r))?),
                    convention: $crate::__convention_text!($($clauses)+),
                    contexts: $crate::__contexts!($($clauses)+),
                    blocking: $crate::__blocks!($($clauses)+),
                    plan: $name::PLAN,
                    packed: ::core::mem::size_of::<$name>(),
                    trampoline: $name::trampoline,
                };

                /// Loads the packed arguments and calls the C function.
                ///
                /// # Safety
                ///
                /// `args` must point to this row's packed arguments, and hold what the C function
                /// may be called with.
                #[unsafe(naked)]
                pub unsafe extern "C" fn trampoline(args: *mut ::core::ffi::c_void) {
                    $crate::__trampoline!($name::PLAN, $f)
                }

                $crate::__wrapper! {
                    [$($clauses)+]
                    /// The same call by `asmcgocall_no_g`: never reads TLS, stays on the caller's
                    /// stack.
                    ///
                    /// # Safety
                    ///
                    /// As the row; and the stack must have room for the C function.
                    { pub unsafe fn no_g } $name
                    ($($arg: $t,)* $($($extra: $u,)+)?) {$($r)?} no_g
                }
            }

            $crate::__wrapper! {
                [$($clauses)+]
                $(#[$meta])*
                ///
                #[doc = $crate::__row_text!($f; $($clauses)+)]
                { $vis $(unsafe $($never)?)? fn $name } $name
                ($($arg: $t,)* $($($extra: $u,)+)?) {$($r)?} by_row
            }
        )+
    };
    (@ $($rows:tt)*) => {
        compile_error!("nosplit: a row is [pub] [unsafe] fn NAME(ARGUMENT: TYPE, ..) [-> TYPE] = PATH [HOW IT FAILS; in CONTEXT..]; where variadic arguments follow `...`, behind a named one");
    };
    ($($rows:tt)+) => {
        $crate::calls! { @ {} $($rows)+ }
    };
}

/// The table of the rows, if one is asked for.
#[doc(hidden)]
#[macro_export]
macro_rules! __table {
    ({} $($name:ident)+) => {};
    ({$(#[$meta:meta])* $vis:vis static $table:ident} $($name:ident)+) => {
        $(#[$meta])*
        $vis static $table: &[&$crate::Row] = &[$(&$name::ROW),+];
    };
}

/// The wrapper of a row: packs the arguments, calls asmcgocall, makes a `Result` of the outcome.
#[doc(hidden)]
#[macro_export]
macro_rules! __wrapper {
    ([never returns $($rest:tt)*] $(#[$meta:meta])* { $($head:tt)+ } $row:ident ($($arg:ident: $t:ty,)*) {$r:ty} $how:ident) => {
        $(#[$meta])*
        #[inline]
        #[allow(clippy::too_many_arguments)]
        $($head)+($($arg: $t),*) -> ! {
            const _: fn() -> $r = {
                fn what_never_returns_has_no_result() -> ! {
                    loop {}
                }
                what_never_returns_has_no_result
            };
            let mut args = $row { $($arg),* };
            // SAFETY: the arguments are this row's, and live until the call returns; the caller,
            // or for a safe row its author, answers for what is in them.
            unsafe {
                <$crate::convention::Never as $crate::convention::Convention<()>>::call::<{ $crate::__how!($how, $row) }>(
                    (&raw mut args).cast(), $row::trampoline, &$row::ROW);
            }
            $crate::fatal::fatal(stringify!($row), "returned, and never may", None)
        }
    };
    ([$($clauses:tt)+] $(#[$meta:meta])* { $($head:tt)+ } $row:ident ($($arg:ident: $t:ty,)*) {$($r:ty)?} $how:ident) => {
        $(#[$meta])*
        #[inline]
        #[allow(clippy::too_many_arguments)]
        $($head)+($($arg: $t),*) -> $crate::__output!([$($clauses)+] $($r)?) {
            let mut args = $row { $($arg),* };
            // SAFETY: the arguments are this row's, and live until the call returns; the caller,
            // or for a safe row its author, answers for what is in them.
            unsafe {
                <$crate::__convention!($($clauses)+) as $crate::convention::Convention<$crate::__result!($($r)?)>>::call::<{ $crate::__how!($how, $row) }>(
                    (&raw mut args).cast(), $row::trampoline, &$row::ROW)
            }
        }
    };
}

/// By which variant of asmcgocall a row goes.
#[doc(hidden)]
#[macro_export]
macro_rules! __how {
    (no_g, $row:ident) => {
        $crate::convention::NO_G
    };
    (by_row, $row:ident) => {
        $crate::convention::how($row::ROW.contexts)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __output {
    ([$($clauses:tt)+] $($r:ty)?) => {
        <$crate::__convention!($($clauses)+) as $crate::convention::Convention<$crate::__result!($($r)?)>>::Output
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __result {
    () => {
        ()
    };
    ($r:ty) => {
        $r
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __convention {
    (never $what:ident; $($rest:tt)*) => { $crate::convention::Never };
    (fails with -1; $($rest:tt)*) => { $crate::convention::MinusOne };
    (fails with NULL; $($rest:tt)*) => { $crate::convention::Null };
    (fails with MAP_FAILED; $($rest:tt)*) => { $crate::convention::MapFailed };
    (fails with -1 if errno; $($rest:tt)*) => { $crate::convention::Ambiguous };
    (fails with NULL if errno; $($rest:tt)*) => { $crate::convention::Ambiguous };
    (returns errno; $($rest:tt)*) => { $crate::convention::ErrorNumber };
    (returns kern_return_t; $($rest:tt)*) => { $crate::convention::KernReturnValue };
    ($($what:tt)*) => {
        compile_error!("nosplit: a row ends in [HOW IT FAILS; in CONTEXT...] where HOW IT FAILS is one of: never fails, never returns, fails with -1, fails with NULL, fails with MAP_FAILED, fails with -1 if errno, fails with NULL if errno, returns errno, returns kern_return_t")
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __convention_text {
    (never $what:ident; $($rest:tt)*) => {
        concat!("never ", stringify!($what))
    };
    (fails with -1; $($rest:tt)*) => {
        "fails with -1"
    };
    (fails with -1 if errno; $($rest:tt)*) => {
        "fails with -1 if errno"
    };
    (fails with $value:ident; $($rest:tt)*) => {
        concat!("fails with ", stringify!($value))
    };
    (fails with $value:ident if errno; $($rest:tt)*) => {
        concat!("fails with ", stringify!($value), " if errno")
    };
    (returns $value:ident; $($rest:tt)*) => {
        concat!("returns ", stringify!($value))
    };
    ($($what:tt)*) => {
        ""
    };
}

/// What follows the convention: `in CONTEXT... ; blocks`.
#[doc(hidden)]
#[macro_export]
macro_rules! __where {
    ($then:ident; never $what:ident; $($rest:tt)*) => { $crate::$then!($($rest)*) };
    ($then:ident; fails with -1 $(if errno)?; $($rest:tt)*) => { $crate::$then!($($rest)*) };
    ($then:ident; fails with $value:ident $(if errno)?; $($rest:tt)*) => { $crate::$then!($($rest)*) };
    ($then:ident; returns $value:ident; $($rest:tt)*) => { $crate::$then!($($rest)*) };
    ($then:ident; $($what:tt)*) => { $crate::$then!() };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __contexts {
    (in $($context:ident)+ $(; blocks)?) => {
        $crate::Contexts::empty()$(.or($crate::__context!($context)))+
    };
    () => { $crate::Contexts::empty() };
    (in $($rest:tt)*) => {
        compile_error!("nosplit: contexts are words out of: user system signal fork no_g; and only `; blocks` may follow")
    };
    ($($clauses:tt)+) => { $crate::__where!(__contexts; $($clauses)+) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __context {
    (user) => {
        $crate::Contexts::USER
    };
    (system) => {
        $crate::Contexts::SYSTEM
    };
    (signal) => {
        $crate::Contexts::SIGNAL
    };
    (fork) => {
        $crate::Contexts::FORK
    };
    (no_g) => {
        $crate::Contexts::NO_G
    };
    ($other:ident) => {
        compile_error!(concat!(
            "nosplit: `",
            stringify!($other),
            "` is no context: user, system, signal, fork, no_g"
        ))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __blocks {
    (in $($context:ident)+; blocks) => { true };
    (in $($rest:tt)*) => { false };
    () => { false };
    ($($clauses:tt)+) => { $crate::__where!(__blocks; $($clauses)+) };
}

/// The last paragraph of a wrapper's documentation.
#[doc(hidden)]
#[macro_export]
macro_rules! __row_text {
    ($f:path; $($clauses:tt)+) => {
        concat!("Row: `", stringify!($f), "`, `[", stringify!($($clauses)+), "]`.")
    };
}
