//! What differs between Mach-O and ELF: symbol names, where thread-local `g` lives, how an imported
//! function is reached, which CFI an unwinder of that system can use, and what a section is called.

#[cfg(target_vendor = "apple")]
mod object {
    /// `.cfi_signal_frame` lets gdb follow a stack that moves. Darwin's unwinder stops at it.
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __cfi_signal_frame {
        () => {
            ""
        };
    }

    /// CFI behind a prologue. It would lose the compact unwind entry of the whole function.
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __cfi_after_prologue {
        ($($directive:literal),+) => {
            ""
        };
    }

    /// The note that the assembly in this object keeps control-flow protection: ELF only.
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __property_note {
        () => {
            ""
        };
    }

    /// The address of an imported function, into a register: bound at load, never through a stub.
    #[cfg(target_arch = "aarch64")]
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __import_aarch64 {
        ($reg:literal, $f:literal) => {
            concat!(
                "adrp ",
                $reg,
                ", ",
                $f,
                "@GOTPAGE\n",
                "ldr ",
                $reg,
                ", [",
                $reg,
                ", ",
                $f,
                "@GOTPAGEOFF]"
            )
        };
    }

    /// Loads the PC into ecx, from which `8b-7b` leads to a pointer to the symbol, bound at load.
    ///
    /// The linker reads the pointer's content only where the symbol is local to the object.
    #[cfg(target_arch = "x86")]
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __pointer_i386 {
        ($symbol:literal) => {
            concat!(
                ".pushsection __IMPORT,__pointers,non_lazy_symbol_pointers\n",
                ".p2align 2\n",
                "8:\n",
                ".indirect_symbol ",
                $symbol,
                "\n",
                ".long ",
                $symbol,
                "\n",
                ".popsection\n",
                $crate::__pc_i386!()
            )
        };
    }

    /// Calls an imported function. Clobbers ecx.
    #[cfg(target_arch = "x86")]
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __call_import_i386 {
        ($f:literal) => {
            concat!($crate::__pointer_i386!($f), "\n", "call *8b-7b(%ecx)")
        };
    }

    pub use libc::__error as errno_location;
}

#[cfg(not(target_vendor = "apple"))]
mod object {
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __cfi_signal_frame {
        () => {
            ".cfi_signal_frame"
        };
    }

    #[doc(hidden)]
    #[macro_export]
    macro_rules! __cfi_after_prologue {
            ($($directive:literal),+) => { concat!($($directive, "\n"),+) };
        }

    #[doc(hidden)]
    #[macro_export]
    macro_rules! __property_note {
        () => {
            concat!(
                ".ifndef .Lnosplit_property_note\n",
                ".set .Lnosplit_property_note, 1\n",
                ".pushsection .note.gnu.property, \"a\", %note\n",
                ".p2align ",
                $crate::__property_align!(),
                "\n",
                ".long 4\n", // length of the name
                ".long 772f - 771f\n",
                ".long 5\n", // NT_GNU_PROPERTY_TYPE_0
                ".asciz \"GNU\"\n",
                "771:\n",
                ".long ",
                $crate::__property_type!(),
                "\n",
                ".long 4\n", // length of the flags
                ".long ",
                $crate::__property_flags!(),
                "\n",
                ".p2align ",
                $crate::__property_align!(),
                "\n",
                "772:\n",
                ".popsection\n",
                ".endif\n"
            )
        };
    }

    #[cfg(target_arch = "aarch64")]
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __import_aarch64 {
        ($reg:literal, $f:literal) => {
            concat!(
                "adrp ",
                $reg,
                ", :got:",
                $f,
                "\n",
                "ldr ",
                $reg,
                ", [",
                $reg,
                ", :got_lo12:",
                $f,
                "]"
            )
        };
    }

    /// Loads the address of the global offset table into ecx.
    #[cfg(target_arch = "x86")]
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __got_i386 {
        () => {
            concat!(
                $crate::__pc_i386!(),
                "\n",
                "addl $_GLOBAL_OFFSET_TABLE_+(.-7b), %ecx"
            )
        };
    }

    /// Calls an imported function. Clobbers ecx.
    #[cfg(target_arch = "x86")]
    #[doc(hidden)]
    #[macro_export]
    macro_rules! __call_import_i386 {
        ($f:literal) => {
            concat!($crate::__got_i386!(), "\n", "call *", $f, "@GOT(%ecx)")
        };
    }

