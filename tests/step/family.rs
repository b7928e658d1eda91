//! Calls from wherever a stepped thread is: by every entry of the asmcgocall family, and by rows.
//!
//! What the layer does is stepped, and every entry called by `kept`, which compares callee-saved
//! registers; what is called says where it ran. What only the test does is not stepped.

use crate::rows;
use crate::shim::{self, Kept, here, stepped};
use crate::watch::{At, Place, Thread, pid};
use nosplit::{Errno, Row, arch, calls};
use std::ffi::c_int;
use std::ptr::null_mut;

/// One call of an entry: what its callee notes, and does.
#[repr(C)]
pub struct Call {
    pub sp: usize,
    pub fp: usize,
    pub result: usize,
    /// 0: leaves errno as it is.
    pub errno: c_int,
    inner: Option<fn(&Thread)>,
    /// g.record while the callee ran, at its beginning and at its end.
    record: [usize; 2],
}

/// What the callee does unstepped.
pub extern "C" fn callee_body(call: &mut Call) {
    if let Some(t) = Thread::current() {
        call.record[0] = t.record(call.fp);
        if let Some(inner) = call.inner {
            let before = errno();
            inner(t);
            set_errno(before);
        }
        call.record[1] = t.record(call.fp);
    }
}

pub fn errno() -> c_int {
    // SAFETY: errno of this thread.
    unsafe { *arch::errno_location() }
}

pub fn set_errno(errno: c_int) {
    // SAFETY: errno of this thread.
    unsafe { *arch::errno_location() = errno };
}

/// `f(a, b, c)`, and a check of every register that it has to keep.
#[inline(always)]
#[track_caller]
pub fn kept(t: &Thread, f: *const (), a: usize, b: usize, c: usize) -> Kept {
    let mut out = Kept::default();
    // SAFETY: each caller passes a function of up to three words.
    unsafe { shim::kept(f, a, b, c, &mut out, t.run.seed()) };
    t.check(
        "callee-saved registers, frames and DF are kept",
        out.broken,
        0,
    );
    out
}

/// How an entry tells failure.
#[derive(Clone, Copy, PartialEq)]
enum Test {
    None,
    I32,
    Word,
    Null,
}

/// An entry of the asmcgocall family.
struct Entry {
    address: fn() -> *const (),
    test: Test,
    /// errno is cleared before the call, from 16 bytes of stack.
    ambiguous: bool,
    checked: bool,
    no_g: bool,
}

macro_rules! family {
    ($($name:ident $test:ident $($flag:ident)*;)+) => {
        &[$(family!(@ $name, $test, [$($flag)*])),+]
    };
    (@ $name:ident, $test:ident, [$($flag:ident)*]) => {{
        #[allow(unused_mut)]
        let mut entry = Entry {
            address: || arch::$name as *const (),
            test: Test::$test,
            ambiguous: false,
            checked: false,
            no_g: false,
        };
        $(entry.$flag = true;)*
        entry
    }};
}

const FAMILY: &[Entry] = family! {
    asmcgocall None;
    asmcgocall_i32 I32;
    asmcgocall_word Word;
    asmcgocall_null Null;
    asmcgocall_ambiguous_i32 I32 ambiguous;
    asmcgocall_ambiguous_word Word ambiguous;
    asmcgocall_ambiguous_null Null ambiguous;
    checked_asmcgocall None checked;
    checked_asmcgocall_i32 I32 checked;
    checked_asmcgocall_word Word checked;
    checked_asmcgocall_null Null checked;
    checked_asmcgocall_ambiguous_i32 I32 ambiguous checked;
    checked_asmcgocall_ambiguous_word Word ambiguous checked;
    checked_asmcgocall_ambiguous_null Null ambiguous checked;
    asmcgocall_no_g None no_g;
    asmcgocall_no_g_i32 I32 no_g;
    asmcgocall_no_g_word Word no_g;
    asmcgocall_no_g_null Null no_g;
    asmcgocall_no_g_ambiguous_i32 I32 ambiguous no_g;
    asmcgocall_no_g_ambiguous_word Word ambiguous no_g;
    asmcgocall_no_g_ambiguous_null Null ambiguous no_g;
};

const MINUS_ONE: usize = usize::MAX;
const MINUS_ONE_32: usize = 0xffff_ffff;

/// The callee's result, the errno that it sets, and the one that has to come back.
type Case = (usize, c_int, c_int);

fn cases(entry: &Entry) -> &'static [Case] {
    match (entry.test, entry.ambiguous) {
        (Test::None, _) => &[(7, 4001, 0)],
        (Test::I32, false) => &[(7, 4001, 0), (MINUS_ONE_32, 4002, 4002)],
        (Test::Word, false) => &[(MINUS_ONE_32, 4001, 0), (MINUS_ONE, 4002, 4002)],
        (Test::Null, false) => &[(7, 4001, 0), (0, 4002, 4002)],
        (Test::I32, true) => &[(7, 4001, 0), (MINUS_ONE_32, 4002, 4002), (MINUS_ONE, 0, 0)],
        (Test::Word, true) => &[
            (MINUS_ONE_32, 4001, 0),
            (MINUS_ONE, 4002, 4002),
            (MINUS_ONE, 0, 0),
        ],
        (Test::Null, true) => &[(7, 4001, 0), (0, 4002, 4002), (0, 0, 0)],
    }
}

/// The whole family from here, in a handler without those that may not be called there.
pub fn family(t: &Thread, in_handler: bool, inner: Option<fn(&Thread)>) {
    for entry in FAMILY {
        if entry.checked && in_handler {
            continue;
        }
        for &case in cases(entry) {
            call(t, entry, case, inner);
        }
    }
}

