//! aarch64: what differs from `x86_64.rs`, the commented original.
//!
//! - A frame is the pair {x29, x30}, below it the callee-saved pairs in register order, high to low:
//!   the one shape that Mach-O's compact unwind knows. [x29 + 8] is the return address.
//! - SP is always 16-aligned, so nothing aligns it. No instruction loads it: a register is loaded,
//!   and the `mov sp` behind it is the commit.
//! - Memory is weakly ordered: what hands a G to other threads is a store-release.
//! - x18 is the platform's and never touched; x16 and x17 are for branches, so that a tail jump
//!   may land on `bti c`.
//!
//! The stacks, while a row's C function runs on behalf of a G:
//!
//! ```text
//!      user stack of g                     system stack of g.m
//!      ┌──────────────────┐ <- hi          ┌──────────────────┐
//!      │ address in landing                │ scheduler        │
//!      │ x29 of gogo    ──┼──────────────> │ x30, x29         │ <- x29 of gogo
//!      │ goentry: entry's │                │ x19-x28 d8-d15   │ <- g.system_sp
//!      │ frames           │                │ trampoline, libc │ <- sp
//!      │ wrapper          │                  ...
//!      │ x30, x29         │ <- x29, g.record
//!      └──────────────────┘
//! ```

use super::Trampoline;
use super::format::{entries, load_g, store_g};
use crate::g::{G, M};
use crate::table::Row;
use core::arch::naked_asm;
use core::ffi::{c_int, c_void};
use core::mem::offset_of;

#[cfg(not(target_vendor = "apple"))]
pub use crate::abi::aapcs64::assign;
#[cfg(target_vendor = "apple")]
pub use crate::abi::apple64::assign;

/// A value and the errno beside it: 0 where the call did not fail. Travels in x0 and w1.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Outcome {
    value: usize,
    errno: c_int,
}

impl Outcome {
    /// The first result register; -1 or NULL, as the entry tests, after a failure.
    #[inline(always)]
    pub fn value(self) -> usize {
        self.value
    }

    /// `errno`, read on the stack and the thread of the call; 0 where it did not fail.
    #[inline(always)]
    pub fn errno(self) -> c_int {
        self.errno
    }
}

/// Alignment of the property note, as a power of two.
#[doc(hidden)]
#[macro_export]
macro_rules! __property_align {
    () => {
        "3"
    };
}

/// `GNU_PROPERTY_AARCH64_FEATURE_1_AND`.
#[doc(hidden)]
#[macro_export]
macro_rules! __property_type {
    () => {
        "0xc0000000"
    };
}

/// `BTI`. Return addresses are not signed: a G may return on another thread, with another key.
#[doc(hidden)]
#[macro_export]
macro_rules! __property_flags {
    () => {
        "1"
    };
}

/// `bti c`, spelled as the hint that every assembler takes and older processors ignore.
#[doc(hidden)]
#[macro_export]
macro_rules! __landing_pad_aarch64 {
    () => {
        "hint #34"
    };
}

/// The frame of a function that keeps x29 as its frame pointer, and saves nothing else.
///
/// x29 and x30 are unchanged until the CFI says where they were saved.
#[doc(hidden)]
#[macro_export]
macro_rules! __frame_aarch64 {
    () => {
        concat!(
            "stp x29, x30, [sp, #-16]!\n",
            ".cfi_def_cfa_offset 16\n",
            "mov x29, sp\n",
            ".cfi_def_cfa x29, 16\n",
            ".cfi_offset x30, -8\n",
            ".cfi_offset x29, -16"
        )
    };
}

/// Leaves a frame and returns; with CFI for the `ret` where an unwinder reads it.
#[doc(hidden)]
#[macro_export]
macro_rules! __return_aarch64 {
    () => {
        concat!(
            "mov sp, x29\n",
            "ldp x29, x30, [sp], #16\n",
            $crate::__cfi_after_prologue!(
                ".cfi_remember_state",
                ".cfi_def_cfa sp, 0",
                ".cfi_restore x30",
                ".cfi_restore x29"
            ),
            "ret\n",
            $crate::__cfi_after_prologue!(".cfi_restore_state")
        )
    };
}

