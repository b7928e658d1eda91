//! i386: what differs from x86_64.
//!
//! All arguments are on the stack, so that every trampoline has a frame, and an entry still finds
//! its own arguments at 8(%ebp) when esp has gone to another stack. The stack is 16-aligned at every
//! call: Darwin demands it, and Linux's compilers rely on it. There is no red zone.
//!
//! Nothing can be addressed from the PC but by way of a register: `call 7f; 7: popl %ecx`. A call of
//! the next instruction is no call to the return predictors, nor to a shadow stack, and it is what
//! LLVM makes of all other code here; a thunk that returns its return address takes 4 cycles more.
//! It moves esp, so every entry that does it has a frame, by which the unwinder finds the caller.
//!
//! AT&T syntax: LLVM's Intel syntax cannot write a difference of two symbols plus a register.
//!
//! The stacks, while a row's C function runs on behalf of a G:
//!
//! ```text
//!      user stack of g                     system stack of g.m
//!      ┌──────────────────┐ <- hi          ┌──────────────────┐
//!      │ address in gogo  │                │ scheduler        │
//!      │ ebp of gogo    ──┼────────────┐   │ argument: g      │
//!      │ (pad)            │            │   │ return address   │
//!      │ entry's argument │            └─> │ ebp of scheduler │ <- ebp of gogo
//!      │ entry's frames   │                │ ebx esi edi, pad │ <- g.system_sp (16-aligned)
//!      │ wrapper          │                │ (pad)            │
//!      │ row, trampoline  │                │ args             │
//!      │ args             │                │ return address   │
//!      │ return address   │                │ trampoline, libc │ <- esp
//!      │ ebp of wrapper   │ <- ebp, g.record  ...              │
//!      └──────────────────┘                └──────────────────┘
//! ```

use super::Trampoline;
use super::format::{entries, load_g, store_g};
use crate::g::{G, M};
use crate::table::Row;
use core::arch::naked_asm;
use core::ffi::{c_int, c_void};
use core::mem::offset_of;

pub use crate::abi::cdecl::assign;

/// A value in eax and errno in edx. Not a struct of two: i386 Linux returns those in memory, Darwin
/// in registers; 64-bit integers both return in edx:eax.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Outcome(u64);

impl Outcome {
    /// The result register; -1 or NULL, as the entry tests, after a failure.
    #[inline(always)]
    pub fn value(self) -> usize {
        self.0 as usize
    }

    /// `errno`, read on the stack and the thread of the call; 0 where it did not fail.
    #[inline(always)]
    pub fn errno(self) -> c_int {
        (self.0 >> 32) as c_int
    }
}

/// Alignment of the property note, as a power of two.
#[doc(hidden)]
#[macro_export]
macro_rules! __property_align {
    () => {
        "2"
    };
}

/// `GNU_PROPERTY_X86_FEATURE_1_AND`.
#[doc(hidden)]
#[macro_export]
macro_rules! __property_type {
    () => {
        "0xc0000002"
    };
}

/// `IBT` and `SHSTK`.
#[doc(hidden)]
#[macro_export]
macro_rules! __property_flags {
    () => {
        "3"
    };
}

/// Leaves a frame and returns; with CFI for the `ret` where an unwinder reads it.
#[doc(hidden)]
#[macro_export]
macro_rules! __return_i386 {
    () => {
        concat!(
            "leave\n",
            $crate::__cfi_after_prologue!(
                ".cfi_remember_state",
                ".cfi_def_cfa %esp, 4",
                ".cfi_restore %ebp"
            ),
            "ret\n",
            $crate::__cfi_after_prologue!(".cfi_restore_state")
        )
    };
}

/// The frame of a function that keeps ebp as its frame pointer.
#[doc(hidden)]
#[macro_export]
macro_rules! __frame_i386 {
    () => {
        concat!(
            "pushl %ebp\n",
            ".cfi_def_cfa_offset 8\n",
            ".cfi_offset %ebp, -8\n",
            "movl %esp, %ebp\n",
            ".cfi_def_cfa_register %ebp"
        )
    };
}

