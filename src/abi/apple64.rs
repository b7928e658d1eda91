//! Apple's arm64: AAPCS64 with two differences.
//!
//! Stack arguments take their natural size and alignment, without 8-byte slots; and everything
//! after the named arguments is on the stack, 8 bytes each, even while registers are free.
//!
//! Source: "Writing ARM64 code for Apple platforms".

use super::{Kind, Placement, Plan};

/// Places arguments of these kinds.
pub const fn assign(kinds: &[Kind], named: usize) -> Placement {
    Plan::check(kinds, named);
    let mut p = Placement::EMPTY;
    let mut i = 0;
    while i < kinds.len() {
        let register = if i >= named {
            None
        } else if kinds[i].is_float() {
            p.next_float(8)
        } else {
            p.next_general(8)
        };
        p.places[i] = match register {
            Some(place) => place,
            None if i >= named => p.push(8, 8),
            None => p.push(kinds[i].size(), kinds[i].size()),
        };
        i += 1;
    }
    p
}
