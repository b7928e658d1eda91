//! The assembly of the test: a call that compares registers, callees that say where they run, and
//! an entry for a signal that is stepped from its first instruction.

use crate::family::{Call, callee_body};
use std::arch::{asm, naked_asm};
use std::ffi::c_void;

/// What a call left behind.
#[derive(Default)]
#[repr(C)]
pub struct Kept {
    /// rax.
    pub value: usize,
    /// rdx; its lower half is errno where an entry tests for failure.
    pub errno: usize,
    /// One bit for each callee-saved register, for the words above the call, and for DF.
    pub broken: usize,
}

// kept(f, a, b, c, out, seed): call f(a, b, c) with TF set, so that SIGTRAP follows each instruction
// from f's first to its return; with a value of `seed` in every callee-saved register and in eight
// words above the return address, which are all compared afterwards.
//
//      rsp + 0    8 words of seed
//      rsp + 64   out
//      rsp + 72   seed
//      rsp + 80   flags before
//      rsp + 88   r15 r14 r13 r12 rbx rbp, return address
#[unsafe(naked)]
pub unsafe extern "C" fn kept(
    f: *const (),
    a: usize,
    b: usize,
    c: usize,
    out: *mut Kept,
    seed: usize,
) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 88",
        "mov qword ptr [rsp + 64], r8",
        "mov qword ptr [rsp + 72], r9",
        "pushfq",
        "pop qword ptr [rsp + 80]",
        "mov rax, r9",
        ".irp at, 0, 8, 16, 24, 32, 40, 48, 56",
        "inc rax",
        "mov qword ptr [rsp + \\at], rax",
        ".endr",
        "mov rax, rdi",
        "mov rdi, rsi",
        "mov rsi, rdx",
        "mov rdx, rcx",
        "lea rbx, [r9 + 16]",
        "lea rbp, [r9 + 17]",
        "lea r12, [r9 + 18]",
        "lea r13, [r9 + 19]",
        "lea r14, [r9 + 20]",
        "lea r15, [r9 + 21]",
        "pushfq",
        "or qword ptr [rsp], 0x100",
        "popfq",
        "call rax",
        "pushfq",
        "pop rcx",
        "push qword ptr [rsp + 80]",
        "popfq",
        "and ecx, 0x400", // DF
        "mov r8, qword ptr [rsp + 64]",
        "mov r9, qword ptr [rsp + 72]",
        "mov qword ptr [r8], rax",
        "mov qword ptr [r8 + 8], rdx",
        "mov rax, r9",
        ".irp at, 0, 8, 16, 24, 32, 40, 48, 56",
        "inc rax",
        "cmp qword ptr [rsp + \\at], rax",
        "je 2f",
        "or ecx, 64",
        "2:",
        ".endr",
        "lea rax, [r9 + 16]",
        "mov edx, 1",
        ".irp register, rbx, rbp, r12, r13, r14, r15",
        "cmp \\register, rax",
        "je 2f",
        "or ecx, edx",
        "2:",
        "inc rax",
        "add edx, edx",
        ".endr",
        "mov qword ptr [r8 + 16], rcx",
        "add rsp, 88",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// Runs `f` unstepped, in the midst of what is stepped.
#[inline(always)]
pub fn unstepped<R>(f: impl FnOnce() -> R) -> R {
    let before = flags();
    set_flags(before & !TF);
    let result = f();
    set_flags(before);
    result
}

/// Runs `f` stepped.
#[inline(always)]
pub fn stepped<R>(f: impl FnOnce() -> R) -> R {
    let before = flags();
    set_flags(before | TF);
    let result = f();
    set_flags(before);
    result
}

const TF: usize = 0x100;

#[inline(always)]
fn flags() -> usize {
    let flags;
    // SAFETY: reads a register, by way of the stack.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) };
    flags
}

#[inline(always)]
fn set_flags(flags: usize) {
    // SAFETY: the flags as they were, but for TF.
    unsafe { asm!("push {}", "popfq", in(reg) flags) };
}

/// A signal's entry that is stepped: the kernel clears TF, this sets it and goes on to sigtramp.
#[unsafe(naked)]
pub unsafe extern "C" fn stepped_sigtramp() {
    naked_asm!(
        "pushfq",
        "or qword ptr [rsp], 0x100",
        "popfq",
        "jmp {sigtramp}",
        sigtramp = sym nosplit::arch::sigtramp,
    )
}

/// What the entries call: notes SP and the entry's frame pointer, goes on in Rust unstepped, and
/// then sets errno and returns what the call asks for.
#[unsafe(naked)]
pub unsafe extern "C" fn callee(call: *mut c_void) {
    naked_asm!(
        "mov qword ptr [rdi + {sp}], rsp",
        "mov qword ptr [rdi + {fp}], rbp",
        "push rbx",
        "mov rbx, rdi",
        "pushfq",
        "push qword ptr [rsp]",
        "and qword ptr [rsp], -0x101",
        "popfq",
        "sub rsp, 8",
        "call {body}",
        "add rsp, 8",
        "popfq",
        "cmp dword ptr [rbx + {errno}], 0",
        "je 2f",
        "call qword ptr [rip + {errno_location}@GOTPCREL]",
        "mov ecx, dword ptr [rbx + {errno}]",
        "mov dword ptr [rax], ecx",
        "2:",
        "mov rax, qword ptr [rbx + {result}]",
        "pop rbx",
        "ret",
        sp = const core::mem::offset_of!(Call, sp),
        fp = const core::mem::offset_of!(Call, fp),
        result = const core::mem::offset_of!(Call, result),
        errno = const core::mem::offset_of!(Call, errno),
        body = sym callee_body,
        errno_location = sym libc::__errno_location,
    )
}

/// The C function of a row: returns its SP, and writes over half a KiB below it.
#[unsafe(naked)]
pub unsafe extern "C" fn sp_of_callee() -> usize {
    naked_asm!(
        "mov rax, rsp",
        "sub rsp, 520",
        ".set .Lat, 0",
        ".rept 64",
        "mov qword ptr [rsp + .Lat], rax",
        ".set .Lat, .Lat + 8",
        ".endr",
        "add rsp, 520",
        "ret",
    )
}

/// SP, about.
#[inline(always)]
pub fn here() -> usize {
    let sp;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) sp, options(nomem, nostack, preserves_flags)) };
    sp
}
