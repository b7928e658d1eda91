//! AAPCS64, as Linux uses it: 8 general and 8 vector registers, 8-byte stack slots.
//!
//! Source: Procedure Call Standard for the Arm 64-bit Architecture, section 6.8.2.

use super::{Kind, Placement, Plan};

/// Places arguments of these kinds. Variadic ones travel like the others.
pub const fn assign(kinds: &[Kind], named: usize) -> Placement {
    Plan::check(kinds, named);
    let mut p = Placement::EMPTY;
    let mut i = 0;
    while i < kinds.len() {
        let register = if kinds[i].is_float() {
            p.next_float(8)
        } else {
            p.next_general(8)
        };
        p.places[i] = match register {
            Some(place) => place,
            None => p.push(8, 8),
        };
        i += 1;
    }
    p
}