/// Loads the address of label 7, which it sets, into ecx. The entry must have a frame.
#[doc(hidden)]
#[macro_export]
macro_rules! __pc_i386 {
    () => {
        concat!("call 7f\n", "7:\n", "popl %ecx")
    };
}

// What an entry returns: a value and errno, or 64 bits of value with errno behind a pointer.
macro_rules! returned {
    () => {
        Outcome
    };
    ($r:ty) => {
        $r
    };
}

// asmcgocall(args, trampoline, row): run a C-ABI function on the system stack of this thread.
//
//   in    4(%esp)   args                      out  eax  the result, edx  errno (0: none)
//         8(%esp)   trampoline                     st(0) untouched since the C function
//         12(%esp)  row (where it is checked)
//   keeps ebx esi edi ebp, DF, MXCSR, x87     uses the caller's stack: 12 bytes below the arguments
//
// asmcgocall_i64(args, trampoline, row, errno): the result in edx:eax, errno through the pointer at
// 16(%esp), which is written only if the call failed.
//
// Before the call, when SP is inside the stack of g:
//
//      user stack of g                 system stack of g.m
//      ┌────────────────┐              ┌────────────────┐
//      │ wrapper's frame│              │ scheduler      │
//      │ row, trampoline│              │ ...            │ <- g.system_sp (16-aligned)
//      │ args           │              │ (pad)          │
//      │ return address │              │ args           │
//      │ saved ebp      │ <- ebp       │ trampoline     │ <- esp from here on
//      └────────────────┘              └────────────────┘
//
// Where it stays, it aligns esp. `leave` takes esp back from ebp on every path.
macro_rules! asmcgocall {
    ($($name:ident $(($errno:ident) -> $r:ty)?, size: $size:ident, outside: $outside:expr, call: $call:expr, test: $test:expr, [$($operand:tt)*];)+) => {
        entries! {$(
            pub unsafe extern "C" fn $name(args: *mut c_void, trampoline: Trampoline, row: *const Row $(, $errno: *mut c_int)?) -> returned!($($r)?) {
                naked_asm!(
                    crate::__property_note!(),
                    ".cfi_startproc",
                    crate::__cfi_signal_frame!(),
                    "endbr32",
                    crate::__frame_i386!(),
                    load_g!("%eax", none: "9f"),
                    "movl %esp, %ecx",
                    "subl {lo}(%eax), %ecx",
                    "cmpl {fast}(%eax), %ecx",
                    "jae 3f",
                    "2:",
                    "movl {system_sp}(%eax), %esp",
                    "movl %ebp, {record}(%eax)",
                    "4:",
                    $call,
                    $test,
                    crate::__return_i386!(),
                    // SP is outside of the stack of g: stay, unless a G that resumed g owns it.
                    "3:",
                    $outside,
                    "5:",
                    "movl {parent}(%eax), %eax",
                    "testl %eax, %eax",
                    "jz 9f",
                    "movl %esp, %ecx",
                    "subl {lo}(%eax), %ecx",
                    "cmpl {size}(%eax), %ecx",
                    "jb 2b",
                    "jmp 5b",
                    "9:",
                    "andl $-16, %esp",
                    "jmp 4b",
                    ".cfi_endproc",
                    lo = const offset_of!(G, lo),
                    size = const offset_of!(G, size),
                    fast = const offset_of!(G, $size),
                    system_sp = const offset_of!(G, system_sp),
                    record = const offset_of!(G, record),
                    parent = const offset_of!(G, parent),
                    $($operand)*
                    options(att_syntax),
                )
            }
        )+}
    };
}