// asmcgocall(args, trampoline, row): run a C-ABI function on the system stack of this thread.
//
//   in    x0  args, x1  trampoline            out  x0  the result, w1  errno (0: none)
//         x2  row (where it is checked)            d0 untouched since the C function
//   keeps x19-x28 x29 d8-d15, FPCR            uses the caller's stack: 16 bytes
//
// Before the call, when SP is inside the stack of g:
//
//      user stack of g                 system stack of g.m
//      ┌────────────────┐              ┌────────────────┐
//      │ wrapper's frame│              │ scheduler      │
//      │ saved x30      │              │ ...            │ <- g.system_sp
//      │ saved x29      │ <- x29       │ trampoline     │ <- sp from here on
//      └────────────────┘              └────────────────┘
//
// One compare decides, and one move to sp commits; `mov sp, x29` commits the way home.
macro_rules! asmcgocall {
    ($($name:ident, size: $size:ident, outside: $outside:expr, call: $call:expr, test: $test:expr, [$($operand:tt)*];)+) => {
        entries! {$(
            pub unsafe extern "C" fn $name(args: *mut c_void, trampoline: Trampoline, row: *const Row) -> Outcome {
                naked_asm!(
                    crate::__property_note!(),
                    ".cfi_startproc",
                    crate::__cfi_signal_frame!(),
                    crate::__landing_pad_aarch64!(),
                    crate::__frame_aarch64!(),
                    load_g!("x9", scratch: "x10", none: "4f"),
                    "ldr x10, [x9, #{lo}]",
                    "sub x10, sp, x10",
                    "ldr x11, [x9, #{fast}]",
                    "cmp x10, x11",
                    "b.hs 3f",
                    "2:",
                    "ldr x10, [x9, #{system_sp}]",
                    "mov sp, x10",
                    "str x29, [x9, #{record}]",
                    "4:",
                    $call,
                    $test,
                    crate::__return_aarch64!(),
                    // SP is outside of the stack of g: stay, unless a G that resumed g owns it.
                    "3:",
                    $outside,
                    "5:",
                    "ldr x9, [x9, #{parent}]",
                    "cbz x9, 4b",
                    "ldr x10, [x9, #{lo}]",
                    "sub x10, sp, x10",
                    "ldr x11, [x9, #{size}]",
                    "cmp x10, x11",
                    "b.lo 2b",
                    "b 5b",
                    ".cfi_endproc",
                    lo = const offset_of!(G, lo),
                    size = const offset_of!(G, size),
                    fast = const offset_of!(G, $size),
                    system_sp = const offset_of!(G, system_sp),
                    record = const offset_of!(G, record),
                    parent = const offset_of!(G, parent),
                    $($operand)*
                )
            }
        )+}
    };
}

// asmcgocall_no_g(args, trampoline): the same without ever reading TLS, on the caller's stack.
macro_rules! asmcgocall_no_g {
    ($($name:ident, call: $call:expr, test: $test:expr, [$($operand:tt)*];)+) => {
        entries! {$(
            pub unsafe extern "C" fn $name(args: *mut c_void, trampoline: Trampoline) -> Outcome {
                naked_asm!(
                    ".cfi_startproc",
                    crate::__landing_pad_aarch64!(),
                    crate::__frame_aarch64!(),
                    $call,
                    $test,
                    crate::__return_aarch64!(),
                    ".cfi_endproc",
                    $($operand)*
                )
            }
        )+}
    };
}

macro_rules! call {
    () => {
        "blr x1"
    };
}

// For results that may look like a failure and be none: errno is cleared before the call.
//
//      sp + 8  trampoline
//      sp ->   args
macro_rules! call_with_errno_cleared {
    () => {
        concat!(
            "stp x0, x1, [sp, #-16]!\n",
            crate::__import_aarch64!("x16", "{errno}"),
            "\n",
            "blr x16\n",
            "str wzr, [x0]\n",
            "ldp x0, x1, [sp], #16\n",
            "blr x1"
        )
    };
}

// Reads errno, 32 bits of it, if the test says that the call failed; the result, which a cleared
// errno makes a good one, is what the test says it was.
macro_rules! errno_if {
    ($($test:literal),+; result: $result:literal) => {
        concat!(
            $($test, "\n",)+
            "mov w1, wzr\n",
            crate::__return_aarch64!(),
            "6:\n",
            crate::__import_aarch64!("x16", "{errno}"),
            "\n",
            "blr x16\n",
            "ldr w1, [x0]\n",
            "mov x0, ", $result
        )
    };
    (i32) => {
        errno_if!("cmn w0, #1", "b.eq 6f"; result: "#-1")
    };
    (word) => {
        errno_if!("cmn x0, #1", "b.eq 6f"; result: "#-1")
    };
    (null) => {
        errno_if!("cbz x0, 6f"; result: "xzr")
    };
}

