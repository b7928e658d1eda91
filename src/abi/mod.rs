//! Where each argument of a C call travels, worked out at compile time.
//!
//! A [`Kind`] says what the assembly needs to know of a C type. One `const fn` for each calling
//! convention turns the kinds of a prototype into [`Place`]s; a [`Plan`] joins them with the
//! offsets of the packed arguments, and its numbers are the operands of a trampoline.
//!
//! All conventions are compiled, and tested, on every target; `trampolines` picks one.

pub mod aapcs64;
pub mod apple64;
mod arg;
pub mod cdecl;
mod plan;
pub mod sysv64;

pub use arg::Arg;
pub use plan::{MAX_ARGS, Placement, Plan};

/// What a trampoline has to know of a C type: its size in bytes, its sign, its register file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind(u8);

impl Kind {
    const SIGNED: u8 = 16;
    const FLOAT: u8 = 32;

    /// An unsigned integer or a pointer of `size` bytes.
    pub const fn unsigned(size: usize) -> Kind {
        Kind(size as u8)
    }

    /// A signed integer of `size` bytes.
    pub const fn signed(size: usize) -> Kind {
        Kind(size as u8 | Kind::SIGNED)
    }

    /// A floating-point number of `size` bytes.
    pub const fn float(size: usize) -> Kind {
        Kind(size as u8 | Kind::FLOAT)
    }

    /// Size in bytes: 1, 2, 4 or 8.
    pub const fn size(self) -> usize {
        (self.0 & 15) as usize
    }

    /// Does it travel in floating-point registers, where the convention has them?
    pub const fn is_float(self) -> bool {
        self.0 & Kind::FLOAT != 0
    }

    /// Is it sign-extended when it is widened?
    pub const fn is_signed(self) -> bool {
        self.0 & Kind::SIGNED != 0
    }

    /// The number by which the trampoline templates know this kind: its size, plus 16 if signed
    /// or 32 if floating-point.
    pub const fn code(self) -> i32 {
        self.0 as i32
    }
}

/// Where an argument travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// There is no such argument.
    Nowhere,
    /// In the general register of that number, counted in the order of the convention.
    General(u8),
    /// In the floating-point register of that number.
    Float(u8),
    /// On the stack, `size` bytes at that offset from the stack pointer at the call.
    Stack {
        /// Bytes above the stack pointer.
        offset: u16,
        /// Bytes written there: the slot of the convention, padding between arguments excluded.
        size: u8,
    },
}

impl Place {
    /// The number by which the templates know this place: 0 nowhere, 1 + n a general register,
    /// 32 + n a floating-point register, 64 + size the stack.
    pub const fn code(self) -> i32 {
        match self {
            Place::Nowhere => 0,
            Place::General(n) => 1 + n as i32,
            Place::Float(n) => 32 + n as i32,
            Place::Stack { size, .. } => 64 + size as i32,
        }
    }

    /// The offset on the stack; 0 elsewhere.
    pub const fn offset(self) -> i32 {
        match self {
            Place::Stack { offset, .. } => offset as i32,
            _ => 0,
        }
    }
}
