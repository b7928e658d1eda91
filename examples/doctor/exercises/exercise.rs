//! An exercise of one row, and the call itself.

use nosplit::{Errno, KernReturn, Row};
use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::ptr::with_exposed_provenance_mut;

/// What an exercise found: why the row failed, if it did.
pub type Verdict = Result<(), String>;

/// Where the one call takes its arguments from, and leaves its result.
///
/// Prepared on a big stack, so that the small one carries the call and nothing else.
#[repr(C, align(64))]
pub struct Slot {
    /// What is called: the wrapper, or `no_g` of its row, which has the same type.
    pub function: *const (),
    /// The arguments, a word each.
    pub args: [usize; 6],
    /// What the wrapper returned, in its own type.
    pub result: [u64; 4],
    /// SP of the frame that made the call.
    pub sp: usize,
    /// What `prepare` wants to tell the check.
    pub notes: [usize; 4],
    /// Memory for what an argument points to.
    area: UnsafeCell<[u64; 128]>,
}

impl Slot {
    /// Sets the first arguments.
    pub fn pass<const N: usize>(&mut self, args: [usize; N]) {
        const { assert!(N <= 6) };
        self.args[..N].copy_from_slice(&args);
    }

    /// The place numbered `i` in the area, each of which has 256 bytes, as an argument.
    pub fn place(&self, i: usize) -> usize {
        self.area.get().expose_provenance() + 256 * i
    }

    /// The same, as a pointer.
    pub fn at<T>(&self, i: usize) -> *mut T {
        const { assert!(size_of::<T>() <= 256 && align_of::<T>() <= 16) };
        with_exposed_provenance_mut(self.place(i))
    }

    /// Fills the area with that byte.
    pub fn fill(&mut self, byte: u8) {
        // SAFETY: integers.
        unsafe { self.area.get().write_bytes(byte, 1) };
    }
}

/// One row, tried out.
pub struct Exercise {
    /// The row.
    pub row: &'static Row,
    /// How it is called.
    pub calls: Calls,
    /// With what, and what must come of it.
    pub cases: &'static [Case],
    /// How it is called again and again, where that does no harm.
    pub repeat: Option<Repeat>,
}

/// The ways to call a row; see [`ways!`].
pub struct Calls {
    /// Makes the one call: loads the arguments, calls `function`, stores the result.
    pub call: unsafe extern "C" fn(*mut Slot),
    /// The wrapper, which `function` may be.
    pub wrapper: fn() -> *const (),
    /// The row's `no_g`, likewise.
    pub no_g: fn() -> *const (),
    /// The result of the call, read back.
    pub outcome: unsafe fn(&Slot) -> Result<usize, Errno>,
}

/// Two loops of the same shape; see [`repeat!`].
pub struct Repeat {
    /// Arguments with which the call can be repeated.
    pub prepare: fn(&mut Slot),
    /// Calls the wrapper so many times.
    pub wrapper: unsafe extern "C" fn(*mut Slot, usize),
    /// Calls the C function so many times.
    pub direct: unsafe extern "C" fn(*mut Slot, usize),
}

/// One set of arguments, and what must come of it.
pub struct Case {
    /// The claim, to follow the name of the row.
    pub claim: &'static str,
    /// Sets the arguments.
    pub prepare: fn(&mut Slot),
    /// Judges the outcome.
    pub expect: Expect,
}

/// What must come of a case.
pub enum Expect {
    /// The call returns, and the check finds what a user relies on.
    Works(fn(&mut Slot, Result<usize, Errno>) -> Verdict),
    /// The call fails with this error.
    Fails(Errno),
    /// The call ends the process, like this.
    Ends(fn(&mut Slot, Ending) -> Verdict),
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// With this status.
    Exited(c_int),
    /// By this signal.
    Killed(c_int),
    /// Not within its time: it was killed from outside.
    TimedOut,
}

pub const fn works(
    claim: &'static str,
    prepare: fn(&mut Slot),
    check: fn(&mut Slot, Result<usize, Errno>) -> Verdict,
) -> Case {
    Case {
        claim,
        prepare,
        expect: Expect::Works(check),
    }
}

pub const fn fails(errno: Errno, claim: &'static str, prepare: fn(&mut Slot)) -> Case {
    Case {
        claim,
        prepare,
        expect: Expect::Fails(errno),
    }
}

pub const fn ends(
    claim: &'static str,
    prepare: fn(&mut Slot),
    check: fn(&mut Slot, Ending) -> Verdict,
) -> Case {
    Case {
        claim,
        prepare,
        expect: Expect::Ends(check),
    }
}

/// A result of a wrapper, as a word or an error.
pub trait Outcome: Copy {
    fn outcome(self) -> Result<usize, Errno>;
}

macro_rules! outcomes {
    ($($t:ty)*) => {$(
        impl Outcome for $t {
            fn outcome(self) -> Result<usize, Errno> {
                Ok(self as usize)
            }
        }
        impl Outcome for Result<$t, Errno> {
            fn outcome(self) -> Result<usize, Errno> {
                self.map(|value| value as usize)
            }
        }
    )*};
}