    pub use libc::__errno_location as errno_location;

    // g of this thread. Initial-exec: no access to it calls __tls_get_addr.
    core::arch::global_asm!(
        ".pushsection .tbss.nosplit_g, \"awT\", %nobits",
        ".globl nosplit_g",
        ".hidden nosplit_g",
        ".type nosplit_g, %object",
        ".size nosplit_g, {word}",
        ".p2align 3",
        "nosplit_g:",
        ".zero {word}",
        ".popsection",
        word = const size_of::<usize>(),
    );
}

pub use object::errno_location;

// Loads g of this thread into a register and jumps to `none` where there is none.
cfg_if::cfg_if! {
    if #[cfg(all(target_arch = "x86_64", target_vendor = "apple"))] {
        /// `nosplit_g_slot` is the offset of our key's slot in the thread's direct array; 0 before
        /// `init`, when nothing may be read.
        macro_rules! load_g {
            ($reg:literal, none: $none:literal) => {
                concat!(
                    "mov ", $reg, ", qword ptr [rip + _nosplit_g_slot]\n",
                    "test ", $reg, ", ", $reg, "\n",
                    "jz ", $none, "\n",
                    "mov ", $reg, ", qword ptr gs:[", $reg, "]\n",
                    "test ", $reg, ", ", $reg, "\n",
                    "jz ", $none
                )
            };
        }
        /// Stores a register as g of this thread, by way of a scratch register. After `init` only.
        macro_rules! store_g {
            ($reg:literal, scratch: $scratch:literal) => {
                concat!(
                    "mov ", $scratch, ", qword ptr [rip + _nosplit_g_slot]\n",
                    "mov qword ptr gs:[", $scratch, "], ", $reg
                )
            };
        }
    } else if #[cfg(target_arch = "x86_64")] {
        macro_rules! load_g {
            ($reg:literal, none: $none:literal) => {
                concat!(
                    "mov ", $reg, ", qword ptr [rip + nosplit_g@GOTTPOFF]\n",
                    "mov ", $reg, ", qword ptr fs:[", $reg, "]\n",
                    "test ", $reg, ", ", $reg, "\n",
                    "jz ", $none
                )
            };
        }
        macro_rules! store_g {
            ($reg:literal, scratch: $scratch:literal) => {
                concat!(
                    "mov ", $scratch, ", qword ptr [rip + nosplit_g@GOTTPOFF]\n",
                    "mov qword ptr fs:[", $scratch, "], ", $reg
                )
            };
        }
    } else if #[cfg(all(target_arch = "aarch64", target_vendor = "apple"))] {
        // The direct array starts at TPIDRRO_EL0, whose low bits older kernels use for themselves.
        macro_rules! load_g {
            ($reg:literal, scratch: $scratch:literal, none: $none:literal) => {
                concat!(
                    "adrp ", $reg, ", _nosplit_g_slot@PAGE\n",
                    "ldr ", $reg, ", [", $reg, ", _nosplit_g_slot@PAGEOFF]\n",
                    "cbz ", $reg, ", ", $none, "\n",
                    "mrs ", $scratch, ", TPIDRRO_EL0\n",
                    "and ", $scratch, ", ", $scratch, ", #-8\n",
                    "ldr ", $reg, ", [", $scratch, ", ", $reg, "]\n",
                    "cbz ", $reg, ", ", $none
                )
            };
        }
        macro_rules! store_g {
            ($reg:literal, scratch: $scratch:literal, $slot:literal) => {
                concat!(
                    "adrp ", $slot, ", _nosplit_g_slot@PAGE\n",
                    "ldr ", $slot, ", [", $slot, ", _nosplit_g_slot@PAGEOFF]\n",
                    "mrs ", $scratch, ", TPIDRRO_EL0\n",
                    "and ", $scratch, ", ", $scratch, ", #-8\n",
                    "str ", $reg, ", [", $scratch, ", ", $slot, "]"
                )
            };
        }
    } else if #[cfg(target_arch = "aarch64")] {
        macro_rules! load_g {
            ($reg:literal, scratch: $scratch:literal, none: $none:literal) => {
                concat!(
                    "adrp ", $reg, ", :gottprel:nosplit_g\n",
                    "ldr ", $reg, ", [", $reg, ", :gottprel_lo12:nosplit_g]\n",
                    "mrs ", $scratch, ", TPIDR_EL0\n",
                    "ldr ", $reg, ", [", $scratch, ", ", $reg, "]\n",
                    "cbz ", $reg, ", ", $none
                )
            };
        }
        macro_rules! store_g {
            ($reg:literal, scratch: $scratch:literal, $slot:literal) => {
                concat!(
                    "adrp ", $slot, ", :gottprel:nosplit_g\n",
                    "ldr ", $slot, ", [", $slot, ", :gottprel_lo12:nosplit_g]\n",
                    "mrs ", $scratch, ", TPIDR_EL0\n",
                    "str ", $reg, ", [", $scratch, ", ", $slot, "]"
                )
            };
        }
    } else if #[cfg(all(target_arch = "x86", target_vendor = "apple"))] {
        /// Clobbers ecx; at `none` the register is 0. The entry must have a frame.
        macro_rules! load_g {
            ($reg:literal, none: $none:literal) => {
                concat!(
                    crate::__pointer_i386!("_nosplit_g_slot"), "\n",
                    "movl 8b-7b(%ecx), ", $reg, "\n",
                    "movl (", $reg, "), ", $reg, "\n",
                    "testl ", $reg, ", ", $reg, "\n",
                    "jz ", $none, "\n",
                    "movl %gs:(", $reg, "), ", $reg, "\n",
                    "testl ", $reg, ", ", $reg, "\n",
                    "jz ", $none
                )
            };
        }
        macro_rules! store_g {
            ($reg:literal, scratch: "%ecx") => {
                concat!(
                    crate::__pointer_i386!("_nosplit_g_slot"), "\n",
                    "movl 8b-7b(%ecx), %ecx\n",
                    "movl (%ecx), %ecx\n",
                    "movl ", $reg, ", %gs:(%ecx)"
                )
            };
        }
    } else if #[cfg(target_arch = "x86")] {
        macro_rules! load_g {
            ($reg:literal, none: $none:literal) => {
                concat!(
                    crate::__got_i386!(), "\n",
                    "movl nosplit_g@GOTNTPOFF(%ecx), %ecx\n",
                    "movl %gs:(%ecx), ", $reg, "\n",
                    "testl ", $reg, ", ", $reg, "\n",
                    "jz ", $none
                )
            };
        }
        macro_rules! store_g {
            ($reg:literal, scratch: "%ecx") => {
                concat!(
                    crate::__got_i386!(), "\n",
                    "movl nosplit_g@GOTNTPOFF(%ecx), %ecx\n",
                    "movl ", $reg, ", %gs:(%ecx)"
                )
            };
        }
    }
}
#[allow(unused_imports, reason = "each architecture takes what it needs")]
pub(crate) use {load_g, store_g};