/// The family, or where it has been before only one of each kind.
#[derive(Clone, Copy)]
pub enum Calls {
    Family,
    Sample,
}

impl Calls {
    pub fn make(self, t: &Thread) {
        match self {
            Calls::Family => family(t, false, None),
            Calls::Sample => sample(t),
        }
    }
}

pub fn sample(t: &Thread) {
    for n in [0, 1, 5, 7, 10, 16] {
        let entry = &FAMILY[n];
        for &case in cases(entry) {
            call(t, entry, case, None);
        }
    }
}

fn call(t: &Thread, entry: &Entry, (result, errno, want): Case, inner: Option<fn(&Thread)>) {
    static ROW: Row = calls::pthread_key_delete::ROW;
    let mut call = Call {
        sp: 0,
        fp: 0,
        result,
        errno,
        inner,
        record: [0; 2],
    };
    set_errno(4444);
    let sp = here();
    let out = kept(
        t,
        (entry.address)(),
        (&raw mut call) as usize,
        shim::callee as *const () as usize,
        (&raw const ROW) as usize,
    );
    if entry.test == Test::None {
        t.check("the result of a call", out.value, result);
    } else {
        let width = if entry.test == Test::I32 {
            MINUS_ONE_32
        } else {
            MINUS_ONE
        };
        t.check("errno of a call", out.errno & MINUS_ONE_32, want as usize);
        t.check(
            "the result of a call that may fail",
            out.value & width,
            result & width,
        );
    }
    t.check("a callee's stack is aligned", call.sp & 15, 8);
    let from_user = matches!(t.place(sp), Place::User(_));
    if from_user && !entry.no_g {
        let sp = call.sp + if entry.ambiguous { 16 } else { 0 };
        t.on_system_stack(
            "a call from a G's stack runs on the system stack",
            At::here(),
            sp,
        );
        t.check(
            "g.record is the outermost call's frame",
            call.record[0],
            call.fp,
        );
        t.check(
            "g.record is still the outermost call's frame",
            call.record[1],
            call.fp,
        );
    } else {
        t.stayed("a call off a G's stack stays", At::here(), call.sp, sp);
    }
}

/// A call, in the midst of which there are others.
pub fn call_around(t: &Thread, inner: fn(&Thread)) {
    call(t, &FAMILY[3], (0, 4002, 4002), Some(inner));
}

/// A call in a call.
pub fn nested_once(t: &Thread) {
    call(t, &FAMILY[1], (MINUS_ONE, 4002, 4002), None);
}

/// Every call, on the system stack with a G current that is not under SP: none of them switches.
pub fn nested(t: &Thread) {
    family(t, false, None);
    all_rows(t);
}

/// The rows, each by its own wrapper and trampoline.
pub fn all_rows(t: &Thread) {
    let words = (
        -1i8,
        0xfff0u16,
        -3i32,
        u64::MAX - 4,
        -5i16,
        250u8,
        1.5f64,
        -2.5f32,
        i64::MIN,
        -7i32,
        65000u16,
        -9isize,
    );
    let (a, b, c, d, e, f, x, y, g, h, i, j) = words;
    let want = const {
        rows::mix([
            -1,
            0xfff0,
            -3,
            -5,
            -5,
            250,
            1.5f64.to_bits() as i64,
            (-2.5f32).to_bits() as i64,
            i64::MIN,
            -7,
            65000,
            -9,
        ])
    };
    t.check(
        "many()",
        stepped(|| rows::many(a, b, c, d, e, f, x, y, g, h, i, j)) as usize,
        want as usize,
    );
    t.check("half()", (stepped(|| rows::half(5.0)) == 2.5) as usize, 1);
    t.check("getpid()", stepped(calls::getpid) as usize, pid() as usize);
    let sp = here();
    // SAFETY: the paths are C strings; nothing is mapped or deleted.
    unsafe {
        if matches!(t.place(sp), Place::User(_)) {
            t.on_system_stack(
                "a row from a G's stack runs on the system stack",
                At::here(),
                stepped(|| rows::sp_of_callee()),
            );
        } else {
            t.stayed(
                "a row off a G's stack stays",
                At::here(),
                stepped(|| rows::sp_of_callee()),
                sp,
            );
            t.stayed(
                "a row without g stays",
                At::here(),
                stepped(|| rows::sp_of_callee::no_g()),
                sp,
            );
        }
        check_err(
            t,
            "kill()",
            stepped(|| calls::kill(0, 9999)).map(drop),
            Errno::EINVAL,
        );
        check_err(
            t,
            "open()",
            stepped(|| calls::open(c"".as_ptr(), libc::O_CREAT, 0o600)).map(drop),
            Errno::ENOENT,
        );
        check_err(
            t,
            "mmap()",
            stepped(|| calls::mmap(null_mut(), 0, 0, libc::MAP_PRIVATE, 0, 0)).map(drop),
            Errno::EINVAL,
        );
    }
}

/// Those that handlers may not call.
pub fn checked_rows(t: &Thread) {
    check_err(
        t,
        "not_for_handlers()",
        stepped(|| rows::not_for_handlers(4003)).map(drop),
        Errno::new(4003),
    );
    t.check(
        "not_for_handlers(0)",
        stepped(|| rows::not_for_handlers(0)).is_ok() as usize,
        1,
    );
    // SAFETY: no such key.
    let deleted = unsafe { stepped(|| calls::pthread_key_delete(libc::pthread_key_t::MAX)) };
    check_err(t, "pthread_key_delete()", deleted, Errno::EINVAL);
}

#[track_caller]
fn check_err(t: &Thread, call: &'static str, result: Result<(), Errno>, want: Errno) {
    t.check(
        call,
        result.err().map_or(0, Errno::number) as usize,
        want.number() as usize,
    );
}
