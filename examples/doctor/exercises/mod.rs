//! What it takes to try each row of the table: arguments, the one call, what a user relies on.
//!
//! A file for each family of `nosplit::calls`, and in it one [`Exercise`] for each row. Everything
//! runs in a child process of its own: an exercise leaves descriptors, memory and handlers as they
//! are, and takes back only what outlives a process.

#[macro_use]
mod exercise;
mod bounds;
mod file;
mod memory;
mod process;
mod signal;
mod sync;
mod thread;
mod time;

pub use exercise::{Case, Ending, Exercise, Expect, Slot, Verdict};

use nosplit::{Row, calls};

static FAMILIES: &[&[Exercise]] = &[
    file::EXERCISES,
    memory::EXERCISES,
    process::EXERCISES,
    signal::EXERCISES,
    sync::EXERCISES,
    thread::EXERCISES,
    bounds::EXERCISES,
    time::EXERCISES,
];

/// Every row of the table, with its exercise. A row without one has not been tried.
pub fn rows() -> impl Iterator<Item = (&'static Row, Option<&'static Exercise>)> {
    calls::TABLE.iter().copied().flatten().map(|&row| {
        let exercise = FAMILIES
            .iter()
            .copied()
            .flatten()
            .find(|exercise| exercise.row.name == row.name);
        (row, exercise)
    })
}