/// Gives a naked function its place in the section that holds every entry and nothing else.
macro_rules! entries {
    ($($(#[$meta:meta])* $vis:vis unsafe extern "C" fn $name:ident($($arg:ident: $t:ty),* $(,)?) $(-> $r:ty)? { $($body:tt)* })+) => {$(
        $(#[$meta])*
        #[unsafe(naked)]
        #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__TEXT,__nosplit"))]
        #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = "nosplit_text"))]
        $vis unsafe extern "C" fn $name($($arg: $t),*) $(-> $r)? {
            $($body)*
        }
    )+};
}
pub(crate) use entries;

unsafe extern "C" {
    #[cfg_attr(
        target_vendor = "apple",
        link_name = "\u{1}section$start$__TEXT$__nosplit"
    )]
    #[cfg_attr(not(target_vendor = "apple"), link_name = "__start_nosplit_text")]
    static ENTRIES_START: u8;
    #[cfg_attr(
        target_vendor = "apple",
        link_name = "\u{1}section$end$__TEXT$__nosplit"
    )]
    #[cfg_attr(not(target_vendor = "apple"), link_name = "__stop_nosplit_text")]
    static ENTRIES_END: u8;
}

/// The first byte of the entries' section, and the first behind it.
pub fn entry_bounds() -> (usize, usize) {
    (
        &raw const ENTRIES_START as usize,
        &raw const ENTRIES_END as usize,
    )
}
