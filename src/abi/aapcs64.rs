//! AAPCS64, as Linux uses it: 8 general and 8 vector registers, 8-byte stack slots.
//!
//! Source: Procedure Call Standard for the Arm 64-bit Architecture, section 6.8.2.

use super::{Kind, Placement, Plan};

/// Places arguments of these kinds. Variadic ones travel like the others.
pub const fn assign(kinds: &[Kind], named: usize) -> Placement {
    Plan::check(kinds, named);
    Placement::in_order(kinds, 8, 8)
}
