//! Instructions executed for one call, counted exactly: by callgrind on x86_64, and in the objects.
//!
//! What a row adds is what is executed in asmcgocall and in the trampoline, less what a direct call
//! does with the same arguments: one instruction for each. What
//! the wrapper does around them is in the last column only.

use anyhow::{Context, Result, bail, ensure};
use nosplit_inspect::assert_none;
use nosplit_inspect::build::{NATIVE, Program, folder, objects, output};
use nosplit_inspect::code::{demangle, functions};
use nosplit_inspect::decode::{instructions, straight_on};
use object::{Object as _, ObjectSymbol as _};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Calls in a run.
const TIMES: u64 = 10_000;
/// The most that a row may add on a G where all its arguments travel in registers.
const MOST_REGISTERS: u64 = 22;
/// The same for rows with arguments on the stack.
const MOST_FRAMED: u64 = 29;
/// How a row is reached: see `probe/examples/count.rs`.
const PATHS: [&str; 4] = ["g", "g0", "none", "no_g"];

/// The functions of the program: start, end, name.
type Symbols = Vec<(u64, u64, String)>;

/// What one run executed.
struct Run {
    /// By address in the program.
    at: BTreeMap<u64, u64>,
    /// In all, libraries included.
    total: u64,
}

impl Run {
    /// In the functions that are asked for.
    fn executed(&self, symbols: &Symbols, is: impl Fn(&str) -> bool) -> u64 {
        let spans = symbols.iter().filter(|(_, _, name)| is(name));
        spans
            .flat_map(|&(start, end, _)| self.at.range(start..end))
            .map(|(_, count)| count)
            .sum()
    }
}