// asmcgocall_no_g(args, trampoline): the same without ever reading TLS, on the caller's stack.
macro_rules! asmcgocall_no_g {
    ($($name:ident $(($errno:ident) -> $r:ty)?, call: $call:expr, test: $test:expr, [$($operand:tt)*];)+) => {
        entries! {$(
            pub unsafe extern "C" fn $name(args: *mut c_void, trampoline: Trampoline $(, row: *const Row, $errno: *mut c_int)?) -> returned!($($r)?) {
                naked_asm!(
                    ".cfi_startproc",
                    "endbr32",
                    crate::__frame_i386!(),
                    "andl $-16, %esp",
                    $call,
                    $test,
                    crate::__return_i386!(),
                    ".cfi_endproc",
                    $($operand)*
                    options(att_syntax),
                )
            }
        )+}
    };
}

macro_rules! call {
    () => {
        concat!("subl $12, %esp\n", "pushl 8(%ebp)\n", "call *12(%ebp)")
    };
}

// For results that may look like a failure and be none: errno is cleared before the call.
macro_rules! call_with_errno_cleared {
    () => {
        concat!(
            crate::__call_import_i386!("{errno}"),
            "\n",
            "movl $0, (%eax)\n",
            call!()
        )
    };
}

// Reads errno, 32 bits of it, if the test says that the call failed; the result, which a cleared
// errno makes a good one, is what the test says it was.
macro_rules! errno_if {
    ($test:literal; result: $result:literal) => {
        concat!(
            $test,
            "\n",
            "je 6f\n",
            "xorl %edx, %edx\n",
            crate::__return_i386!(),
            "6:\n",
            crate::__call_import_i386!("{errno}"),
            "\n",
            "movl (%eax), %edx\n",
            $result
        )
    };
    (word) => {
        errno_if!("cmpl $-1, %eax"; result: "movl $-1, %eax")
    };
    (null) => {
        errno_if!("testl %eax, %eax"; result: "xorl %eax, %eax")
    };
    // In edx:eax; errno goes through the fourth argument.
    (i64) => {
        concat!(
            "movl %eax, %ecx\n",
            "andl %edx, %ecx\n",
            "cmpl $-1, %ecx\n",
            "je 6f\n",
            crate::__return_i386!(),
            "6:\n",
            crate::__call_import_i386!("{errno}"),
            "\n",
            "movl (%eax), %eax\n",
            "movl 20(%ebp), %ecx\n",
            "movl %eax, (%ecx)\n",
            "movl $-1, %eax\n",
            "movl %eax, %edx"
        )
    };
}

// A handler runs on this thread, and the row is not for handlers: say so, and abort.
macro_rules! refuse_in_handler {
    () => {
        concat!(
            "cmpl $0, {handling}(%eax)\n",
            "je 5f\n",
            "andl $-16, %esp\n",
            "subl $12, %esp\n",
            "pushl 16(%ebp)\n",
            "call {forbidden}\n",
            "ud2"
        )
    };
}

variants! {
    asmcgocall checked_asmcgocall asmcgocall_no_g;
    asmcgocall_i32 checked_asmcgocall_i32 asmcgocall_no_g_i32: call, word;
    asmcgocall_word checked_asmcgocall_word asmcgocall_no_g_word: call, word;
    asmcgocall_null checked_asmcgocall_null asmcgocall_no_g_null: call, null;
    asmcgocall_i64 checked_asmcgocall_i64 asmcgocall_no_g_i64: call, i64 (errno) -> u64;
    asmcgocall_ambiguous_i32 checked_asmcgocall_ambiguous_i32 asmcgocall_no_g_ambiguous_i32: call_with_errno_cleared, word;
    asmcgocall_ambiguous_word checked_asmcgocall_ambiguous_word asmcgocall_no_g_ambiguous_word: call_with_errno_cleared, word;
    asmcgocall_ambiguous_null checked_asmcgocall_ambiguous_null asmcgocall_no_g_ambiguous_null: call_with_errno_cleared, null;
    asmcgocall_ambiguous_i64 checked_asmcgocall_ambiguous_i64 asmcgocall_no_g_ambiguous_i64: call_with_errno_cleared, i64 (errno) -> u64;
}