outcomes!(i32 u32 i64 u64 isize usize *mut c_void);

impl Outcome for () {
    fn outcome(self) -> Result<usize, Errno> {
        Ok(0)
    }
}

impl Outcome for Result<(), Errno> {
    fn outcome(self) -> Result<usize, Errno> {
        self.map(|()| 0)
    }
}

impl Outcome for Result<(), KernReturn> {
    fn outcome(self) -> Result<usize, Errno> {
        self.map(|()| 0).map_err(|e| Errno::new(e.number()))
    }
}

/// Fails the exercise with a formatted reason, unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err(format!($($why)+));
        }
    };
}

/// The type of one argument, for the compiler to infer.
macro_rules! any {
    ($arg:tt) => {
        _
    };
}

/// One argument: a number is that word of the slot, a name a constant of its type.
macro_rules! argument {
    ($slot:ident, $word:literal) => {
        (*$slot).args[$word] as _
    };
    ($slot:ident, $value:ident) => {
        $value
    };
}

/// The ways to call a row, its arguments given as words of the slot: `ways!(read 0 1 2)`.
///
/// `call` is what runs on a small stack. Nothing is called in it but a function of two instructions,
/// which reads SP, and the wrapper, through a pointer that the compiler cannot see through: so the
/// wrapper's own frames are all that lies below this SP.
macro_rules! ways {
    (@ $row:ident $call:ident $outcome:ident) => {
        $crate::exercises::exercise::Calls {
            call: $call,
            wrapper: || ::nosplit::calls::$row as *const (),
            no_g: || ::nosplit::calls::$row::no_g as *const (),
            outcome: $outcome,
        }
    };
    // A row that never returns has no result.
    (never $row:ident $($arg:tt)*) => {{
        unsafe extern "C" fn call(slot: *mut $crate::exercises::Slot) {
            // SAFETY: the slot is prepared for this row, and its function is of the row's type.
            unsafe {
                let mut f = ::nosplit::calls::$row as unsafe fn($(any!($arg)),*) -> !;
                *((&raw mut f) as *mut *const ()) = (*slot).function;
                (*slot).sp = ::nosplit::arch::stack_pointer() as usize;
                f($(argument!(slot, $arg)),*)
            }
        }

        unsafe fn outcome(_: &$crate::exercises::Slot) -> Result<usize, ::nosplit::Errno> {
            Ok(0)
        }

        ways!(@ $row call outcome)
    }};
    ($row:ident $($arg:tt)*) => {{
        unsafe extern "C" fn call(slot: *mut $crate::exercises::Slot) {
            // SAFETY: as above.
            unsafe {
                let mut f = ::nosplit::calls::$row as unsafe fn($(any!($arg)),*) -> _;
                *((&raw mut f) as *mut *const ()) = (*slot).function;
                (*slot).sp = ::nosplit::arch::stack_pointer() as usize;
                *((&raw mut (*slot).result) as *mut _) = f($(argument!(slot, $arg)),*);
            }
        }

        unsafe fn outcome(slot: &$crate::exercises::Slot) -> Result<usize, ::nosplit::Errno> {
            // SAFETY: the call has stored its result, of the type of the branch that is not taken.
            let result = unsafe {
                if std::hint::black_box(true) {
                    *((&raw const slot.result) as *const _)
                } else {
                    let slot: *const $crate::exercises::Slot = slot;
                    let _ = slot;
                    ::nosplit::calls::$row($(argument!(slot, $arg)),*)
                }
            };
            $crate::exercises::exercise::Outcome::outcome(result)
        }

        ways!(@ $row call outcome)
    }};
}

/// Loops that call a wrapper and its C function in the same way:
/// `repeat!(libc::read, read 0 1 2, |s| ..)`.
macro_rules! repeat {
    ($c:path, $row:ident $($arg:tt)*) => {
        repeat!(@ $c, $row [] $($arg)*)
    };
    (@ $c:path, $row:ident [$($arg:tt)*] , $prepare:expr) => {{
        unsafe extern "C" fn wrapper(slot: *mut $crate::exercises::Slot, times: usize) {
            // SAFETY: `prepare` has set arguments with which this may be repeated.
            unsafe {
                let f = std::hint::black_box(::nosplit::calls::$row as unsafe fn($(any!($arg)),*) -> _);
                for _ in 0..times {
                    *((&raw mut (*slot).result) as *mut _) = f($(argument!(slot, $arg)),*);
                }
            }
        }

        unsafe extern "C" fn direct(slot: *mut $crate::exercises::Slot, times: usize) {
            // SAFETY: as above.
            unsafe {
                let f = std::hint::black_box($c as unsafe extern "C" fn($(any!($arg)),*) -> _);
                for _ in 0..times {
                    *((&raw mut (*slot).result) as *mut _) = f($(argument!(slot, $arg)),*);
                }
            }
        }

        Some($crate::exercises::exercise::Repeat { prepare: $prepare, wrapper, direct })
    }};
    (@ $c:path, $row:ident [$($arg:tt)*] $next:tt $($rest:tt)*) => {
        repeat!(@ $c, $row [$($arg)* $next] $($rest)*)
    };
}
