//! From inside a call that a G made, each way of walking the stacks arrives where the thread began.
//!
//! It has its own `main`, for libtest runs every test on a thread of its own, and half of the claim is
//! about the main thread.

#[path = "../support/child.rs"]
mod child;
mod gdb;
mod places;
mod registers;
#[path = "../support/mod.rs"]
mod support;
mod walk;

use nosplit::arch;
use places::{Function, Place, SITUATIONS, SWITCH, places, visit};
use registers::REGISTERS;
use std::env;
use std::panic::catch_unwind;
use std::process::ExitCode;
use walk::Walk;

/// What is seen from one place in one situation.
struct Seen {
    from: String,
    place: Place,
    walk: Walk,
    way: Vec<Function>,
}

fn everywhere(check: impl Fn(Seen)) {
    for (thread, side) in SITUATIONS {
        for place in places() {
            check(Seen {
                from: format!(
                    "{}; thread: {thread:?}, the G's stack: {side:?}",
                    place.name
                ),
                walk: visit(&place, thread, side),
                way: place.way(thread),
                place,
            });
        }
    }
}

impl Seen {
    /// Panics unless all functions of the way are among `met`, in their order.
    #[track_caller]
    fn assert_on_the_way(&self, met: &[usize]) {
        let mut rest = met.iter();
        for function in &self.way {
            assert!(
                rest.any(|&address| address == function.address),
                "{}: no {} in its place among {met:x?}; the way is {:x?}",
                self.from,
                function.name,
                self.way
            );
        }
    }
}

fn unwind_tables_lead_to_the_start_of_the_thread() {
    everywhere(|seen| {
        let frames = seen.walk.tables();
        let met: Vec<_> = frames.iter().map(|frame| frame.function).collect();
        seen.assert_on_the_way(&met);
        // And on through the C library, to whose first function there is no way back.
        let root = seen.way.last().map(|function| function.address);
        let above = frames
            .iter()
            .skip_while(|frame| Some(frame.function) != root);
        let above: Vec<_> = above.skip(1).filter(|frame| frame.at.pc != 0).collect();
        assert!(
            !above.is_empty() && above.iter().all(|frame| frame.function != 0),
            "{}: {above:x?}",
            seen.from
        );
        assert_eq!(seen.walk.end, walk::END_OF_STACK, "{}", seen.from);
    });
}

/// Callee-saved registers too: below asmcgocall, gogo, mcall, gosave and sigtramp, each of which keeps
/// them in its own way.
fn unwind_tables_give_the_registers_back() {
    everywhere(|seen| {
        let marked = |&mark: &usize| REGISTERS.map(|number| mark + number as usize);
        let marks: Vec<_> = seen.place.marks().iter().map(marked).collect();
        assert_eq!(seen.walk.marks(), marks, "{}", seen.from);
    });
}

/// Whoever starts from the record that asmcgocall left in the G, or from the link to gogo at the top of
/// its stack, goes on with the frames that the unwind tables lead to. True in every build.
fn the_record_and_the_link_agree_with_the_unwind_tables() {
    let goentry = arch::goentry as *const () as usize;
    everywhere(|seen| {
        let caller_of = |function: usize| {
            let mut frames = seen.walk.tables().iter();
            frames.find(|frame| frame.function == function)?;
            Some(frames.next()?.at)
        };
        let find = |is: fn(&Function) -> bool| seen.way.iter().find(|f| is(f)).map(|f| f.address);
        if let Some(asmcgocall) = find(|f| f.name == SWITCH).filter(|&f| f != goentry) {
            assert_eq!(
                caller_of(asmcgocall),
                Some(seen.walk.record),
                "{}",
                seen.from
            );
        }
        let entered = find(|f| ["landing", "mcall"].contains(&f.name)).expect("one of the two");
        assert_eq!(caller_of(entered), Some(seen.walk.link), "{}", seen.from);
    });
}

/// Needs frame pointers in Rust code.
fn frame_pointers_lead_to_the_start_of_the_thread() {
    everywhere(|seen| {
        if seen.place.frame_pointers {
            seen.assert_on_the_way(seen.walk.frame_pointers());
        }
    });
}

/// Does Rust code keep frame pointers? Always on aarch64 and on Darwin; elsewhere this believes who runs
///
/// `RUSTFLAGS=-Cforce-frame-pointers=yes NOSPLIT_FRAME_POINTERS=yes cargo test --test unwind`
fn has_frame_pointers() -> bool {
    cfg!(any(target_arch = "aarch64", target_vendor = "apple"))
        || env::var_os("NOSPLIT_FRAME_POINTERS").is_some()
}

/// Runs the tests one after the other, on the main thread.
fn main() -> ExitCode {
    places::make_room();
    let args: Vec<String> = env::args().skip(1).collect();
    if let [gdb::VISIT, situation] = args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        gdb::visit_all(situation);
        return ExitCode::SUCCESS;
    }

    let mut tests: Vec<(&str, fn())> = vec![
        (
            "unwind_tables_lead_to_the_start_of_the_thread",
            unwind_tables_lead_to_the_start_of_the_thread,
        ),
        (
            "unwind_tables_give_the_registers_back",
            unwind_tables_give_the_registers_back,
        ),
        (
            "the_record_and_the_link_agree_with_the_unwind_tables",
            the_record_and_the_link_agree_with_the_unwind_tables,
        ),
    ];
    if has_frame_pointers() {
        tests.push((
            "frame_pointers_lead_to_the_start_of_the_thread",
            frame_pointers_lead_to_the_start_of_the_thread,
        ));
    }
    if cfg!(target_os = "linux") {
        tests.push((
            "gdb_goes_on_to_the_start_of_the_thread",
            gdb::gdb_goes_on_to_the_start_of_the_thread,
        ));
    }
    // As libtest has it, a name or a part of one comes first; what else it takes is ignored.
    if let Some(filter) = args.first().filter(|arg| !arg.starts_with('-')) {
        tests.retain(|(name, _)| name.contains(filter));
    }
    let mut failed = false;
    for (name, test) in tests {
        let passed = catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed |= !passed;
    }
    ExitCode::from(u8::from(failed))
}
