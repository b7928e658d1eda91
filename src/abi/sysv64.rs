//! System V x86_64, Linux and Darwin alike: 6 general and 8 vector registers, 8-byte stack slots.
//!
//! Source: System V ABI, AMD64 supplement, section 3.2.3.

use super::{Kind, Placement, Plan};

/// Places arguments of these kinds. Variadic ones travel like the others, counted in `al`.
pub const fn assign(kinds: &[Kind], named: usize) -> Placement {
    Plan::check(kinds, named);
    Placement::in_order(kinds, 6, 8)
}