// The image of a suspended context, on the stack that it suspends.
//
//      CFA ->  ...               the entry's arguments
//        -4    return address
//        -8    ebp                <- ebp of the frame
//       -12    ebx
//       -16    esi
//       -20    edi
//       -32    (pad)              <- sp of the image, 16-aligned as CFA is
/// Bytes from the end of an image to its ebp.
const IMAGE: usize = 24;

/// Bytes of a whole image, return address included.
const IMAGE_SIZE: usize = IMAGE + 8;

/// Bytes at the top of a user stack that link its first frame to gogo's.
const LINK: usize = 8;

/// The least stack on which gostartcallfn can start: an image, the link, and entry's first frames.
pub const STACK_MIN: usize = 512;

// The lowest first in the CFI: the compact unwind entry that LLVM makes of it takes that for granted.
macro_rules! save_image {
    () => {
        concat!(
            crate::__frame_i386!(),
            "\n",
            "subl ${image}, %esp\n",
            "movl %ebx, -4(%ebp)\n",
            "movl %esi, -8(%ebp)\n",
            "movl %edi, -12(%ebp)\n",
            ".cfi_offset %edi, -20\n",
            ".cfi_offset %esi, -16\n",
            ".cfi_offset %ebx, -12"
        )
    };
}

// With esp just switched to another image: ebp follows, so that both describe that stack.
macro_rules! adopt_image {
    () => {
        concat!(
            crate::__cfi_after_prologue!(".cfi_def_cfa %esp, {image} + 8"),
            "leal {image}(%esp), %ebp\n",
            crate::__cfi_after_prologue!(".cfi_def_cfa %ebp, 8")
        )
    };
}

macro_rules! restore_image {
    () => {
        concat!(
            "movl -4(%ebp), %ebx\n",
            "movl -8(%ebp), %esi\n",
            "movl -12(%ebp), %edi\n",
            crate::__cfi_after_prologue!(
                ".cfi_restore %ebx",
                ".cfi_restore %esi",
                ".cfi_restore %edi"
            ),
            "leave\n",
            crate::__cfi_after_prologue!(".cfi_def_cfa %esp, 4", ".cfi_restore %ebp"),
            "ret\n"
        )
    };
}

