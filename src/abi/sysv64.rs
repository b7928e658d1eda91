//! System V x86_64, Linux and Darwin alike: 6 general and 8 vector registers, 8-byte stack slots.
//!
//! Source: System V ABI, AMD64 supplement, section 3.2.3.

use super::{Kind, Placement, Plan};

/// Places arguments of these kinds. Variadic ones travel like the others, counted in `al`.
pub const fn assign(kinds: &[Kind], named: usize) -> Placement {
    Plan::check(kinds, named);
    let mut p = Placement::EMPTY;
    let mut i = 0;
    while i < kinds.len() {
        let register = if kinds[i].is_float() {
            p.next_float(8)
        } else {
            p.next_general(6)
        };
        p.places[i] = match register {
            Some(place) => place,
            None => p.push(8, 8),
        };
        i += 1;
    }
    p
}
