//! x86_64: the commented original.
//!
//! The stacks, while a row's C function runs on behalf of a G:
//!
//! ```text
//!      user stack of g                     system stack of g.m
//!      ┌──────────────────┐ <- hi          ┌──────────────────┐
//!      │ address in gogo  │                │ scheduler        │
//!      │ rbp of gogo    ──┼──────────────> │ return address   │
//!      │ goentry: entry's │                │ rbp of scheduler │ <- rbp of gogo
//!      │ frames           │                │ rbx r12-r15, pad │ <- g.system_sp (16-aligned)
//!      │ wrapper          │                │ return address   │
//!      │ return address   │                │ trampoline, libc │ <- rsp
//!      │ rbp of wrapper   │ <- rbp, g.record  ...              │
//!      └──────────────────┘                └──────────────────┘
//! ```
//!
//! A frame-pointer walk from libc goes left by `rbp` of asmcgocall, and right again at the top of
//! the user stack by the `rbp` of gogo that is stored there. Every return address is a real one.

use super::Trampoline;
use super::format::{entries, load_g, store_g};
use crate::g::{G, M};
use crate::table::Row;
use core::arch::naked_asm;
use core::ffi::{c_int, c_void};
use core::mem::offset_of;

pub use crate::abi::sysv64::assign;

/// A value and the errno beside it: 0 where the call did not fail.
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
macro_rules! __return_x86_64 {
    () => {
        concat!(
            "leave\n",
            $crate::__cfi_after_prologue!(
                ".cfi_remember_state",
                ".cfi_def_cfa rsp, 8",
                ".cfi_restore rbp"
            ),
            "ret\n",
            $crate::__cfi_after_prologue!(".cfi_restore_state")
        )
    };
}

/// The frame of a function that keeps rbp as its frame pointer.
#[doc(hidden)]
#[macro_export]
macro_rules! __frame_x86_64 {
    () => {
        concat!(
            "push rbp\n",
            ".cfi_def_cfa_offset 16\n",
            ".cfi_offset rbp, -16\n",
            "mov rbp, rsp\n",
            ".cfi_def_cfa_register rbp"
        )
    };
}

// asmcgocall(args, trampoline, row): run a C-ABI function on the system stack of this thread.
//
//   in    rdi  args, rsi  trampoline          out  rax  the result, edx  errno (0: none)
//         rdx  row (where it is checked)           xmm0 untouched since the C function
//   keeps rbx rbp r12-r15, DF, MXCSR, x87     uses the caller's stack: 16 bytes
//
// Before the call, when SP is inside the stack of g:
//
//      user stack of g                 system stack of g.m
//      ┌────────────────┐              ┌────────────────┐
//      │ wrapper's frame│              │ scheduler      │
//      │ return address │              │ ...            │ <- g.system_sp (16-aligned)
//      │ saved rbp      │ <- rbp       │ trampoline     │ <- rsp from here on
//      └────────────────┘              └────────────────┘
//
// One compare decides, and one load of rsp commits: a signal on either side of it finds a
// consistent thread. `leave` takes rsp back from rbp, and commits the way home.
//
// `size` is the field that the compare reads: `size`, or for rows that handlers must not call
// `open_size`, which is 0 inside a handler and so leads off the fast path to the check.
macro_rules! asmcgocall {
    ($($name:ident, size: $size:ident, outside: $outside:expr, call: $call:expr, test: $test:expr, [$($operand:tt)*];)+) => {
        entries! {$(
            pub unsafe extern "C" fn $name(args: *mut c_void, trampoline: Trampoline, row: *const Row) -> Outcome {
                naked_asm!(
                    crate::__property_note!(),
                    ".cfi_startproc",
                    crate::__cfi_signal_frame!(),
                    "endbr64",
                    crate::__frame_x86_64!(),
                    load_g!("rax", none: "4f"),
                    "mov rcx, rsp",
                    "sub rcx, qword ptr [rax + {lo}]",
                    "cmp rcx, qword ptr [rax + {fast}]",
                    "jae 3f",
                    "2:",
                    "mov rsp, qword ptr [rax + {system_sp}]",
                    "mov qword ptr [rax + {record}], rbp",
                    "4:",
                    $call,
                    $test,
                    crate::__return_x86_64!(),
                    // SP is outside of the stack of g: stay, unless a G that resumed g owns it.
                    "3:",
                    $outside,
                    "5:",
                    "mov rax, qword ptr [rax + {parent}]",
                    "test rax, rax",
                    "jz 4b",
                    "mov rcx, rsp",
                    "sub rcx, qword ptr [rax + {lo}]",
                    "cmp rcx, qword ptr [rax + {size}]",
                    "jb 2b",
                    "jmp 5b",
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
                    "endbr64",
                    crate::__frame_x86_64!(),
                    "and rsp, -16",
                    $call,
                    $test,
                    crate::__return_x86_64!(),
                    ".cfi_endproc",
                    $($operand)*
                )
            }
        )+}
    };
}