// A handler runs on this thread, and the row is not for handlers: say so, and abort.
macro_rules! refuse_in_handler {
    () => {
        concat!(
            "ldr w10, [x9, #{handling}]\n",
            "cbz w10, 5f\n",
            "mov x0, x2\n",
            "bl {forbidden}\n",
            "brk #1"
        )
    };
}

variants! {
    asmcgocall checked_asmcgocall asmcgocall_no_g;
    asmcgocall_i32 checked_asmcgocall_i32 asmcgocall_no_g_i32: call, i32;
    asmcgocall_word checked_asmcgocall_word asmcgocall_no_g_word: call, word;
    asmcgocall_null checked_asmcgocall_null asmcgocall_no_g_null: call, null;
    asmcgocall_ambiguous_i32 checked_asmcgocall_ambiguous_i32 asmcgocall_no_g_ambiguous_i32: call_with_errno_cleared, i32;
    asmcgocall_ambiguous_word checked_asmcgocall_ambiguous_word asmcgocall_no_g_ambiguous_word: call_with_errno_cleared, word;
    asmcgocall_ambiguous_null checked_asmcgocall_ambiguous_null asmcgocall_no_g_ambiguous_null: call_with_errno_cleared, null;
}

// The image of a suspended context, on the stack that it suspends: what gogo leaves on the system
// stack and mcall on the user stack. One picture for both, so that each can end in the other's half.
//
//      CFA ->  ...
//        -8    x30, the return address
//       -16    x29                <- x29 of the frame
//       -32    x20 x19
//       -48    x22 x21
//       -64    x24 x23
//       -80    x26 x25
//       -96    x28 x27
//      -112    d9  d8
//      -128    d11 d10
//      -144    d13 d12
//      -160    d15 d14            <- sp of the image
/// Bytes from the end of an image to its x29.
const IMAGE: usize = 144;

/// Bytes of a whole image, return address included.
const IMAGE_SIZE: usize = IMAGE + 16;

/// Bytes at the top of a user stack that link its first frame to gogo's.
const LINK: usize = 16;

/// The least stack on which gostartcallfn can start: an image, the link, and entry's first frames.
pub const STACK_MIN: usize = 512;

// Where an unwinder finds the callee-saved registers of an image: in register order, or Mach-O's
// compact unwind has no word for it.
macro_rules! cfi_image {
    () => {
        concat!(
            ".cfi_offset x19, -24\n",
            ".cfi_offset x20, -32\n",
            ".cfi_offset x21, -40\n",
            ".cfi_offset x22, -48\n",
            ".cfi_offset x23, -56\n",
            ".cfi_offset x24, -64\n",
            ".cfi_offset x25, -72\n",
            ".cfi_offset x26, -80\n",
            ".cfi_offset x27, -88\n",
            ".cfi_offset x28, -96\n",
            ".cfi_offset d8, -104\n",
            ".cfi_offset d9, -112\n",
            ".cfi_offset d10, -120\n",
            ".cfi_offset d11, -128\n",
            ".cfi_offset d12, -136\n",
            ".cfi_offset d13, -144\n",
            ".cfi_offset d14, -152\n",
            ".cfi_offset d15, -160"
        )
    };
}

macro_rules! save_image {
    () => {
        concat!(
            "sub sp, sp, #{image_size}\n",
            ".cfi_def_cfa_offset {image_size}\n",
            "stp x29, x30, [sp, #{image}]\n",
            "add x29, sp, #{image}\n",
            ".cfi_def_cfa x29, 16\n",
            ".cfi_offset x30, -8\n",
            ".cfi_offset x29, -16\n",
            "stp x20, x19, [x29, #-16]\n",
            "stp x22, x21, [x29, #-32]\n",
            "stp x24, x23, [x29, #-48]\n",
            "stp x26, x25, [x29, #-64]\n",
            "stp x28, x27, [x29, #-80]\n",
            "stp d9, d8, [x29, #-96]\n",
            "stp d11, d10, [x29, #-112]\n",
            "stp d13, d12, [x29, #-128]\n",
            "stp d15, d14, [x29, #-144]\n",
            cfi_image!()
        )
    };
}

