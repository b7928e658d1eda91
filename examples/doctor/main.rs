//! Makes every call of the table in every context that its row allows, on this machine, and says
//! what came of it.
//!
//! ```text
//! cargo run --release --example doctor
//! cargo run --release --example doctor -- --json write mmap
//! ```

mod contexts;
mod exercises;
mod measure;
mod report;
mod trial;

use contexts::{Context, run};
use exercises::Exercise;
use nosplit::Row;
use report::{Cell, Line, Report};
use std::process::ExitCode;
use trial::Arena;

const HELP: &str = "\
Makes every call of nosplit's table in every context that its row allows, on this machine.

Usage: doctor [--json] [ROW]...

  ROW       only these rows
  --json    for programs
  --help    this

Exit status: 0 if every call did what it should, 1 if not, 2 for wrong usage.

Examples:
  cargo run --release --example doctor
  cargo run --release --example doctor -- write mmap
  cargo run --release --example doctor -- --json | jq '.rows[] | {name, stack_bytes}'
";

#[derive(Default)]
struct Options {
    help: bool,
    json: bool,
    rows: Vec<String>,
}

fn options(mut parser: lexopt::Parser) -> Result<Options, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") | Short('h') => options.help = true,
            Long("json") => options.json = true,
            Value(name) => {
                let name = name.string()?;
                if !exercises::rows().any(|(row, _)| row.name == name) {
                    return Err(format!("no row is called `{name}`").into());
                }
                options.rows.push(name);
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options(lexopt::Parser::from_env()) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("doctor: {error} (try --help)");
            return ExitCode::from(2);
        }
    };
    if options.help {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let arena = Arena::new();
    let report = Report {
        machine: machine(),
        lines: exercises::rows()
            .filter(|(row, _)| {
                options.rows.is_empty() || options.rows.iter().any(|name| name == row.name)
            })
            .map(|(row, exercise)| line(&arena, row, exercise))
            .collect(),
    };
    if options.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.text());
    }
    match report.failures() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Tries one row everywhere.
fn line(arena: &Arena, row: &'static Row, exercise: Option<&'static Exercise>) -> Line {
    let cells = Context::ALL.map(|context| {
        let exercise = exercise.filter(|_| context.allowed(row))?;
        let mut cell = Cell::default();
        for case in exercise.cases {
            cell.calls += 1;
            if let Some(why) = run(arena, context, exercise, case, 0).failure {
                cell.failures.push((case.claim, why));
            }
        }
        Some(cell)
    });
    Line {
        name: row.name,
        cells: cells.into(),
        stack: exercise.and_then(|exercise| measure::stack(arena, exercise)),
        time: exercise.and_then(|exercise| measure::time(arena, exercise)),
        untried: exercise.is_none().then_some("no exercise"),
    }
}

/// What this was run on.
fn machine() -> Vec<(&'static str, String)> {
    use std::env::consts::{ARCH, OS};
    // SAFETY: arrays of characters, each with a zero at its end.
    let system = unsafe {
        let mut name: libc::utsname = std::mem::zeroed();
        libc::uname(&mut name);
        [&name.sysname, &name.release, &name.machine]
            .map(|field| {
                std::ffi::CStr::from_ptr(field.as_ptr())
                    .to_string_lossy()
                    .into_owned()
            })
            .join(" ")
    };
    let build = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    vec![
        ("version", format!("nosplit {}", env!("CARGO_PKG_VERSION"))),
        ("target", format!("{ARCH}-{OS} ({build})")),
        ("system", system),
        #[cfg(target_env = "gnu")]
        ("libc", {
            // SAFETY: a C string that stays.
            let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
            format!("glibc {}", version.to_string_lossy())
        }),
    ]
}
