//! Every transition of the layer, single-stepped: with the processor's trap flag set, a handler of the
//! layer runs after each instruction, makes calls, and looks at which stack the C function ran on.
//!
//! Once with an alternate stack, and once without, when the kernel's frames land on whichever stack is
//! current: a G's, a coroutine's, the system's. x86_64 Linux with glibc only: elsewhere this file is
//! empty. `cargo test --test step -- --nocapture` prints which instructions were hit how often.
//!
//! What is not stepped, and why:
//! - newosproc itself, in the creator: glibc blocks every signal around clone, and a trap while
//!   SIGTRAP is blocked kills the process. The new thread is stepped whole (`interpose`).
//! - the kernel's own entry of a handler: it clears the flag. `stepped_sigtramp` sets it again, so that
//!   sigtramp is stepped from its first instruction, in a frame that the kernel made.
//! - what never runs: `landing` and the first instruction of goentry, which are there for unwinders; the
//!   three instructions with which a checked row aborts in a handler; ud2. `coverage` counts them.
#![cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]

#[path = "step/coverage.rs"]
mod coverage;
#[path = "step/family.rs"]
mod family;
#[path = "step/interpose.rs"]
mod interpose;
#[path = "step/rows.rs"]
mod rows;
#[path = "step/shim.rs"]
mod shim;
mod support;
#[path = "step/threads.rs"]
mod threads;
#[path = "step/transitions.rs"]
mod transitions;
#[path = "step/watch.rs"]
mod watch;

use std::sync::Once;
use std::sync::atomic::Ordering;
use watch::Run;

/// Signals that each configuration takes at least.
const SIGNALS: u64 = 200_000;

#[test]
fn a_handler_at_any_instruction_calls_safely_from_the_alternate_stack() {
    static RUN: Run = Run::new(true);
    step(&RUN);
}

#[test]
fn a_handler_at_any_instruction_calls_safely_without_an_alternate_stack() {
    static RUN: Run = Run::new(false);
    step(&RUN);
}

fn step(run: &'static Run) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| watch::install(transitions::on_user_signal));
    let start = std::time::Instant::now();
    let laps = std::thread::spawn(move || threads::run(run, SIGNALS))
        .join()
        .expect("the stepped thread");
    let seconds = start.elapsed().as_secs_f64();

    println!(
        "\nalternate stack {}: {laps} laps in {seconds:.1} s",
        if run.alternate { "on" } else { "off" }
    );
    let missing = coverage::report(run);
    let (failed, failures) = run.failures();
    let failures: Vec<String> = failures.iter().map(coverage::describe).collect();
    assert_eq!(
        failed,
        0,
        "failures, the first of them:\n{}",
        failures.join("\n")
    );
    assert!(missing.is_empty(), "coverage:\n{}", missing.join("\n"));
    assert!(run.signals() >= SIGNALS);
    assert_eq!(
        watch::STRAY.load(Ordering::Relaxed),
        0,
        "traps on threads that nobody steps"
    );
    // A handler on a G's stack is what the alternate stack is there to avoid.
    assert_eq!(run.switched.load(Ordering::Relaxed) == 0, run.alternate);
}