// With sp just switched to another image: x29 follows, so that both describe that stack.
macro_rules! adopt_image {
    () => {
        concat!(
            crate::__cfi_after_prologue!(".cfi_def_cfa sp, {image_size}"),
            "add x29, sp, #{image}\n",
            crate::__cfi_after_prologue!(".cfi_def_cfa x29, 16")
        )
    };
}

macro_rules! restore_image {
    () => {
        concat!(
            "ldp x20, x19, [x29, #-16]\n",
            "ldp x22, x21, [x29, #-32]\n",
            "ldp x24, x23, [x29, #-48]\n",
            "ldp x26, x25, [x29, #-64]\n",
            "ldp x28, x27, [x29, #-80]\n",
            "ldp d9, d8, [x29, #-96]\n",
            "ldp d11, d10, [x29, #-112]\n",
            "ldp d13, d12, [x29, #-128]\n",
            "ldp d15, d14, [x29, #-144]\n",
            crate::__cfi_after_prologue!(
                ".cfi_restore x19",
                ".cfi_restore x20",
                ".cfi_restore x21",
                ".cfi_restore x22",
                ".cfi_restore x23",
                ".cfi_restore x24",
                ".cfi_restore x25",
                ".cfi_restore x26",
                ".cfi_restore x27",
                ".cfi_restore x28",
                ".cfi_restore d8",
                ".cfi_restore d9",
                ".cfi_restore d10",
                ".cfi_restore d11",
                ".cfi_restore d12",
                ".cfi_restore d13",
                ".cfi_restore d14",
                ".cfi_restore d15"
            ),
            crate::__return_aarch64!()
        )
    };
}

