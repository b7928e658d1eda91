//! Where arguments travel, by each convention, against what its document says.
//!
//! All conventions are compiled on every target: a mistake in Apple's shows on Linux.

use nosplit::abi::{Kind, Place, Placement, aapcs64, apple64, cdecl, sysv64};

const I8: Kind = Kind::signed(1);
const U16: Kind = Kind::unsigned(2);
const I32: Kind = Kind::signed(4);
const I64: Kind = Kind::signed(8);
const F32: Kind = Kind::float(4);
const F64: Kind = Kind::float(8);

fn places(placement: Placement, count: usize) -> Vec<String> {
    placement.places[..count]
        .iter()
        .map(|place| match place {
            Place::Nowhere => "nowhere".to_string(),
            Place::General(n) => format!("g{n}"),
            Place::Float(n) => format!("f{n}"),
            Place::Stack { offset, size } => format!("{offset}:{size}"),
        })
        .collect()
}

type Assign = fn(&[Kind], usize) -> Placement;

#[track_caller]
fn check(assign: Assign, kinds: &[Kind], named: usize, expected: &str) {
    assert_eq!(
        places(assign(kinds, named), kinds.len()).join(" "),
        expected
    );
}

#[test]
fn system_v_counts_integers_and_floats_apart() {
    check(
        sysv64::assign,
        &[I32, F64, I64, F32, U16],
        5,
        "g0 f0 g1 f1 g2",
    );
    check(sysv64::assign, &[I32; 8], 8, "g0 g1 g2 g3 g4 g5 0:8 8:8");
    let mixed = [F64, F64, F64, F64, F64, F64, F64, F64, F32, I8, F64];
    check(
        sysv64::assign,
        &mixed,
        11,
        "f0 f1 f2 f3 f4 f5 f6 f7 0:8 g0 8:8",
    );
    // Variadic arguments are like the others; al counts the vector registers.
    let printf = [I64, I32, F64];
    check(sysv64::assign, &printf, 1, "g0 g1 f0");
    assert_eq!(sysv64::assign(&printf, 1).float, 1);
}

#[test]
fn aapcs64_has_eight_registers_of_each_kind_and_eight_byte_slots() {
    check(
        aapcs64::assign,
        &[I32; 10],
        10,
        "g0 g1 g2 g3 g4 g5 g6 g7 0:8 8:8",
    );
    check(
        aapcs64::assign,
        &[F32; 10],
        10,
        "f0 f1 f2 f3 f4 f5 f6 f7 0:8 8:8",
    );
    check(aapcs64::assign, &[I64, I32, F64], 1, "g0 g1 f0");
}

#[test]
fn apple_packs_stack_arguments_by_their_size() {
    let kinds = [I64, I64, I64, I64, I64, I64, I64, I64, I8, U16, I32, I64];
    check(
        apple64::assign,
        &kinds,
        12,
        "g0 g1 g2 g3 g4 g5 g6 g7 0:1 2:2 4:4 8:8",
    );
    let floats = [F64, F64, F64, F64, F64, F64, F64, F64, F32, F64, I8, F32];
    check(
        apple64::assign,
        &floats,
        12,
        "f0 f1 f2 f3 f4 f5 f6 f7 0:4 8:8 g0 16:4",
    );
}

#[test]
fn apple_puts_variadic_arguments_on_the_stack_while_registers_are_free() {
    // R17: open's mode, fcntl's argument.
    check(apple64::assign, &[I64, I32, I32], 2, "g0 g1 0:8");
    check(apple64::assign, &[I64, F64, I32, F64], 1, "g0 0:8 8:8 16:8");
    // After packed named ones, a variadic slot is aligned again.
    let kinds = [I64, I64, I64, I64, I64, I64, I64, I64, I8, I32];
    check(
        apple64::assign,
        &kinds,
        9,
        "g0 g1 g2 g3 g4 g5 g6 g7 0:1 8:8",
    );
}

#[test]
fn cdecl_puts_everything_on_the_stack_in_words() {
    check(
        cdecl::assign,
        &[I8, I64, F32, F64, U16],
        5,
        "0:4 4:8 12:4 16:8 24:4",
    );
    check(cdecl::assign, &[I64, I32], 1, "0:8 8:4");
}

#[test]
fn no_arguments_use_nothing() {
    for assign in [
        sysv64::assign as Assign,
        aapcs64::assign,
        apple64::assign,
        cdecl::assign,
    ] {
        let placement = assign(&[], 0);
        assert_eq!(
            (placement.general, placement.float, placement.stack),
            (0, 0, 0)
        );
    }
}