/// Runs the program under callgrind, and reads what it wrote.
fn callgrind(count: &Path, row: &str, path: &str, times: u64) -> Result<Run> {
    let folder = folder("callgrind")?;
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{row}-{path}-{times}"));
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--dump-instr=yes"])
        .args(["--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(count)
        .args([row, path, &times.to_string()]);
    output(&mut valgrind).context("needs valgrind: apt-get install valgrind")?;
    let text = std::fs::read_to_string(&file)?;
    let mut run = Run {
        at: BTreeMap::new(),
        total: 0,
    };
    // Of each line `0xADDRESS LINE COUNT`; but the one after `calls=` has the callee's sum. The
    // functions that callgrind names are not to be believed: it follows SP, which jumps here.
    let mut sum = false;
    for line in text.lines() {
        if let Some(total) = line.strip_prefix("totals: ") {
            run.total = total.parse()?;
        } else if line.starts_with("calls=") {
            sum = true;
        } else if let Some(words) = line.strip_prefix("0x")
            && !std::mem::take(&mut sum)
        {
            let [address, _, count] = *words.split(' ').collect::<Vec<_>>() else {
                bail!("{}: {line}", file.display());
            };
            let address = u64::from_str_radix(address, 16)?;
            *run.at.entry(address).or_default() += count.parse::<u64>()?;
        }
    }
    ensure!(run.total != 0, "{} has no totals", file.display());
    Ok(run)
}

fn symbols(program: &Path) -> Result<Symbols> {
    let bytes = std::fs::read(program)?;
    let file = object::File::parse(&*bytes)?;
    let symbols = file.symbols().filter(|symbol| symbol.is_definition());
    symbols
        .map(|s| Ok((s.address(), s.address() + s.size(), demangle(s.name()?))))
        .collect()
}

fn is_asmcgocall(name: &str) -> bool {
    name.starts_with("nosplit::arch::processor::") && name.contains("asmcgocall")
}

/// A row of the program.
struct Row {
    name: String,
    arguments: u64,
    on_stack: u64,
}

/// What a row executes for one call, on one path.
#[derive(PartialEq, Eq, Debug)]
struct Cost {
    asmcgocall: u64,
    trampoline: u64,
    /// What it adds to a direct call.
    added: u64,
}

/// The counter: the program, its functions, and what it executes without a single call.
struct Counter {
    program: PathBuf,
    symbols: Symbols,
    idle: BTreeMap<&'static str, Run>,
}

impl Counter {
    fn new() -> Result<Counter> {
        // At addresses that no library has: callgrind counts those of each from 0.
        let mut program = Program::new(NATIVE, "count");
        program.folder = "programs-fixed".to_owned();
        program.variables = vec![("RUSTFLAGS", "-Clink-arg=-no-pie")];
        let program = program.build()?;
        let symbols = symbols(&program)?;
        let mut idle = BTreeMap::new();
        for path in PATHS.into_iter().chain(["direct"]) {
            idle.insert(path, callgrind(&program, "plain_1", path, 0)?);
        }
        Ok(Counter {
            program,
            symbols,
            idle,
        })
    }

    fn rows(&self) -> Result<Vec<Row>> {
        let list = output(&mut Command::new(&self.program))?;
        let rows = list.lines().map(|line| {
            let [name, arguments, on_stack] = *line.split(' ').collect::<Vec<_>>() else {
                bail!("not a row: {line}");
            };
            Ok(Row {
                name: name.to_owned(),
                arguments: arguments.parse()?,
                on_stack: on_stack.parse()?,
            })
        });
        rows.collect()
    }

    /// The cost of one call, and what it takes in all, wrapper, C function and loop included.
    fn cost(&self, row: &Row, path: &str) -> Result<(Cost, f64)> {
        let run = callgrind(&self.program, &row.name, path, TIMES)?;
        let idle = &self.idle[path];
        let each = |is: &dyn Fn(&str) -> bool| {
            let sum = run.executed(&self.symbols, is) - idle.executed(&self.symbols, is);
            ensure!(
                sum.is_multiple_of(TIMES),
                "{} on {path}: {sum} in {TIMES} calls",
                row.name
            );
            Ok(sum / TIMES)
        };
        let asmcgocall = each(&is_asmcgocall)?;
        let trampoline = each(&|name| name == format!("count::{}::trampoline", row.name))?;
        let all = (run.total as f64 - idle.total as f64) / TIMES as f64;
        let cost = Cost {
            asmcgocall,
            trampoline,
            added: (asmcgocall + trampoline).saturating_sub(row.arguments),
        };
        Ok((cost, all))
    }
}

#[test]
fn a_call_adds_at_most_22_instructions_and_29_with_arguments_on_the_stack() -> Result<()> {
    let counter = Counter::new()?;
    let rows = counter.rows()?;
    // The machines that this is made for have two processors.
    let (left, right) = rows.split_at(rows.len() / 2);
    let lines = std::thread::scope(|scope| {
        let measure = |rows: &[Row]| rows.iter().map(|row| line(&counter, row)).collect();
        let right = scope.spawn(move || measure(right));
        let mut lines: Vec<Result<(String, Option<String>)>> = measure(left);
        lines.extend(right.join().expect("measured"));
        lines
    });
    println!("added instructions (asmcgocall + trampoline); whole call over a direct one");
    println!(
        "{:15}{:>5}{:>6}   {:18}{:18}{:18}{:18}{:>8}",
        "row", "args", "stack", "on a G", "on g0", "without g", "no_g", "whole"
    );
    let mut broken = Vec::new();
    for line in lines {
        let (line, claim) = line?;
        println!("{line}");
        broken.extend(claim);
    }
    assert_none("a row adds at most 22 or 29 instructions", broken);
    Ok(())
}

/// Measures a row on every path: a line of the table, and what is wrong with it.
fn line(counter: &Counter, row: &Row) -> Result<(String, Option<String>)> {
    let (_, direct) = counter.cost(row, "direct")?;
    let mut line = format!("{:15}{:5}{:6}   ", row.name, row.arguments, row.on_stack);
    let mut whole = 0.0;
    let mut broken = None;
    for path in PATHS {
        let (cost, all) = counter.cost(row, path)?;
        if path == "g" {
            whole = all - direct;
        }
        let most = if row.on_stack == 0 {
            MOST_REGISTERS
        } else {
            MOST_FRAMED
        };
        // Off the stack of g a row that is not for handlers has to look for one.
        let most = if path == "g0" { most + 2 } else { most };
        if cost.asmcgocall == 0 || cost.trampoline == 0 {
            broken = Some(format!("{} on {path}: not seen: {cost:?}", row.name));
        } else if cost.added > most {
            broken = Some(format!(
                "{} on {path}: {} of at most {most}",
                row.name, cost.added
            ));
        }
        let sum = format!("{} ({} + {})", cost.added, cost.asmcgocall, cost.trampoline);
        line += &format!("{sum:18}");
    }
    Ok((format!("{line}{whole:8.1}"), broken))
}

/// The most that `write` may add on a G, by what asmcgocall and the trampoline execute if no condition
/// branches, which is the switch. A direct call loads its three arguments, or on i386 pushes them.
const MOST_FOR_WRITE: [(&str, usize); 6] = [
    ("x86_64-unknown-linux-gnu", 21),
    ("x86_64-apple-darwin", 23),
    ("aarch64-unknown-linux-gnu", 27),
    ("aarch64-apple-darwin", 29),
    ("i686-unknown-linux-gnu", 35),
    ("i686-apple-darwin", 36),
];

#[test]
fn write_adds_at_most_so_many_instructions_on_every_target() -> Result<()> {
    let mut broken = Vec::new();
    for (target, most) in MOST_FOR_WRITE {
        let functions = functions(&objects(target)?.nosplit)?;
        let count = |name: &str| {
            let function = functions.iter().find(|function| function.name == name);
            straight_on(&instructions(target, function.context(name.to_owned())?)?)
        };
        let [plain, i32, word, null] = ["", "_i32", "_word", "_null"]
            .map(|test| count(&format!("nosplit::arch::processor::asmcgocall{test}")));
        let [getpid, close, write, mmap] = [
            "process::getpid",
            "file::close",
            "file::write",
            "memory::mmap",
        ]
        .map(|row| count(&format!("nosplit::calls::{row}::trampoline")));
        let (word, write) = (word?, write?);
        let added = word + write - 3;
        println!(
            "{target:25} asmcgocall {}, _i32 {}, _word {word}, _null {}; \
             getpid {}, close {}, write {write}, mmap {}; write adds {added}",
            plain?, i32?, null?, getpid?, close?, mmap?,
        );
        if added > most {
            broken.push(format!("{target}: {added}, of at most {most}"));
        }
    }
    assert_none("write adds at most so many instructions", broken);
    Ok(())
}