entries! {
    // gogo(g): leave the system stack for the stack of g; comes back when g parks or ends.
    //
    //   in    x0  g                               out  nothing
    //   keeps x19-x28 x29 d8-d15 (in the image), FPCR: it belongs to the thread
    //
    // g.system_sp, then g of this thread, then sp: until sp is in g, every call stays here.
    pub unsafe extern "C" fn gogo(g: *mut G) {
        naked_asm!(
            ".cfi_startproc",
            crate::__landing_pad_aarch64!(),
            save_image!(),
            "mov x9, sp",
            "str x9, [x0, #{system_sp}]",
            // The last frame of g links to this one: a walk of g goes on into the scheduler.
            "ldr x9, [x0, #{hi}]",
            "stur x29, [x9, #-{link}]",
            store_g!("x0", scratch: "x9", "x10"),
            "ldr x9, [x0, #{sched_sp}]",
            "mov sp, x9",
            adopt_image!(),
            restore_image!(),
            ".cfi_endproc",
            image = const IMAGE,
            image_size = const IMAGE_SIZE,
            system_sp = const offset_of!(G, system_sp),
            hi = const offset_of!(G, hi),
            link = const LINK,
            sched_sp = const offset_of!(G, sched_sp),
        )
    }

    // mcall(f, arg): park the current G, and run f(g, arg) on the system stack; then gogo returns.
    //
    //   in    x0  f, x1  arg                      out  nothing, when g is entered again
    //   keeps x19-x28 x29 d8-d15 (in the image)
    //
    // The image and g.sched, then sp, then g of this thread. g.m is cleared last, and releases what
    // was stored before: whoever takes g.m, on any thread, finds the whole G.
    pub unsafe extern "C" fn mcall(f: unsafe extern "C" fn(*mut G, *mut c_void), arg: *mut c_void) {
        naked_asm!(
            ".cfi_startproc",
            crate::__landing_pad_aarch64!(),
            save_image!(),
            load_g!("x9", scratch: "x10", none: "3f"),
            "mov x10, sp",
            "str x10, [x9, #{sched_sp}]",
            "ldr x10, [x9, #{system_sp}]",
            "mov sp, x10",
            adopt_image!(),
            "add x10, x9, #{m}",
            "ldr x11, [x10]",
            "add x11, x11, #{g0}",
            store_g!("x11", scratch: "x12", "x13"),
            "stlr xzr, [x10]",
            "mov x10, x0",
            "mov x0, x9",
            "blr x10",
            restore_image!(),
            // mcall() in Rust has refused a thread without g.
            "3:",
            "brk #1",
            ".cfi_endproc",
            image = const IMAGE,
            image_size = const IMAGE_SIZE,
            sched_sp = const offset_of!(G, sched_sp),
            system_sp = const offset_of!(G, system_sp),
            m = const offset_of!(G, m),
            g0 = const offset_of!(M, g0),
        )
    }

    // gosave(f, arg, g): spill every callee-saved register, publish SP in g.sched, run f(g, arg).
    //
    //   in    x0  f, x1  arg, x2  g               out  nothing
    //   keeps x19-x28 x29 d8-d15
    pub unsafe extern "C" fn gosave(
        f: unsafe extern "C" fn(*mut G, *mut c_void),
        arg: *mut c_void,
        g: *mut G,
    ) {
        naked_asm!(
            ".cfi_startproc",
            crate::__landing_pad_aarch64!(),
            save_image!(),
            "mov x9, sp",
            "str x9, [x2, #{sched_sp}]",
            "mov x9, x0",
            "mov x0, x2",
            "blr x9",
            restore_image!(),
            ".cfi_endproc",
            image = const IMAGE,
            image_size = const IMAGE_SIZE,
            sched_sp = const offset_of!(G, sched_sp),
        )
    }

    // goentry: the first frame of a G; gogo's `ret` arrives behind the nop, from `prepare`'s image.
    //
    //   in    x19  entry, x20  its argument, x29  the link at the top of the stack, sp = x29
    pub unsafe extern "C" fn goentry() {
        naked_asm!(
            ".cfi_startproc",
            crate::__cfi_signal_frame!(),
            ".cfi_def_cfa x29, 16",
            ".cfi_offset x30, -8",
            ".cfi_offset x29, -16",
            // The unwinder looks up one byte before a return address.
            "nop",
            "mov x0, x20",
            "blr x19",
            "bl {goexit}",
            "brk #1",
            ".cfi_endproc",
            goexit = sym crate::switch::goexit,
        )
    }

    // landing: the return address at the top of every G's stack. Never executed: it tells an
    // unwinder that the frame behind a G's first one is gogo's, by the link in x29.
    pub unsafe extern "C" fn landing() {
        naked_asm!(
            ".cfi_startproc",
            ".cfi_def_cfa x29, 16",
            ".cfi_offset x30, -8",
            ".cfi_offset x29, -16",
            cfi_image!(),
            "brk #1",
            "brk #1",
            ".cfi_endproc",
        )
    }

    // sigtramp(sig, info, context): what the layer's signals are delivered to.
    //
    //   in    w0  sig, x1  info, x2  context      out  nothing
    //   keeps errno, x19-x28 x29 d8-d15, g and g.system_sp
    //
    //      CFA ->  ...
    //       -16    x29 x30            <- x29
    //       -32    x20 x19
    //       -48    x22 x21
    //       -64    x24 x23            <- sp
    //
    // In the handler: x19 g or 0, x20 its open_size, w21 errno, w22 sig, x23 info, x24 context.
    pub unsafe extern "C" fn sigtramp(sig: c_int, info: *mut c_void, context: *mut c_void) {
        naked_asm!(
            ".cfi_startproc",
            crate::__landing_pad_aarch64!(),
            "sub sp, sp, #64",
            ".cfi_def_cfa_offset 64",
            "stp x29, x30, [sp, #48]",
            "add x29, sp, #48",
            ".cfi_def_cfa x29, 16",
            ".cfi_offset x30, -8",
            ".cfi_offset x29, -16",
            "stp x20, x19, [x29, #-16]",
            "stp x22, x21, [x29, #-32]",
            "stp x24, x23, [x29, #-48]",
            ".cfi_offset x19, -24",
            ".cfi_offset x20, -32",
            ".cfi_offset x21, -40",
            ".cfi_offset x22, -48",
            ".cfi_offset x23, -56",
            ".cfi_offset x24, -64",
            "mov w22, w0",
            "mov x23, x1",
            "mov x24, x2",
            load_g!("x19", scratch: "x9", none: "2f"),
            "ldr x20, [x19, #{open_size}]",
            "str xzr, [x19, #{open_size}]",
            "ldr w9, [x19, #{handling}]",
            "add w9, w9, #1",
            "str w9, [x19, #{handling}]",
            "b 3f",
            "2:",
            "mov x19, xzr",
            "3:",
            crate::__import_aarch64!("x16", "{errno}"),
            "blr x16",
            "ldr w21, [x0]",
            "mov w0, w22",
            "mov x1, x23",
            "mov x2, x24",
            "mov x3, x19",
            "bl {sighandler}",
            crate::__import_aarch64!("x16", "{errno}"),
            "blr x16",
            "str w21, [x0]",
            "cbz x19, 4f",
            "ldr w9, [x19, #{handling}]",
            "sub w9, w9, #1",
            "str w9, [x19, #{handling}]",
            "str x20, [x19, #{open_size}]",
            "4:",
            "ldp x20, x19, [x29, #-16]",
            "ldp x22, x21, [x29, #-32]",
            "ldp x24, x23, [x29, #-48]",
            crate::__cfi_after_prologue!(
                ".cfi_restore x19",
                ".cfi_restore x20",
                ".cfi_restore x21",
                ".cfi_restore x22",
                ".cfi_restore x23",
                ".cfi_restore x24"
            ),
            crate::__return_aarch64!(),
            ".cfi_endproc",
            open_size = const offset_of!(G, open_size),
            handling = const offset_of!(G, handling),
            errno = sym super::errno_location,
            sighandler = sym crate::os::signal::sighandler,
        )
    }

    // mstart_stub(m): where a new thread of the layer begins; pthread_create calls it.
    //
    //   in    x0  m                               out  x0  NULL, and libpthread ends the thread
    //   keeps x19-x28 x29 d8-d15
    //
    // g is g0 before the first Rust instruction runs.
    pub unsafe extern "C" fn mstart_stub(m: *mut c_void) -> *mut c_void {
        naked_asm!(
            ".cfi_startproc",
            crate::__landing_pad_aarch64!(),
            crate::__frame_aarch64!(),
            "add x9, x0, #{g0}",
            store_g!("x9", scratch: "x10", "x11"),
            "bl {mstart}",
            "mov x0, xzr",
            crate::__return_aarch64!(),
            ".cfi_endproc",
            g0 = const offset_of!(M, g0),
            mstart = sym crate::os::thread::mstart,
        )
    }

    // getg(): g of this thread, or null.
    pub unsafe extern "C" fn getg() -> *mut G {
        naked_asm!(
            ".cfi_startproc",
            crate::__landing_pad_aarch64!(),
            load_g!("x0", scratch: "x9", none: "2f"),
            "ret",
            "2:",
            "mov x0, xzr",
            "ret",
            ".cfi_endproc",
        )
    }

    // setg(g): the only other store of g, for attach, detach and foreign context switches.
    pub unsafe extern "C" fn setg(g: *mut G) {
        naked_asm!(
            ".cfi_startproc",
            crate::__landing_pad_aarch64!(),
            store_g!("x0", scratch: "x9", "x10"),
            "ret",
            ".cfi_endproc",
        )
    }

    // The word at that byte offset in this thread's direct array of pthread keys.
    #[cfg(target_vendor = "apple")]
    pub unsafe extern "C" fn direct_slot(offset: usize) -> usize {
        naked_asm!(
            ".cfi_startproc",
            crate::__landing_pad_aarch64!(),
            "mrs x9, TPIDRRO_EL0",
            "and x9, x9, #-8",
            "ldr x0, [x9, x0]",
            "ret",
            ".cfi_endproc",
        )
    }

    // 0 if a guarded control stack is on, else 1.
    unsafe extern "C" fn no_guarded_control_stack() -> usize {
        naked_asm!(
            ".cfi_startproc",
            crate::__landing_pad_aarch64!(),
            // chkfeat x16: clears the bits of features that are on; a no-op where it is unknown.
            "mov x16, #1",
            "hint #40",
            "mov x0, x16",
            "ret",
            ".cfi_endproc",
        )
    }

    // The caller's stack pointer, as it is before the call.
    pub unsafe extern "C" fn stack_pointer() -> usize {
        naked_asm!(
            ".cfi_startproc",
            crate::__landing_pad_aarch64!(),
            "mov x0, sp",
            "ret",
            ".cfi_endproc",
        )
    }
}

