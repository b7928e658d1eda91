//! What gdb's `bt` says of the same places. It reads the same tables, but it has an opinion of its own
//! on which way stacks grow.

use crate::child::this_program;
use crate::places::{SITUATIONS, places, visit};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{env, fs, process, thread};

/// The argument by which this program, run by gdb, knows what it is there for.
pub const VISIT: &str = "--visit";

/// Stops in libc, on the way to the first place, and at each walk.
const STOPS: &str = r"
set pagination off
set width 0
set breakpoint pending on
handle SIGUSR1 nostop noprint pass
tbreak qsort
commands
  silent
  echo \n== stop\n
  bt
  continue
end
break walks_from_here
commands
  silent
  echo \n== stop\n
  bt
  continue
end
";

/// Goes to each place, in the situation of that number.
pub fn visit_all(situation: &str) {
    let situation: usize = situation.parse().expect("a number");
    let (thread, side) = SITUATIONS[situation];
    for place in places() {
        visit(&place, thread, side);
    }
}

pub fn gdb_goes_on_to_the_start_of_the_thread() {
    for (situation, &(thread, side)) in SITUATIONS.iter().enumerate() {
        let from = format!("thread: {thread:?}, the G's stack: {side:?}");
        let said = run_under_gdb(situation);
        for complaint in ["inner to this frame", "corrupt stack", "Backtrace stopped"] {
            assert!(!said.contains(complaint), "{from}: {complaint}:\n{said}");
        }
        assert!(said.contains("exited normally"), "{from}:\n{said}");

        let mut ways: Vec<_> = places().iter().map(|place| place.way(thread)).collect();
        // The first stop: in libc itself, before it calls back.
        let from_libc = ways[0][1..].to_vec();
        ways.insert(0, from_libc);
        let stops: Vec<_> = said.split("\n== stop\n").skip(1).collect();
        assert_eq!(stops.len(), ways.len(), "{from}:\n{said}");
        for (stop, way) in stops.iter().zip(ways) {
            let mut frames = stop.lines().filter(|line| line.starts_with('#'));
            for function in way {
                assert!(
                    frames.any(|frame| is_of(frame, function.name)),
                    "{from}: no {} in its place:\n{stop}",
                    function.name
                );
            }
        }
    }
}

/// Is this line of `bt` a frame of that function, of whichever module?
///
/// `#4  0x00005555555a1b2c in unwind::places::sorts () at tests/unwind/places.rs:251`
fn is_of(frame: &str, name: &str) -> bool {
    let (_, frame) = frame.split_once(' ').expect("a number");
    let frame = frame.split_once(" in ").map_or(frame, |(_, frame)| frame);
    let function = frame.trim_start().split(" (").next().expect("a name");
    // The name of a naked function may have a hash behind it.
    function == name || function.rsplit("::").take(2).any(|part| part == name)
}

/// Has this program visit every place under gdb, and returns what gdb says.
///
/// Where it had to start itself over (`make_room`), gdb begins anew as well: it does not read the vDSO
/// of a program that another has become, and on i386 that is where a signal interrupts system calls.
fn run_under_gdb(situation: usize) -> String {
    for _ in 0..20 {
        let said = run_once_under_gdb(situation);
        if !said.contains("is executing new program") {
            return said;
        }
    }
    panic!("no room above the main stack in 20 runs: is its place not random?");
}

fn run_once_under_gdb(situation: usize) -> String {
    let mut program = this_program();
    program.args([VISIT, &situation.to_string()]);
    let file = |name| {
        format!(
            "{}/unwind-{}-{name}",
            env!("CARGO_TARGET_TMPDIR"),
            process::id()
        )
    };
    let (script, socket) = (file("script"), file("socket"));

    let runner = env::var_os("NOSPLIT_RUNNER").filter(|words| !words.is_empty());
    let (gdb, start, run, emulator) = match runner {
        None => (
            "gdb",
            "set disable-randomization off\n".to_string(),
            "run",
            None,
        ),
        // In qemu the program waits for a gdb that knows its processor.
        Some(_) => {
            program.env("QEMU_GDB", &socket);
            if cfg!(target_arch = "aarch64") {
                // Without SVE, on whose signal frames qemu and gdb do not agree.
                program.env("QEMU_CPU", "cortex-a57");
            }
            let mut emulator = program.spawn().expect("qemu");
            while !Path::new(&socket).exists() {
                assert_eq!(emulator.try_wait().expect("qemu"), None, "qemu has ended");
                thread::sleep(Duration::from_millis(10));
            }
            let sysroot = program.get_args().skip_while(|&arg| arg != "-L").nth(1);
            let sysroot = sysroot.unwrap_or("/".as_ref()).display();
            let start = format!("set sysroot {sysroot}\ntarget remote {socket}\n");
            ("gdb-multiarch", start, "continue", Some(emulator))
        }
    };
    fs::write(&script, format!("{start}{STOPS}{run}\n")).expect("the script");
    let output = Command::new(gdb)
        .args([
            "-batch",
            "-nx",
            "-iex",
            "set debuginfod enabled off",
            "-x",
            &script,
            "--args",
        ])
        .arg(env::current_exe().expect("the path of this program"))
        .args([VISIT, &situation.to_string()])
        .output();
    if let Some(mut emulator) = emulator {
        // Without gdb it would wait for ever.
        emulator.kill().expect("kill");
        emulator.wait().expect("wait");
    }
    fs::remove_file(&script).expect("the script");
    let output = match output {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            panic!("there is no {gdb}: apt-get install {gdb}")
        }
        output => output.expect("gdb"),
    };
    [output.stdout, output.stderr]
        .map(|text| String::from_utf8_lossy(&text).into_owned())
        .concat()
}
