//! cdecl on i386, Linux and Darwin alike: everything on the stack, in 4-byte words.
//!
//! Source: System V ABI, Intel386 supplement; Apple, "IA-32 Function Calling Conventions".

use super::{Kind, Placement, Plan};

/// Places arguments of these kinds. Eight-byte ones take two words and no further alignment.
pub const fn assign(kinds: &[Kind], named: usize) -> Placement {
    Plan::check(kinds, named);
    let mut p = Placement::EMPTY;
    let mut i = 0;
    while i < kinds.len() {
        let size = if kinds[i].size() == 8 { 8 } else { 4 };
        p.places[i] = p.push(size, 4);
        i += 1;
    }
    p
}