/// Is a hardware shadow stack on? It would refuse gogo's returns to another stack.
pub fn shadow_stack() -> bool {
    // SAFETY: asks the processor and does nothing else.
    unsafe { no_guarded_control_stack() == 0 }
}

/// Lays the image of a fresh context below `hi`, so that gogo arrives in goentry.
///
/// Returns the SP of the image.
///
/// # Safety
///
/// The `STACK_MIN` bytes below `hi` must be writable, and `hi` 16-aligned.
pub unsafe fn prepare(
    hi: usize,
    entry: unsafe extern "C" fn(*mut c_void),
    arg: *mut c_void,
) -> usize {
    #[repr(C)]
    struct Fresh {
        d15_to_d8: [u64; 8],
        x28_to_x21: [usize; 8],
        x20: *mut c_void,
        x19: unsafe extern "C" fn(*mut c_void),
        x29: usize,
        x30: usize,
        // goentry runs with sp here; the last link of the chain.
        link: usize,
        landing: usize,
    }
    static_assertions::const_assert_eq!(size_of::<Fresh>(), IMAGE_SIZE + LINK);
    static_assertions::const_assert_eq!(offset_of!(Fresh, x29), IMAGE);

    let image = (hi - size_of::<Fresh>()) as *mut Fresh;
    // SAFETY: the caller gives the memory.
    unsafe {
        image.write(Fresh {
            d15_to_d8: [0; 8],
            x28_to_x21: [0; 8],
            x20: arg,
            x19: entry,
            x29: hi - LINK,
            // Behind the first instruction of each, for unwinders that look up the byte before.
            x30: goentry as *const () as usize + 4,
            link: 0,
            landing: landing as *const () as usize + 4,
        });
    }
    image as usize
}

