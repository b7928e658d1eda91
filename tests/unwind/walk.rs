//! Two ways up the stacks: by the unwind tables, and by frame pointers.

use crate::registers::{REGISTERS, with_marks};
use nosplit::{G, getg};
use std::ffi::{c_int, c_void};
use std::sync::Mutex;

/// More than the longest chain, so that one that runs in circles ends.
const MOST: usize = 128;

const WORD: usize = size_of::<usize>();

/// `_URC_END_OF_STACK`: the walk ended where a thread begins, and not on its way.
pub const END_OF_STACK: c_int = 5;

enum Context {}

unsafe extern "C" {
    // unwind.h; std brings the library that has it.
    fn _Unwind_Backtrace(
        f: extern "C" fn(*mut Context, *mut c_void) -> c_int,
        arg: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIPInfo(context: *mut Context, exact: *mut c_int) -> usize;
    fn _Unwind_GetCFA(context: *mut Context) -> usize;
    fn _Unwind_GetGR(context: *mut Context, number: c_int) -> usize;
    fn _Unwind_FindEnclosingFunction(pc: *const c_void) -> usize;
}

/// Where a function goes on when the one that it called returns: PC and SP then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Point {
    pub pc: usize,
    pub sp: usize,
}

const NOWHERE: Point = Point { pc: 0, sp: 0 };

/// A frame of a function, which is named by its first address; 0 where no table knows the PC.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    pub function: usize,
    pub at: Point,
}

/// What there is to see from one place, innermost first. Fixed in size, for one place is a handler.
#[derive(Clone)]
pub struct Walk {
    tables: [Frame; MOST],
    tables_len: usize,
    /// How the walk by the tables ended.
    pub end: c_int,
    /// What the tables say that [`REGISTERS`] hold in each frame of [`with_marks`].
    marks: [[usize; REGISTERS.len()]; MOST],
    marks_len: usize,
    frame_pointers: [usize; MOST],
    frame_pointers_len: usize,
    /// Where asmcgocall returns to, by the record that it left in the G.
    pub record: Point,
    /// Where gogo returns to, by the link at the top of the G's stack.
    pub link: Point,
}

impl Walk {
    const fn new() -> Walk {
        Walk {
            tables: [Frame {
                function: 0,
                at: NOWHERE,
            }; MOST],
            tables_len: 0,
            end: 0,
            marks: [[0; REGISTERS.len()]; MOST],
            marks_len: 0,
            frame_pointers: [0; MOST],
            frame_pointers_len: 0,
            record: NOWHERE,
            link: NOWHERE,
        }
    }

    /// The frames, by the unwind tables.
    pub fn tables(&self) -> &[Frame] {
        &self.tables[..self.tables_len]
    }

    /// The marks, by the unwind tables.
    pub fn marks(&self) -> &[[usize; REGISTERS.len()]] {
        &self.marks[..self.marks_len]
    }

    /// The functions, by frame pointers.
    pub fn frame_pointers(&self) -> &[usize] {
        &self.frame_pointers[..self.frame_pointers_len]
    }
}

static LAST: Mutex<Walk> = Mutex::new(Walk::new());

/// What the last walk saw.
pub fn last() -> Walk {
    LAST.lock().unwrap().clone()
}

/// Walks from here, on whichever stack, while `g` is under way. gdb stops here, so it has a plain name.
#[unsafe(no_mangle)]
pub extern "C" fn walks_from_here(g: &G) {
    let walk = &mut *LAST.lock().unwrap();
    (walk.tables_len, walk.marks_len, walk.frame_pointers_len) = (0, 0, 0);
    // SAFETY: the callback gets the Walk. The record and the link are read as promised: on
    // somebody's system stack, while the G is under way.
    unsafe {
        walk.end = _Unwind_Backtrace(step, (&raw mut *walk).cast());
        walk.record = return_of(g.record());
        walk.link = return_of((g.stack().1 as *const usize).sub(2).read());
    }
    let mut record = frame_pointer();
    while walk.frame_pointers_len < MOST && in_stack(g, record) {
        // SAFETY: in a stack of this thread; whatever words are there.
        let [next, pc] = unsafe { *(record as *const [usize; 2]) };
        walk.frame_pointers[walk.frame_pointers_len] = function_of(pc);
        walk.frame_pointers_len += 1;
        record = next;
    }
}

extern "C" fn step(context: *mut Context, walk: *mut c_void) -> c_int {
    // SAFETY: `walks_from_here` passes its Walk; the context is the unwinder's.
    unsafe {
        let walk = &mut *walk.cast::<Walk>();
        let Some(frame) = walk.tables.get_mut(walk.tables_len) else {
            return 1;
        };
        walk.tables_len += 1;
        let mut exact = 0;
        let pc = _Unwind_GetIPInfo(context, &mut exact);
        *frame = Frame {
            function: function_of(pc + usize::from(exact != 0)),
            at: Point {
                pc,
                sp: _Unwind_GetCFA(context),
            },
        };
        if frame.function == with_marks as *const () as usize {
            walk.marks[walk.marks_len] = REGISTERS.map(|number| _Unwind_GetGR(context, number));
            walk.marks_len += 1;
        }
    }
    0
}

/// The function that a return address leads into: that of the byte before.
fn function_of(pc: usize) -> usize {
    // SAFETY: looks a number up in the unwind tables.
    unsafe { _Unwind_FindEnclosingFunction(pc as *const c_void) }
}

/// Where a function returns to, by its record of a frame pointer and a return address; nowhere without one.
///
/// # Safety
///
/// It must be a record or null.
unsafe fn return_of(record: usize) -> Point {
    match record {
        0 => NOWHERE,
        // SAFETY: the caller's word.
        _ => Point {
            pc: unsafe { *((record + WORD) as *const usize) },
            sp: record + 2 * WORD,
        },
    }
}

/// May a frame's record be read there?
fn in_stack(g: &G, record: usize) -> bool {
    // SAFETY: the current G and its M are live.
    let (g0, gsignal) = unsafe {
        let m = &*(*getg()).m();
        (&*m.g0(), &*m.gsignal())
    };
    record.is_multiple_of(WORD)
        && [g, g0, gsignal]
            .iter()
            .any(|g| g.contains(record) && g.contains(record + WORD))
}

#[inline(always)]
fn frame_pointer() -> usize {
    let fp: usize;
    // SAFETY: reads a register.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        std::arch::asm!("mov {}, rbp", out(reg) fp);
        #[cfg(target_arch = "x86")]
        std::arch::asm!("mov {}, ebp", out(reg) fp);
        #[cfg(target_arch = "aarch64")]
        std::arch::asm!("mov {}, x29", out(reg) fp);
    }
    fp
}
