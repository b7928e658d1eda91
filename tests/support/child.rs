//! Programs of this target as processes of their own: above all this one once more.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::env;
use std::path::Path;
use std::process::Command;

/// This program.
pub fn this_program() -> Command {
    program(&env::current_exe().expect("the path of this program"))
}

/// A program, behind the words of `NOSPLIT_RUNNER` where those of its target need a runner.
pub fn program(program: &Path) -> Command {
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
