//! Reads what the compiler made of nosplit.
//!
//! - [`build`]: has `ci/on` build the probe, or a program of it, for a target.
//! - [`code`]: the functions of an object file, and what they refer to.
//! - [`elf`], [`mach_o`]: what only one of the formats has.
//! - [`decode`]: their instructions, as far as a claim depends on them: calls, jumps, kernel entries.
//!
//! The claims are in `tests/`, one file for each subject.

pub mod build;
pub mod code;
pub mod decode;
pub mod elf;
pub mod mach_o;

/// Fails with every line, if there is one: a claim is broken in all these places.
#[track_caller]
pub fn assert_none(claim: &str, broken: Vec<String>) {
    assert!(
        broken.is_empty(),
        "{claim}; not so:\n  {}",
        broken.join("\n  ")
    );
}