macro_rules! call {
    () => {
        "call rsi"
    };
}

// For results that may look like a failure and be none: errno is cleared before the call.
//
//      rsp ->  args
//              trampoline
macro_rules! call_with_errno_cleared {
    () => {
        concat!(
            "sub rsp, 16\n",
            "mov qword ptr [rsp], rdi\n",
            "mov qword ptr [rsp + 8], rsi\n",
            "call qword ptr [rip + {errno}@GOTPCREL]\n",
            "mov dword ptr [rax], 0\n",
            "mov rdi, qword ptr [rsp]\n",
            "call qword ptr [rsp + 8]"
        )
    };
}

// Reads errno, 32 bits of it, if the test says that the call failed; the result, which a cleared
// errno makes a good one, is what the test says it was.
macro_rules! errno_if {
    ($test:literal; result: $result:literal) => {
        concat!(
            $test, "\n",
            "je 6f\n",
            "xor edx, edx\n",
            crate::__return_x86_64!(),
            "6:\n",
            "call qword ptr [rip + {errno}@GOTPCREL]\n",
            "mov edx, dword ptr [rax]\n",
            $result
        )
    };
    (i32) => {
        errno_if!("cmp eax, -1"; result: "mov eax, -1")
    };
    (word) => {
        errno_if!("cmp rax, -1"; result: "mov rax, -1")
    };
    (null) => {
        errno_if!("test rax, rax"; result: "xor eax, eax")
    };
}