entries! {
    // gogo(g): leave the system stack for the stack of g; comes back when g parks or ends.
    //
    //   in    4(%esp)  g                          out  nothing
    //   keeps ebx esi edi ebp (in the image), DF, MXCSR, x87: they belong to the thread
    //
    // g.system_sp, then g of this thread, then esp: until esp is in g, every call stays here.
    pub unsafe extern "C" fn gogo(g: *mut G) {
        naked_asm!(
            ".cfi_startproc",
            "endbr32",
            save_image!(),
            "movl 8(%ebp), %eax",
            "movl %esp, {system_sp}(%eax)",
            // The last frame of g links to this one: a walk of g goes on into the scheduler.
            "movl {hi}(%eax), %ecx",
            "movl %ebp, -{link}(%ecx)",
            store_g!("%eax", scratch: "%ecx"),
            "movl {sched_sp}(%eax), %esp",
            adopt_image!(),
            restore_image!(),
            ".cfi_endproc",
            image = const IMAGE,
            system_sp = const offset_of!(G, system_sp),
            hi = const offset_of!(G, hi),
            link = const LINK,
            sched_sp = const offset_of!(G, sched_sp),
            options(att_syntax),
        )
    }

    // mcall(f, arg): park the current G, and run f(g, arg) on the system stack; then gogo returns.
    //
    //   in    4(%esp)  f, 8(%esp)  arg            out  nothing, when g is entered again
    //   keeps ebx esi edi ebp (in the image)
    //
    // The image and g.sched, then esp, then g of this thread. g.m is cleared last: f may hand g on.
    pub unsafe extern "C" fn mcall(f: unsafe extern "C" fn(*mut G, *mut c_void), arg: *mut c_void) {
        naked_asm!(
            ".cfi_startproc",
            "endbr32",
            save_image!(),
            load_g!("%eax", none: "3f"),
            // The image has these two: they carry the arguments, which ebp is about to leave.
            "movl 8(%ebp), %esi",
            "movl 12(%ebp), %edi",
            "movl %esp, {sched_sp}(%eax)",
            "movl {system_sp}(%eax), %esp",
            adopt_image!(),
            "movl {m}(%eax), %edx",
            "leal {g0}(%edx), %edx",
            store_g!("%edx", scratch: "%ecx"),
            "movl $0, {m}(%eax)",
            "subl $8, %esp",
            "pushl %edi",
            "pushl %eax",
            "call *%esi",
            restore_image!(),
            // mcall() in Rust has refused a thread without g.
            "3:",
            "ud2",
            ".cfi_endproc",
            image = const IMAGE,
            sched_sp = const offset_of!(G, sched_sp),
            system_sp = const offset_of!(G, system_sp),
            m = const offset_of!(G, m),
            g0 = const offset_of!(M, g0),
            options(att_syntax),
        )
    }

    // gosave(f, arg, g): spill every callee-saved register, publish SP in g.sched, run f(g, arg).
    //
    //   in    4(%esp)  f, 8(%esp)  arg, 12(%esp)  g    out  nothing
    //   keeps ebx esi edi ebp
    pub unsafe extern "C" fn gosave(
        f: unsafe extern "C" fn(*mut G, *mut c_void),
        arg: *mut c_void,
        g: *mut G,
    ) {
        naked_asm!(
            ".cfi_startproc",
            "endbr32",
            save_image!(),
            "movl 16(%ebp), %eax",
            "movl %esp, {sched_sp}(%eax)",
            "subl $8, %esp",
            "pushl 12(%ebp)",
            "pushl %eax",
            "call *8(%ebp)",
            restore_image!(),
            ".cfi_endproc",
            image = const IMAGE,
            sched_sp = const offset_of!(G, sched_sp),
            options(att_syntax),
        )
    }

    // goentry: the first frame of a G; gogo's `ret` arrives behind the nop, from `prepare`'s image.
    //
    //   in    ebx  entry, (%esp)  its argument, esp 16-aligned, ebp  the link at the top of the stack
    pub unsafe extern "C" fn goentry() {
        naked_asm!(
            ".cfi_startproc",
            crate::__cfi_signal_frame!(),
            ".cfi_def_cfa_offset 8",
            ".cfi_offset %ebp, -8",
            ".cfi_def_cfa_register %ebp",
            // The unwinder looks up one byte before a return address.
            "nop",
            "call *%ebx",
            "call {goexit}",
            "ud2",
            ".cfi_endproc",
            goexit = sym crate::switch::goexit,
            options(att_syntax),
        )
    }

    // landing: the return address at the top of every G's stack. Never executed: it tells an
    // unwinder that the frame behind a G's first one is gogo's, by the link in ebp.
    pub unsafe extern "C" fn landing() {
        naked_asm!(
            ".cfi_startproc",
            ".cfi_def_cfa_offset 8",
            ".cfi_offset %ebp, -8",
            ".cfi_def_cfa_register %ebp",
            ".cfi_offset %edi, -20",
            ".cfi_offset %esi, -16",
            ".cfi_offset %ebx, -12",
            "ud2",
            "ud2",
            ".cfi_endproc",
            options(att_syntax),
        )
    }

    // sigtramp(sig, info, context): what the layer's signals are delivered to.
    //
    //   in    4(%esp)  sig, 8(%esp)  info, 12(%esp)  context    out  nothing
    //   keeps errno, ebx esi edi ebp, g and g.system_sp
    //
    // While the handler runs, g.handling counts it and g.open_size is 0: rows that are not for
    // handlers leave the fast path. Nested entries are alike. errno waits in the pad of the image,
    // ebx holds g or null, esi its open_size.
    pub unsafe extern "C" fn sigtramp(sig: c_int, info: *mut c_void, context: *mut c_void) {
        naked_asm!(
            ".cfi_startproc",
            "endbr32",
            save_image!(),
            load_g!("%ebx", none: "3f"),
            "movl {open_size}(%ebx), %esi",
            "movl $0, {open_size}(%ebx)",
            "incl {handling}(%ebx)",
            "3:",
            crate::__call_import_i386!("{errno}"),
            "movl (%eax), %eax",
            "movl %eax, -16(%ebp)",
            "pushl %ebx",
            "pushl 16(%ebp)",
            "pushl 12(%ebp)",
            "pushl 8(%ebp)",
            "call {sighandler}",
            crate::__call_import_i386!("{errno}"),
            "movl -16(%ebp), %ecx",
            "movl %ecx, (%eax)",
            "testl %ebx, %ebx",
            "jz 4f",
            "decl {handling}(%ebx)",
            "movl %esi, {open_size}(%ebx)",
            "4:",
            restore_image!(),
            ".cfi_endproc",
            image = const IMAGE,
            open_size = const offset_of!(G, open_size),
            handling = const offset_of!(G, handling),
            errno = sym super::errno_location,
            sighandler = sym crate::os::signal::sighandler,
            options(att_syntax),
        )
    }

    // mstart_stub(m): where a new thread of the layer begins; pthread_create calls it.
    //
    //   in    4(%esp)  m                          out  eax  NULL, and libpthread ends the thread
    //   keeps ebx esi edi ebp
    //
    // g is g0 before the first Rust instruction runs.
    pub unsafe extern "C" fn mstart_stub(m: *mut c_void) -> *mut c_void {
        naked_asm!(
            ".cfi_startproc",
            "endbr32",
            crate::__frame_i386!(),
            "movl 8(%ebp), %edx",
            "leal {g0}(%edx), %eax",
            store_g!("%eax", scratch: "%ecx"),
            "subl $4, %esp",
            "pushl %edx",
            "call {mstart}",
            "xorl %eax, %eax",
            crate::__return_i386!(),
            ".cfi_endproc",
            g0 = const offset_of!(M, g0),
            mstart = sym crate::os::thread::mstart,
            options(att_syntax),
        )
    }

    // getg(): g of this thread, or null.
    pub unsafe extern "C" fn getg() -> *mut G {
        naked_asm!(
            ".cfi_startproc",
            "endbr32",
            crate::__frame_i386!(),
            load_g!("%eax", none: "2f"),
            "2:",
            crate::__return_i386!(),
            ".cfi_endproc",
            options(att_syntax),
        )
    }

    // setg(g): the only other store of g, for attach, detach and foreign context switches.
    pub unsafe extern "C" fn setg(g: *mut G) {
        naked_asm!(
            ".cfi_startproc",
            "endbr32",
            crate::__frame_i386!(),
            "movl 8(%ebp), %eax",
            store_g!("%eax", scratch: "%ecx"),
            crate::__return_i386!(),
            ".cfi_endproc",
            options(att_syntax),
        )
    }

    // The word at that byte offset in this thread's direct array of pthread keys.
    #[cfg(target_vendor = "apple")]
    pub unsafe extern "C" fn direct_slot(offset: usize) -> usize {
        naked_asm!(
            ".cfi_startproc",
            "endbr32",
            "movl 4(%esp), %eax",
            "movl %gs:(%eax), %eax",
            "ret",
            ".cfi_endproc",
            options(att_syntax),
        )
    }

    // The value of the shadow stack pointer: 0 where there is no shadow stack.
    pub unsafe extern "C" fn shadow_stack_pointer() -> usize {
        naked_asm!(
            ".cfi_startproc",
            "endbr32",
            "xorl %eax, %eax",
            // A no-op, which leaves 0, unless CET shadow stacks are on.
            "rdsspd %eax",
            "ret",
            ".cfi_endproc",
            options(att_syntax),
        )
    }

    // The caller's stack pointer, as it is before the call.
    pub unsafe extern "C" fn stack_pointer() -> usize {
        naked_asm!(
            ".cfi_startproc",
            "endbr32",
            "leal 4(%esp), %eax",
            "ret",
            ".cfi_endproc",
            options(att_syntax),
        )
    }
}

