//! The process, and its end.

use super::exercise::{ends, works};
use super::{Ending, Exercise};
use nosplit::calls;
use std::ptr::{null_mut, with_exposed_provenance_mut};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Has exit leave a mark in the slot, which the parent of this process sees.
fn mark_at_exit(s: &mut super::Slot) {
    static MARK: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn mark() {
        // SAFETY: the first note of the slot, in memory that is never unmapped.
        unsafe { *with_exposed_provenance_mut::<usize>(MARK.load(Ordering::Relaxed)) = 1 };
    }
    s.notes[0] = 0;
    MARK.store((&raw mut s.notes[0]).expose_provenance(), Ordering::Relaxed);
    // SAFETY: a function that may be called at any time.
    assert_eq!(unsafe { libc::atexit(mark) }, 0);
}

pub static EXERCISES: &[Exercise] = &[
    Exercise {
        row: &calls::getpid::ROW,
        calls: ways!(getpid),
        cases: &[works(
            "is this process",
            |_| {},
            |_, pid| {
                let own = std::process::id() as usize;
                ensure!(pid == Ok(own), "{pid:?} instead of {own}");
                Ok(())
            },
        )],
        repeat: repeat!(libc::getpid, getpid, |_| {}),
    },
    Exercise {
        row: &calls::exit::ROW,
        calls: ways!(never exit 0),
        cases: &[ends(
            "ends the process, and runs what atexit registered",
            |s| {
                mark_at_exit(s);
                s.pass([7]);
            },
            |s, ending| {
                ensure!(ending == Ending::Exited(7), "{ending:?}");
                ensure!(s.notes[0] == 1, "what atexit registered did not run");
                Ok(())
            },
        )],
        repeat: None,
    },
    Exercise {
        row: &calls::_exit::ROW,
        calls: ways!(never _exit 0),
        cases: &[ends(
            "ends the process at once",
            |s| {
                mark_at_exit(s);
                s.pass([7]);
            },
            |s, ending| {
                ensure!(ending == Ending::Exited(7), "{ending:?}");
                ensure!(s.notes[0] == 0, "what atexit registered ran");
                Ok(())
            },
        )],
        repeat: None,
    },
    Exercise {
        row: &calls::abort::ROW,
        calls: ways!(never abort),
        cases: &[ends(
            "ends the process by SIGABRT, though it is blocked",
            |_| {
                // SAFETY: a set of its own, and a limit.
                unsafe {
                    let mut set = std::mem::zeroed();
                    libc::sigaddset(&mut set, libc::SIGABRT);
                    libc::pthread_sigmask(libc::SIG_BLOCK, &set, null_mut());
                    let no_core = std::mem::zeroed();
                    libc::setrlimit(libc::RLIMIT_CORE, &no_core);
                }
            },
            |_, ending| {
                ensure!(ending == Ending::Killed(libc::SIGABRT), "{ending:?}");
                Ok(())
            },
        )],
        repeat: None,
    },
];
