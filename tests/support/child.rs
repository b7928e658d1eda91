//! This program once more, as a process of its own.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::env;
use std::process::Command;

/// This program, behind the words of `NOSPLIT_RUNNER` where programs of its target need a runner.
pub fn this_program() -> Command {
    let program = env::current_exe().expect("the path of this program");
    let runner = env::var("NOSPLIT_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    let Some(first) = words.next() else {
        return Command::new(program);
    };
    let mut command = Command::new(first);
    command.args(words).arg(program);
    command
}

/// The test of this thread alone; its output is not held back.
pub fn this_test() -> Command {
    let test = std::thread::current();
    let mut command = this_program();
    command.args(["--exact", "--nocapture", test.name().expect("a test")]);
    command
}
