//! A wrapper needs a small, known amount of the stack of a G.

#[path = "../examples/doctor/contexts.rs"]
#[allow(dead_code, reason = "the doctor tries every context")]
mod contexts;
#[path = "../examples/doctor/exercises/mod.rs"]
#[allow(dead_code, reason = "likewise")]
mod exercises;
#[path = "../examples/doctor/measure.rs"]
#[allow(dead_code, reason = "it takes times, too")]
mod measure;
#[path = "../examples/doctor/trial.rs"]
#[allow(dead_code, reason = "likewise")]
mod trial;

use contexts::Context;
use nosplit::Row;

/// The most that a wrapper may use, in bytes: what [`measure::stack`] measures.
fn budget(row: &Row) -> usize {
    let words: usize = (0..row.plan.count())
        .map(|i| (row.plan.kind(i) as usize & 15).div_ceil(size_of::<usize>()))
        .sum();
    match (cfg!(target_arch = "x86_64"), cfg!(debug_assertions)) {
        (true, false) => 80 + 8 * words,
        (true, true) => 256 + 24 * words,
        _ => 1024,
    }
}

#[test]
fn every_wrapper_keeps_within_its_budget_of_the_stack_of_a_g() {
    let arena = trial::Arena::new();
    let mut over = Vec::new();
    for (row, exercise) in exercises::rows().filter(|(row, _)| Context::User.allowed(row)) {
        let used = exercise.and_then(|exercise| measure::stack(&arena, exercise));
        let budget = budget(row);
        let Some(used) = used else {
            over.push(format!("{}: not measured", row.name));
            continue;
        };
        println!("{:28} {used:>4} of {budget:>4} bytes", row.name);
        // Nothing comes without a return address, or a frame that holds one.
        if !(size_of::<usize>()..=budget).contains(&used) {
            over.push(format!("{}: {used} of {budget} bytes", row.name));
        }
    }
    assert!(over.is_empty(), "over budget:\n{}", over.join("\n"));
}