/// Is a hardware shadow stack on? It would refuse gogo's returns to another stack.
pub fn shadow_stack() -> bool {
    // SAFETY: reads a register and nothing else.
    unsafe { shadow_stack_pointer() != 0 }
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
        pad: [usize; 3],
        edi: usize,
        esi: usize,
        ebx: unsafe extern "C" fn(*mut c_void),
        ebp: usize,
        ret: usize,
        // goentry runs with esp here, 16-aligned: entry's argument is in place.
        arg: *mut c_void,
        aligned: usize,
        // The last link of the chain.
        link: usize,
        landing: usize,
    }
    static_assertions::const_assert_eq!(offset_of!(Fresh, ebp), IMAGE);
    static_assertions::const_assert_eq!(offset_of!(Fresh, arg), IMAGE_SIZE);
    static_assertions::const_assert_eq!(offset_of!(Fresh, link), size_of::<Fresh>() - LINK);
    static_assertions::const_assert_eq!(size_of::<Fresh>() % 16, 0);

    let image = (hi - size_of::<Fresh>()) as *mut Fresh;
    // SAFETY: the caller gives the memory.
    unsafe {
        image.write(Fresh {
            pad: [0; 3],
            edi: 0,
            esi: 0,
            ebx: entry,
            ebp: hi - LINK,
            // Behind the first instruction of each, for unwinders that look up the byte before.
            ret: goentry as *const () as usize + 1,
            arg,
            aligned: 0,
            link: 0,
            landing: landing as *const () as usize + 2,
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
    // SAFETY: the caller's word.
    unsafe {
        cfg_if::cfg_if! {
            if #[cfg(target_vendor = "apple")] {
                let state = &(*(*context.cast::<darwin::Ucontext>()).uc_mcontext).__ss;
                (state.__eip as usize, state.__esp as usize)
            } else {
                let registers = &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
                (registers[libc::REG_EIP as usize] as usize, registers[libc::REG_ESP as usize] as usize)
            }
        }
    }
}

/// What the libc crate has for Darwin's other processors only: the context that a handler is given.
#[cfg(target_vendor = "apple")]
mod darwin {
    /// `ucontext_t` of `sys/_types/_ucontext.h`.
    #[repr(C)]
    pub struct Ucontext {
        uc_onstack: libc::c_int,
        uc_sigmask: libc::sigset_t,
        uc_stack: libc::stack_t,
        uc_link: *mut Ucontext,
        uc_mcsize: libc::size_t,
        pub uc_mcontext: *mut Mcontext32,
    }

    /// The beginning of `_STRUCT_MCONTEXT32` of `i386/_mcontext.h`; the float state follows.
    #[repr(C)]
    pub struct Mcontext32 {
        __es: ExceptionState32,
        pub __ss: ThreadState32,
    }

    /// `_STRUCT_X86_EXCEPTION_STATE32` of `mach/i386/_structs.h`.
    #[repr(C)]
    struct ExceptionState32 {
        __trapno: u16,
        __cpu: u16,
        __err: u32,
        __faultvaddr: u32,
    }

    /// `_STRUCT_X86_THREAD_STATE32` of `mach/i386/_structs.h`.
    #[repr(C)]
    pub struct ThreadState32 {
        __eax: u32,
        __ebx: u32,
        __ecx: u32,
        __edx: u32,
        __edi: u32,
        __esi: u32,
        __ebp: u32,
        pub __esp: u32,
        __ss: u32,
        __eflags: u32,
        pub __eip: u32,
        __cs: u32,
        __ds: u32,
        __es: u32,
        __fs: u32,
        __gs: u32,
    }

    static_assertions::const_assert_eq!(size_of::<Ucontext>(), 32);
    static_assertions::const_assert_eq!(size_of::<ExceptionState32>(), 12);
    static_assertions::const_assert_eq!(size_of::<ThreadState32>(), 64);
}

/// The trampoline of a row: pushes the arguments, last to first, and calls.
///
///   in    4(%esp)  the packed arguments       out  whatever the C function returns
///   keeps ebx esi edi ebp
///
/// ```text
///      │ packed arguments│
///      │ return address  │
///      │ saved ebp       │ <- ebp
///      │ (pad)           │
///      │ last argument   │
///      │ first argument  │ <- esp, 16-aligned
/// ```
///
/// `assign` leaves no gaps, so what is pushed lies where it placed it.
#[doc(hidden)]
#[macro_export]
macro_rules! __trampoline {
    ($plan:expr, $f:path) => {
        ::core::arch::naked_asm!(
            $crate::__property_note!(),
            // Pushes an argument: two words, or one, to which its kind is extended by its sign.
            ".macro nosplit_argument place, kind, from",
            ".if \\place == 64 + 8",
            "pushl \\from + 4(%eax)",
            "pushl \\from(%eax)",
            ".elseif \\place == 64 + 4",
            ".if \\kind == 2",
            "movzwl \\from(%eax), %edx",
            "pushl %edx",
            ".elseif \\kind == 18",
            "movswl \\from(%eax), %edx",
            "pushl %edx",
            ".elseif \\kind == 1",
            "movzbl \\from(%eax), %edx",
            "pushl %edx",
            ".elseif \\kind == 17",
            "movsbl \\from(%eax), %edx",
            "pushl %edx",
            ".else",
            "pushl \\from(%eax)",
            ".endif",
            ".endif",
            ".endm",
            ".cfi_startproc",
            "endbr32",
            $crate::__frame_i386!(),
            "movl 8(%ebp), %eax",
            ".if {pad}",
            "subl ${pad}, %esp",
            ".endif",
            "nosplit_argument {p11}, {k11}, {f11}",
            "nosplit_argument {p10}, {k10}, {f10}",
            "nosplit_argument {p9}, {k9}, {f9}",
            "nosplit_argument {p8}, {k8}, {f8}",
            "nosplit_argument {p7}, {k7}, {f7}",
            "nosplit_argument {p6}, {k6}, {f6}",
            "nosplit_argument {p5}, {k5}, {f5}",
            "nosplit_argument {p4}, {k4}, {f4}",
            "nosplit_argument {p3}, {k3}, {f3}",
            "nosplit_argument {p2}, {k2}, {f2}",
            "nosplit_argument {p1}, {k1}, {f1}",
            "nosplit_argument {p0}, {k0}, {f0}",
            $crate::__call_import_i386!("{f}"),
            $crate::__return_i386!(),
            ".cfi_endproc",
            ".purgem nosplit_argument",
            f = sym $f,
            // Return address and ebp are 8 bytes of the 16 already.
            pad = const (24 - $plan.placement().stack as i32 % 16) % 16,
            p0 = const $plan.place(0), k0 = const $plan.kind(0), f0 = const $plan.from(0),
            p1 = const $plan.place(1), k1 = const $plan.kind(1), f1 = const $plan.from(1),
            p2 = const $plan.place(2), k2 = const $plan.kind(2), f2 = const $plan.from(2),
            p3 = const $plan.place(3), k3 = const $plan.kind(3), f3 = const $plan.from(3),
            p4 = const $plan.place(4), k4 = const $plan.kind(4), f4 = const $plan.from(4),
            p5 = const $plan.place(5), k5 = const $plan.kind(5), f5 = const $plan.from(5),
            p6 = const $plan.place(6), k6 = const $plan.kind(6), f6 = const $plan.from(6),
            p7 = const $plan.place(7), k7 = const $plan.kind(7), f7 = const $plan.from(7),
            p8 = const $plan.place(8), k8 = const $plan.kind(8), f8 = const $plan.from(8),
            p9 = const $plan.place(9), k9 = const $plan.kind(9), f9 = const $plan.from(9),
            p10 = const $plan.place(10), k10 = const $plan.kind(10), f10 = const $plan.from(10),
            p11 = const $plan.place(11), k11 = const $plan.kind(11), f11 = const $plan.from(11),
            options(att_syntax),
        )
    };
}
