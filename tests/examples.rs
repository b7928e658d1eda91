//! The examples run, and print what they promise.
//!
//! `cargo test` builds them; alone this needs `cargo build --examples` first.

#[path = "support/child.rs"]
mod child;

/// A name, how often it is run, and how its output begins.
const EXAMPLES: &[(&str, usize, &str)] = &[
    ("hello", 1, "hello, from a stack of 2 KiB\n"),
    (
        "scheduler",
        10,
        "sum 141750: 500 values through 32 goroutines on 4 threads\n",
    ),
    (
        "coroutines",
        1,
        "thread  runs on its own stack, and what it calls on the system stack\n",
    ),
];

#[test]
fn each_example_runs_and_prints_what_it_promises() {
    let tests = std::env::current_exe().expect("a path");
    let examples = tests
        .ancestors()
        .nth(2)
        .expect("target/debug")
        .join("examples");
    for &(name, times, beginning) in EXAMPLES {
        let program = examples.join(name);
        assert!(program.exists(), "{program:?} has not been built");
        for _ in 0..times {
            let output = child::program(&program).output().expect("it starts");
            let stdout = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success() && stdout.starts_with(beginning),
                "{name}: {output:?}"
            );
        }
    }
}
