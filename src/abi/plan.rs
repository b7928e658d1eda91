//! The operands of one trampoline.

use super::{Kind, Place};

/// The most arguments that a row may have.
pub const MAX_ARGS: usize = 12;

/// What a calling convention made of a prototype.
#[derive(Clone, Copy, Debug)]
pub struct Placement {
    /// Where each argument travels.
    pub places: [Place; MAX_ARGS],
    /// General registers used.
    pub general: u8,
    /// Floating-point registers used.
    pub float: u8,
    /// Bytes of stack used, not yet rounded to the alignment of the stack pointer.
    pub stack: u16,
}

impl Placement {
    /// No arguments yet.
    pub const EMPTY: Placement = Placement {
        places: [Place::Nowhere; MAX_ARGS],
        general: 0,
        float: 0,
        stack: 0,
    };

    /// Places arguments one after the other: integers in `general` registers, floats in `float`
    /// others, and what finds none free in stack slots of 8 bytes.
    pub const fn in_order(kinds: &[Kind], general: u8, float: u8) -> Placement {
        let mut p = Placement::EMPTY;
        let mut i = 0;
        while i < kinds.len() {
            let register = if kinds[i].is_float() {
                p.next_float(float)
            } else {
                p.next_general(general)
            };
            p.places[i] = match register {
                Some(place) => place,
                None => p.push(8, 8),
            };
            i += 1;
        }
        p
    }

    /// The next stack slot: `size` bytes, aligned to `align`.
    pub const fn push(&mut self, size: usize, align: usize) -> Place {
        let offset = (self.stack as usize).next_multiple_of(align);
        self.stack = (offset + size) as u16;
        Place::Stack {
            offset: offset as u16,
            size: size as u8,
        }
    }

    /// The next of `limit` general registers, if one is free.
    pub const fn next_general(&mut self, limit: u8) -> Option<Place> {
        if self.general == limit {
            return None;
        }
        self.general += 1;
        Some(Place::General(self.general - 1))
    }

    /// The next of `limit` floating-point registers, if one is free.
    pub const fn next_float(&mut self, limit: u8) -> Option<Place> {
        if self.float == limit {
            return None;
        }
        self.float += 1;
        Some(Place::Float(self.float - 1))
    }
}

/// A prototype, placed: every number that a trampoline's template asks for.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    placement: Placement,
    kinds: [Kind; MAX_ARGS],
    from: [usize; MAX_ARGS],
    named: usize,
    count: usize,
}

impl Plan {
    /// Joins a placement with the offsets of the packed arguments.
    ///
    /// Fails to compile, with the reason, where the prototype cannot be expressed.
    pub const fn new(placement: Placement, kinds: &[Kind], from: &[usize], named: usize) -> Plan {
        Plan::check(kinds, named);
        let mut plan = Plan {
            placement,
            kinds: [Kind::unsigned(8); MAX_ARGS],
            from: [0; MAX_ARGS],
            named,
            count: kinds.len(),
        };
        let mut i = 0;
        while i < kinds.len() {
            plan.kinds[i] = kinds[i];
            plan.from[i] = from[i];
            i += 1;
        }
        plan
    }

    /// The rules of a prototype; called before anything is placed.
    pub const fn check(kinds: &[Kind], named: usize) {
        assert!(
            kinds.len() <= MAX_ARGS,
            "nosplit: a row takes at most 12 arguments"
        );
        assert!(
            named > 0 || kinds.is_empty(),
            "nosplit: a variadic function has at least one named argument"
        );
        let mut i = named;
        while i < kinds.len() {
            assert!(
                kinds[i].size() >= 4 && !(kinds[i].is_float() && kinds[i].size() == 4),
                "nosplit: C promotes this variadic argument: declare it as c_int, c_uint or f64"
            );
            i += 1;
        }
    }

    /// Where argument `i` goes ([`Place::code`]).
    pub const fn place(&self, i: usize) -> i32 {
        self.placement.places[i].code()
    }

    /// What argument `i` is ([`Kind::code`]).
    pub const fn kind(&self, i: usize) -> i32 {
        self.kinds[i].code()
    }

    /// Offset of argument `i` in the packed arguments, in bytes.
    pub const fn from(&self, i: usize) -> i32 {
        self.from[i] as i32
    }

    /// Offset of argument `i` on the stack, in bytes; 0 for one in a register.
    pub const fn to(&self, i: usize) -> i32 {
        self.placement.places[i].offset()
    }

    /// Bytes of stack arguments, a multiple of 16.
    pub const fn stack(&self) -> i32 {
        self.placement.stack.next_multiple_of(16) as i32
    }

    /// Bytes between the last stack argument and the frame above it, so that SP is 16-aligned.
    pub const fn padding(&self) -> i32 {
        self.stack() - self.placement.stack as i32
    }

    /// Floating-point registers used: what `al` tells a variadic function on x86_64.
    pub const fn floats(&self) -> i32 {
        self.placement.float as i32
    }

    /// Are there arguments after the named ones?
    pub const fn variadic(&self) -> bool {
        self.named < self.count
    }

    /// Do all arguments travel in registers?
    pub const fn in_registers(&self) -> bool {
        self.placement.stack == 0
    }

    /// How many arguments there are.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// How many of them are named.
    pub const fn named(&self) -> usize {
        self.named
    }

    /// Where everything goes.
    pub const fn placement(&self) -> &Placement {
        &self.placement
    }
}