/// The interrupted PC and SP of a signal's context.
///
/// # Safety
///
/// `context` must be what the kernel gave the handler.
pub unsafe fn interrupted(context: *const c_void) -> (usize, usize) {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the caller's word.
    unsafe {
        cfg_if::cfg_if! {
            if #[cfg(target_vendor = "apple")] {
                let state = &(*(*context).uc_mcontext).__ss;
                (state.__pc as usize, state.__sp as usize)
            } else {
                let registers = &(*context).uc_mcontext;
                (registers.pc as usize, registers.sp as usize)
            }
        }
    }
}

/// The trampoline of a row: loads the arguments to where `assign` placed them and calls.
///
///   in    x0  the packed arguments            out  whatever the C function returns
///   keeps x19-x28 x29 d8-d15
///
/// x0, which is also the first general register, is loaded last. Where all arguments travel in
/// registers it ends in a jump and has no frame. Otherwise:
///
/// ```text
///      │ saved x30       │
///      │ saved x29       │ <- x29
///      │ stack arguments │ <- sp
/// ```
///
/// Arguments on the stack are as wide as their place says: Apple packs the named ones.
#[doc(hidden)]
#[macro_export]
macro_rules! __trampoline {
    ($plan:expr, $f:path) => {
        ::core::arch::naked_asm!(
            $crate::__property_note!(),
            // Loads an integer of that kind, extended to 64 bits by its sign.
            ".macro nosplit_load wide, narrow, kind, from",
            ".if \\kind == 4",
            "ldr \\narrow, [x0, #\\from]",
            ".elseif \\kind == 20",
            "ldrsw \\wide, [x0, #\\from]",
            ".elseif \\kind == 2",
            "ldrh \\narrow, [x0, #\\from]",
            ".elseif \\kind == 18",
            "ldrsh \\wide, [x0, #\\from]",
            ".elseif \\kind == 1",
            "ldrb \\narrow, [x0, #\\from]",
            ".elseif \\kind == 17",
            "ldrsb \\wide, [x0, #\\from]",
            // A float on its way to the stack is its bits.
            ".elseif \\kind == 36",
            "ldr \\narrow, [x0, #\\from]",
            ".else",
            "ldr \\wide, [x0, #\\from]",
            ".endif",
            ".endm",
            ".macro nosplit_load_float double, single, kind, from",
            ".if \\kind == 36",
            "ldr \\single, [x0, #\\from]",
            ".else",
            "ldr \\double, [x0, #\\from]",
            ".endif",
            ".endm",
            ".macro nosplit_argument place, kind, from, to",
            ".if \\place >= 64",
            "nosplit_load x9, w9, \\kind, \\from",
            ".if \\place == 64 + 1",
            "strb w9, [sp, #\\to]",
            ".elseif \\place == 64 + 2",
            "strh w9, [sp, #\\to]",
            ".elseif \\place == 64 + 4",
            "str w9, [sp, #\\to]",
            ".else",
            "str x9, [sp, #\\to]",
            ".endif",
            ".elseif \\place == 2",
            "nosplit_load x1, w1, \\kind, \\from",
            ".elseif \\place == 3",
            "nosplit_load x2, w2, \\kind, \\from",
            ".elseif \\place == 4",
            "nosplit_load x3, w3, \\kind, \\from",
            ".elseif \\place == 5",
            "nosplit_load x4, w4, \\kind, \\from",
            ".elseif \\place == 6",
            "nosplit_load x5, w5, \\kind, \\from",
            ".elseif \\place == 7",
            "nosplit_load x6, w6, \\kind, \\from",
            ".elseif \\place == 8",
            "nosplit_load x7, w7, \\kind, \\from",
            ".elseif \\place == 32",
            "nosplit_load_float d0, s0, \\kind, \\from",
            ".elseif \\place == 33",
            "nosplit_load_float d1, s1, \\kind, \\from",
            ".elseif \\place == 34",
            "nosplit_load_float d2, s2, \\kind, \\from",
            ".elseif \\place == 35",
            "nosplit_load_float d3, s3, \\kind, \\from",
            ".elseif \\place == 36",
            "nosplit_load_float d4, s4, \\kind, \\from",
            ".elseif \\place == 37",
            "nosplit_load_float d5, s5, \\kind, \\from",
            ".elseif \\place == 38",
            "nosplit_load_float d6, s6, \\kind, \\from",
            ".elseif \\place == 39",
            "nosplit_load_float d7, s7, \\kind, \\from",
            ".endif",
            ".endm",
            ".macro nosplit_first place, kind, from, to",
            ".if \\place == 1",
            "nosplit_load x0, w0, \\kind, \\from",
            ".endif",
            ".endm",
            ".macro nosplit_each what",
            "\\what {p11}, {k11}, {f11}, {t11}",
            "\\what {p10}, {k10}, {f10}, {t10}",
            "\\what {p9}, {k9}, {f9}, {t9}",
            "\\what {p8}, {k8}, {f8}, {t8}",
            "\\what {p7}, {k7}, {f7}, {t7}",
            "\\what {p6}, {k6}, {f6}, {t6}",
            "\\what {p5}, {k5}, {f5}, {t5}",
            "\\what {p4}, {k4}, {f4}, {t4}",
            "\\what {p3}, {k3}, {f3}, {t3}",
            "\\what {p2}, {k2}, {f2}, {t2}",
            "\\what {p1}, {k1}, {f1}, {t1}",
            "\\what {p0}, {k0}, {f0}, {t0}",
            ".endm",
            ".cfi_startproc",
            $crate::__landing_pad_aarch64!(),
            ".if {stack}",
            $crate::__frame_aarch64!(),
            "sub sp, sp, #{stack}",
            ".endif",
            "nosplit_each nosplit_argument",
            "nosplit_each nosplit_first",
            $crate::__import_aarch64!("x16", "{f}"),
            ".if {stack}",
            "blr x16",
            $crate::__return_aarch64!(),
            ".else",
            "br x16",
            ".endif",
            ".cfi_endproc",
            ".purgem nosplit_load",
            ".purgem nosplit_load_float",
            ".purgem nosplit_argument",
            ".purgem nosplit_first",
            ".purgem nosplit_each",
            f = sym $f,
            stack = const $plan.stack(),
            p0 = const $plan.place(0), k0 = const $plan.kind(0), f0 = const $plan.from(0), t0 = const $plan.to(0),
            p1 = const $plan.place(1), k1 = const $plan.kind(1), f1 = const $plan.from(1), t1 = const $plan.to(1),
            p2 = const $plan.place(2), k2 = const $plan.kind(2), f2 = const $plan.from(2), t2 = const $plan.to(2),
            p3 = const $plan.place(3), k3 = const $plan.kind(3), f3 = const $plan.from(3), t3 = const $plan.to(3),
            p4 = const $plan.place(4), k4 = const $plan.kind(4), f4 = const $plan.from(4), t4 = const $plan.to(4),
            p5 = const $plan.place(5), k5 = const $plan.kind(5), f5 = const $plan.from(5), t5 = const $plan.to(5),
            p6 = const $plan.place(6), k6 = const $plan.kind(6), f6 = const $plan.from(6), t6 = const $plan.to(6),
            p7 = const $plan.place(7), k7 = const $plan.kind(7), f7 = const $plan.from(7), t7 = const $plan.to(7),
            p8 = const $plan.place(8), k8 = const $plan.kind(8), f8 = const $plan.from(8), t8 = const $plan.to(8),
            p9 = const $plan.place(9), k9 = const $plan.kind(9), f9 = const $plan.from(9), t9 = const $plan.to(9),
            p10 = const $plan.place(10), k10 = const $plan.kind(10), f10 = const $plan.from(10), t10 = const $plan.to(10),
            p11 = const $plan.place(11), k11 = const $plan.kind(11), f11 = const $plan.from(11), t11 = const $plan.to(11),
        )
    };
}