// A handler runs on this thread, and the row is not for handlers: say so, and abort.
macro_rules! refuse_in_handler {
    () => {
        concat!(
            "cmp dword ptr [rax + {handling}], 0\n",
            "je 5f\n",
            "mov rdi, rdx\n",
            "call {forbidden}\n",
            "ud2"
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
//        -8    return address
//       -16    rbp                <- rbp of the frame
//       -24    rbx
//       -32    r12
//       -40    r13
//       -48    r14
//       -56    r15
//       -64    (pad)              <- sp of the image
/// Bytes from the end of an image to its rbp.
const IMAGE: usize = 48;

/// Bytes of a whole image, return address included.
const IMAGE_SIZE: usize = IMAGE + 16;

/// Bytes at the top of a user stack that link its first frame to gogo's.
const LINK: usize = 16;

/// The least stack on which gostartcallfn can start: an image, the link, and entry's first frames.
pub const STACK_MIN: usize = 512;

// Where an unwinder finds the callee-saved registers of an image: lowest address first, the order in
// which Mach-O's compact unwind numbers them.
macro_rules! cfi_image {
    () => {
        concat!(
            ".cfi_offset r15, -56\n",
            ".cfi_offset r14, -48\n",
            ".cfi_offset r13, -40\n",
            ".cfi_offset r12, -32\n",
            ".cfi_offset rbx, -24"
        )
    };
}

macro_rules! save_image {
    () => {
        concat!(
            crate::__frame_x86_64!(),
            "\n",
            "sub rsp, {image}\n",
            "mov qword ptr [rbp - 8], rbx\n",
            "mov qword ptr [rbp - 16], r12\n",
            "mov qword ptr [rbp - 24], r13\n",
            "mov qword ptr [rbp - 32], r14\n",
            "mov qword ptr [rbp - 40], r15\n",
            cfi_image!()
        )
    };
}

// With rsp just switched to another image: rbp follows, so that both describe that stack.
macro_rules! adopt_image {
    () => {
        concat!(
            crate::__cfi_after_prologue!(".cfi_def_cfa rsp, {image} + 16"),
            "lea rbp, [rsp + {image}]\n",
            crate::__cfi_after_prologue!(".cfi_def_cfa rbp, 16")
        )
    };
}

macro_rules! restore_image {
    () => {
        concat!(
            "mov rbx, qword ptr [rbp - 8]\n",
            "mov r12, qword ptr [rbp - 16]\n",
            "mov r13, qword ptr [rbp - 24]\n",
            "mov r14, qword ptr [rbp - 32]\n",
            "mov r15, qword ptr [rbp - 40]\n",
            crate::__cfi_after_prologue!(
                ".cfi_restore rbx",
                ".cfi_restore r12",
                ".cfi_restore r13",
                ".cfi_restore r14",
                ".cfi_restore r15"
            ),
            "leave\n",
            crate::__cfi_after_prologue!(".cfi_def_cfa rsp, 8", ".cfi_restore rbp"),
            "ret\n"
        )
    };
}

entries! {
    // gogo(g): leave the system stack for the stack of g; comes back when g parks or ends.
    //
    //   in    rdi  g                              out  nothing
    //   keeps rbx rbp r12-r15 (in the image), DF, MXCSR, x87: they belong to the thread
    //
    // g.system_sp, then g of this thread, then rsp: until rsp is in g, every call stays here.
    pub unsafe extern "C" fn gogo(g: *mut G) {
        naked_asm!(
            ".cfi_startproc",
            "endbr64",
            save_image!(),
            "mov qword ptr [rdi + {system_sp}], rsp",
            // The last frame of g links to this one: a walk of g goes on into the scheduler.
            "mov rcx, qword ptr [rdi + {hi}]",
            "mov qword ptr [rcx - {link}], rbp",
            store_g!("rdi", scratch: "rcx"),
            "mov rsp, qword ptr [rdi + {sched_sp}]",
            adopt_image!(),
            restore_image!(),
            ".cfi_endproc",
            image = const IMAGE,
            system_sp = const offset_of!(G, system_sp),
            hi = const offset_of!(G, hi),
            link = const LINK,
            sched_sp = const offset_of!(G, sched_sp),
        )
    }

    // mcall(f, arg): park the current G, and run f(g, arg) on the system stack; then gogo returns.
    //
    //   in    rdi  f, rsi  arg                    out  nothing, when g is entered again
    //   keeps rbx rbp r12-r15 (in the image)
    //
    // The image and g.sched, then rsp, then g of this thread. g.m is cleared last: f may hand g on.
    pub unsafe extern "C" fn mcall(f: unsafe extern "C" fn(*mut G, *mut c_void), arg: *mut c_void) {
        naked_asm!(
            ".cfi_startproc",
            "endbr64",
            save_image!(),
            load_g!("rax", none: "3f"),
            "mov qword ptr [rax + {sched_sp}], rsp",
            "mov rsp, qword ptr [rax + {system_sp}]",
            adopt_image!(),
            "mov rcx, qword ptr [rax + {m}]",
            "lea rcx, [rcx + {g0}]",
            store_g!("rcx", scratch: "rdx"),
            "mov qword ptr [rax + {m}], 0",
            "mov rcx, rdi",
            "mov rdi, rax",
            "call rcx",
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
        )
    }

    // gosave(f, arg, g): spill every callee-saved register, publish SP in g.sched, run f(g, arg).
    //
    //   in    rdi  f, rsi  arg, rdx  g            out  nothing
    //   keeps rbx rbp r12-r15
    pub unsafe extern "C" fn gosave(
        f: unsafe extern "C" fn(*mut G, *mut c_void),
        arg: *mut c_void,
        g: *mut G,
    ) {
        naked_asm!(
            ".cfi_startproc",
            "endbr64",
            save_image!(),
            "mov qword ptr [rdx + {sched_sp}], rsp",
            "mov rax, rdi",
            "mov rdi, rdx",
            "call rax",
            restore_image!(),
            ".cfi_endproc",
            image = const IMAGE,
            sched_sp = const offset_of!(G, sched_sp),
        )
    }

    // goentry: the first frame of a G; gogo's `ret` arrives behind the nop, from `prepare`'s image.
    //
    //   in    rbx  entry, r12  its argument, rbp  the link at the top of the stack, rsp = rbp
    pub unsafe extern "C" fn goentry() {
        naked_asm!(
            ".cfi_startproc",
            crate::__cfi_signal_frame!(),
            ".cfi_def_cfa_offset 16",
            ".cfi_offset rbp, -16",
            ".cfi_def_cfa_register rbp",
            // The unwinder looks up one byte before a return address.
            "nop",
            "mov rdi, r12",
            "call rbx",
            "call {goexit}",
            "ud2",
            ".cfi_endproc",
            goexit = sym crate::switch::goexit,
        )
    }

    // landing: the return address at the top of every G's stack. Never executed: it tells an
    // unwinder that the frame behind a G's first one is gogo's, by the link in rbp.
    pub unsafe extern "C" fn landing() {
        naked_asm!(
            ".cfi_startproc",
            ".cfi_def_cfa_offset 16",
            ".cfi_offset rbp, -16",
            ".cfi_def_cfa_register rbp",
            cfi_image!(),
            "ud2",
            "ud2",
            ".cfi_endproc",
        )
    }

    // sigtramp(sig, info, context): what the layer's signals are delivered to.
    //
    //   in    edi  sig, rsi  info, rdx  context   out  nothing
    //   keeps errno, rbx rbp r12-r15, g and g.system_sp
    //
    // While the handler runs, g.handling counts it and g.open_size is 0: rows that are not for
    // handlers leave the fast path. Nested entries are alike.
    pub unsafe extern "C" fn sigtramp(sig: c_int, info: *mut c_void, context: *mut c_void) {
        naked_asm!(
            ".cfi_startproc",
            "endbr64",
            crate::__frame_x86_64!(),
            "sub rsp, 48",
            "mov qword ptr [rbp - 8], rbx",
            "mov qword ptr [rbp - 16], r12",
            "mov qword ptr [rbp - 24], r13",
            "mov qword ptr [rbp - 32], r14",
            "mov qword ptr [rbp - 40], r15",
            cfi_image!(),
            "mov r13d, edi",
            "mov r14, rsi",
            "mov r15, rdx",
            load_g!("rbx", none: "2f"),
            "mov r12, qword ptr [rbx + {open_size}]",
            "mov qword ptr [rbx + {open_size}], 0",
            "inc dword ptr [rbx + {handling}]",
            "jmp 3f",
            "2:",
            "xor ebx, ebx",
            "3:",
            "call qword ptr [rip + {errno}@GOTPCREL]",
            "mov eax, dword ptr [rax]",
            "mov dword ptr [rbp - 48], eax",
            "mov edi, r13d",
            "mov rsi, r14",
            "mov rdx, r15",
            "mov rcx, rbx",
            "call {sighandler}",
            "call qword ptr [rip + {errno}@GOTPCREL]",
            "mov ecx, dword ptr [rbp - 48]",
            "mov dword ptr [rax], ecx",
            "test rbx, rbx",
            "jz 4f",
            "dec dword ptr [rbx + {handling}]",
            "mov qword ptr [rbx + {open_size}], r12",
            "4:",
            restore_image!(),
            ".cfi_endproc",
            open_size = const offset_of!(G, open_size),
            handling = const offset_of!(G, handling),
            errno = sym super::errno_location,
            sighandler = sym crate::os::signal::sighandler,
        )
    }

    // mstart_stub(m): where a new thread of the layer begins; pthread_create calls it.
    //
    //   in    rdi  m                              out  rax  NULL, and libpthread ends the thread
    //   keeps rbx rbp r12-r15
    //
    // g is g0 before the first Rust instruction runs.
    pub unsafe extern "C" fn mstart_stub(m: *mut c_void) -> *mut c_void {
        naked_asm!(
            ".cfi_startproc",
            "endbr64",
            crate::__frame_x86_64!(),
            "lea rax, [rdi + {g0}]",
            store_g!("rax", scratch: "rcx"),
            "call {mstart}",
            "xor eax, eax",
            crate::__return_x86_64!(),
            ".cfi_endproc",
            g0 = const offset_of!(M, g0),
            mstart = sym crate::os::thread::mstart,
        )
    }

    // getg(): g of this thread, or null.
    pub unsafe extern "C" fn getg() -> *mut G {
        naked_asm!(
            ".cfi_startproc",
            "endbr64",
            load_g!("rax", none: "2f"),
            "ret",
            "2:",
            "xor eax, eax",
            "ret",
            ".cfi_endproc",
        )
    }

    // setg(g): the only other store of g, for attach, detach and foreign context switches.
    pub unsafe extern "C" fn setg(g: *mut G) {
        naked_asm!(
            ".cfi_startproc",
            "endbr64",
            store_g!("rdi", scratch: "rax"),
            "ret",
            ".cfi_endproc",
        )
    }

    // The word at that byte offset in this thread's direct array of pthread keys.
    #[cfg(target_vendor = "apple")]
    pub unsafe extern "C" fn direct_slot(offset: usize) -> usize {
        naked_asm!(
            ".cfi_startproc",
            "endbr64",
            "mov rax, qword ptr gs:[rdi]",
            "ret",
            ".cfi_endproc",
        )
    }

    // The value of the shadow stack pointer: 0 where there is no shadow stack.
    pub unsafe extern "C" fn shadow_stack_pointer() -> usize {
        naked_asm!(
            ".cfi_startproc",
            "endbr64",
            "xor eax, eax",
            // A no-op, which leaves 0, unless CET shadow stacks are on.
            "rdsspq rax",
            "ret",
            ".cfi_endproc",
        )
    }

    // The caller's stack pointer, as it is before the call.
    pub unsafe extern "C" fn stack_pointer() -> usize {
        naked_asm!(
            ".cfi_startproc",
            "endbr64",
            "lea rax, [rsp + 8]",
            "ret",
            ".cfi_endproc",
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
        pad: usize,
        r15: usize,
        r14: usize,
        r13: usize,
        r12: *mut c_void,
        rbx: unsafe extern "C" fn(*mut c_void),
        rbp: usize,
        ret: usize,
        // goentry runs with rsp here; the last link of the chain.
        link: usize,
        landing: usize,
    }
    static_assertions::const_assert_eq!(size_of::<Fresh>(), IMAGE_SIZE + LINK);
    static_assertions::const_assert_eq!(offset_of!(Fresh, rbp), IMAGE);

    let image = (hi - size_of::<Fresh>()) as *mut Fresh;
    // SAFETY: the caller gives the memory.
    unsafe {
        image.write(Fresh {
            pad: 0,
            r15: 0,
            r14: 0,
            r13: 0,
            r12: arg,
            rbx: entry,
            rbp: hi - LINK,
            // Behind the first instruction of each, for unwinders that look up the byte before.
            ret: goentry as *const () as usize + 1,
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
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the caller's word.
    unsafe {
        cfg_if::cfg_if! {
            if #[cfg(target_vendor = "apple")] {
                let state = &(*(*context).uc_mcontext).__ss;
                (state.__rip as usize, state.__rsp as usize)
            } else {
                let registers = &(*context).uc_mcontext.gregs;
                (registers[libc::REG_RIP as usize] as usize, registers[libc::REG_RSP as usize] as usize)
            }
        }
    }
}

/// The trampoline of a row: loads the arguments to where `assign` placed them and calls.
///
///   in    rdi  the packed arguments           out  whatever the C function returns
///   keeps rbx rbp r12-r15
///
/// The last argument is pushed first, so that slots lie as `assign` placed them, 8 bytes each; rdi,
/// which is also the first general register, is loaded last. Where all arguments travel in
/// registers it ends in a jump and has no frame. Otherwise:
///
/// ```text
///      │ return address  │
///      │ saved rbp       │ <- rbp
///      │ stack arguments │ <- rsp, 16-aligned
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __trampoline {
    ($plan:expr, $f:path) => {
        ::core::arch::naked_asm!(
            $crate::__property_note!(),
            // Loads an integer of that kind, extended to 64 bits by its sign.
            ".macro nosplit_load wide, narrow, kind, from",
            ".if \\kind == 8 || \\kind == 24",
            "mov \\wide, qword ptr [rdi + \\from]",
            ".elseif \\kind == 4",
            "mov \\narrow, dword ptr [rdi + \\from]",
            ".elseif \\kind == 20",
            "movsxd \\wide, dword ptr [rdi + \\from]",
            ".elseif \\kind == 2",
            "movzx \\narrow, word ptr [rdi + \\from]",
            ".elseif \\kind == 18",
            "movsx \\wide, word ptr [rdi + \\from]",
            ".elseif \\kind == 1",
            "movzx \\narrow, byte ptr [rdi + \\from]",
            ".elseif \\kind == 17",
            "movsx \\wide, byte ptr [rdi + \\from]",
            // A float on its way to the stack is its bits.
            ".elseif \\kind == 36",
            "mov \\narrow, dword ptr [rdi + \\from]",
            ".else",
            "mov \\wide, qword ptr [rdi + \\from]",
            ".endif",
            ".endm",
            ".macro nosplit_load_float register, kind, from",
            ".if \\kind == 36",
            "movss \\register, dword ptr [rdi + \\from]",
            ".else",
            "movsd \\register, qword ptr [rdi + \\from]",
            ".endif",
            ".endm",
            ".macro nosplit_argument place, kind, from",
            ".if \\place >= 64",
            ".if \\kind == 8 || \\kind == 24 || \\kind == 40",
            "push qword ptr [rdi + \\from]",
            ".else",
            "nosplit_load rax, eax, \\kind, \\from",
            "push rax",
            ".endif",
            ".elseif \\place == 2",
            "nosplit_load rsi, esi, \\kind, \\from",
            ".elseif \\place == 3",
            "nosplit_load rdx, edx, \\kind, \\from",
            ".elseif \\place == 4",
            "nosplit_load rcx, ecx, \\kind, \\from",
            ".elseif \\place == 5",
            "nosplit_load r8, r8d, \\kind, \\from",
            ".elseif \\place == 6",
            "nosplit_load r9, r9d, \\kind, \\from",
            ".elseif \\place == 32",
            "nosplit_load_float xmm0, \\kind, \\from",
            ".elseif \\place == 33",
            "nosplit_load_float xmm1, \\kind, \\from",
            ".elseif \\place == 34",
            "nosplit_load_float xmm2, \\kind, \\from",
            ".elseif \\place == 35",
            "nosplit_load_float xmm3, \\kind, \\from",
            ".elseif \\place == 36",
            "nosplit_load_float xmm4, \\kind, \\from",
            ".elseif \\place == 37",
            "nosplit_load_float xmm5, \\kind, \\from",
            ".elseif \\place == 38",
            "nosplit_load_float xmm6, \\kind, \\from",
            ".elseif \\place == 39",
            "nosplit_load_float xmm7, \\kind, \\from",
            ".endif",
            ".endm",
            ".macro nosplit_first place, kind, from",
            ".if \\place == 1",
            "nosplit_load rdi, edi, \\kind, \\from",
            ".endif",
            ".endm",
            ".macro nosplit_each what",
            "\\what {p11}, {k11}, {f11}",
            "\\what {p10}, {k10}, {f10}",
            "\\what {p9}, {k9}, {f9}",
            "\\what {p8}, {k8}, {f8}",
            "\\what {p7}, {k7}, {f7}",
            "\\what {p6}, {k6}, {f6}",
            "\\what {p5}, {k5}, {f5}",
            "\\what {p4}, {k4}, {f4}",
            "\\what {p3}, {k3}, {f3}",
            "\\what {p2}, {k2}, {f2}",
            "\\what {p1}, {k1}, {f1}",
            "\\what {p0}, {k0}, {f0}",
            ".endm",
            ".cfi_startproc",
            "endbr64",
            ".if {stack}",
            $crate::__frame_x86_64!(),
            ".endif",
            ".if {padding}",
            "sub rsp, {padding}",
            ".endif",
            "nosplit_each nosplit_argument",
            "nosplit_each nosplit_first",
            ".if {variadic}",
            "mov eax, {floats}",
            ".endif",
            ".if {stack}",
            "call qword ptr [rip + {f}@GOTPCREL]",
            $crate::__return_x86_64!(),
            ".else",
            "jmp qword ptr [rip + {f}@GOTPCREL]",
            ".endif",
            ".cfi_endproc",
            ".purgem nosplit_load",
            ".purgem nosplit_load_float",
            ".purgem nosplit_argument",
            ".purgem nosplit_first",
            ".purgem nosplit_each",
            f = sym $f,
            stack = const $plan.stack(),
            padding = const $plan.padding(),
            variadic = const $plan.variadic() as i32,
            floats = const $plan.floats(),
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
        )
    };
}
