//! A frame whose callee-saved registers are known, to see whether an unwinder finds them again from
//! below all the frames that have saved them since.

use std::arch::naked_asm;
use std::ffi::{c_int, c_void};

cfg_if::cfg_if! {
    if #[cfg(target_arch = "x86_64")] {
        /// The callee-saved registers, but for the frame pointer, by their numbers in unwind tables.
        pub const REGISTERS: [c_int; 5] = [3, 12, 13, 14, 15];

        /// Calls `f(arg)` with `mark` plus its number in each of [`REGISTERS`].
        #[unsafe(naked)]
        pub unsafe extern "C" fn with_marks(
            f: unsafe extern "C" fn(*mut c_void),
            arg: *mut c_void,
            mark: usize,
        ) {
            naked_asm!(
                ".cfi_startproc",
                "push rbp",
                ".cfi_def_cfa_offset 16",
                ".cfi_offset rbp, -16",
                "mov rbp, rsp",
                ".cfi_def_cfa_register rbp",
                "push rbx",
                "push r12",
                "push r13",
                "push r14",
                "push r15",
                "push r15", // to stay 16-aligned
                ".cfi_offset rbx, -24",
                ".cfi_offset r12, -32",
                ".cfi_offset r13, -40",
                ".cfi_offset r14, -48",
                ".cfi_offset r15, -56",
                "lea rbx, [rdx + 3]",
                "lea r12, [rdx + 12]",
                "lea r13, [rdx + 13]",
                "lea r14, [rdx + 14]",
                "lea r15, [rdx + 15]",
                "mov rax, rdi",
                "mov rdi, rsi",
                "call rax",
                "pop r15",
                "pop r15",
                "pop r14",
                "pop r13",
                "pop r12",
                "pop rbx",
                "pop rbp",
                "ret",
                ".cfi_endproc",
            )
        }
    } else if #[cfg(target_arch = "x86")] {
        pub const REGISTERS: [c_int; 3] = [3, 6, 7];

        #[unsafe(naked)]
        pub unsafe extern "C" fn with_marks(
            f: unsafe extern "C" fn(*mut c_void),
            arg: *mut c_void,
            mark: usize,
        ) {
            naked_asm!(
                ".cfi_startproc",
                "push ebp",
                ".cfi_def_cfa_offset 8",
                ".cfi_offset ebp, -8",
                "mov ebp, esp",
                ".cfi_def_cfa_register ebp",
                "push ebx",
                "push esi",
                "push edi",
                ".cfi_offset ebx, -12",
                ".cfi_offset esi, -16",
                ".cfi_offset edi, -20",
                "sub esp, 12",
                "mov edx, dword ptr [ebp + 16]",
                "lea ebx, [edx + 3]",
                "lea esi, [edx + 6]",
                "lea edi, [edx + 7]",
                "mov eax, dword ptr [ebp + 12]",
                "mov dword ptr [esp], eax",
                "call dword ptr [ebp + 8]",
                "add esp, 12",
                "pop edi",
                "pop esi",
                "pop ebx",
                "pop ebp",
                "ret",
                ".cfi_endproc",
            )
        }
    } else if #[cfg(target_arch = "aarch64")] {
        /// x19 to x28. Of d8 to d15 not every unwinder tells.
        pub const REGISTERS: [c_int; 10] = [19, 20, 21, 22, 23, 24, 25, 26, 27, 28];

        #[unsafe(naked)]
        pub unsafe extern "C" fn with_marks(
            f: unsafe extern "C" fn(*mut c_void),
            arg: *mut c_void,
            mark: usize,
        ) {
            naked_asm!(
                ".cfi_startproc",
                "stp x29, x30, [sp, #-16]!",
                ".cfi_def_cfa_offset 16",
                "mov x29, sp",
                ".cfi_def_cfa x29, 16",
                ".cfi_offset x30, -8",
                ".cfi_offset x29, -16",
                "sub sp, sp, #80",
                "stp x20, x19, [x29, #-16]",
                "stp x22, x21, [x29, #-32]",
                "stp x24, x23, [x29, #-48]",
                "stp x26, x25, [x29, #-64]",
                "stp x28, x27, [x29, #-80]",
                ".cfi_offset x19, -24",
                ".cfi_offset x20, -32",
                ".cfi_offset x21, -40",
                ".cfi_offset x22, -48",
                ".cfi_offset x23, -56",
                ".cfi_offset x24, -64",
                ".cfi_offset x25, -72",
                ".cfi_offset x26, -80",
                ".cfi_offset x27, -88",
                ".cfi_offset x28, -96",
                "add x19, x2, #19",
                "add x20, x2, #20",
                "add x21, x2, #21",
                "add x22, x2, #22",
                "add x23, x2, #23",
                "add x24, x2, #24",
                "add x25, x2, #25",
                "add x26, x2, #26",
                "add x27, x2, #27",
                "add x28, x2, #28",
                "mov x9, x0",
                "mov x0, x1",
                "blr x9",
                "ldp x20, x19, [x29, #-16]",
                "ldp x22, x21, [x29, #-32]",
                "ldp x24, x23, [x29, #-48]",
                "ldp x26, x25, [x29, #-64]",
                "ldp x28, x27, [x29, #-80]",
                "mov sp, x29",
                "ldp x29, x30, [sp], #16",
                "ret",
                ".cfi_endproc",
            )
        }
    }
}
