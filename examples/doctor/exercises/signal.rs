//! Signals. SIGUSR2 is theirs; SIGUSR1 gets us into handlers.

use super::exercise::{fails, works};
use super::{Exercise, Slot, Verdict};
use nosplit::{Errno, calls};
use std::ffi::c_int;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SIGNAL: usize = libc::SIGUSR2 as usize;
const NO_SIGNAL: usize = 10_000;

static COUNT: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: c_int) {
    COUNT.fetch_add(1, Ordering::Relaxed);
}

/// `count`, as a disposition.
fn counting() -> libc::sigaction {
    // SAFETY: integers, pointers and an optional function.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = count as *const () as libc::sighandler_t;
    action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART;
    action
}

/// Has SIGUSR2 counted from now on; the count so far is the first note.
fn count_from_now_on(s: &mut Slot) {
    // SAFETY: a handler that may run anywhere.
    assert_eq!(
        unsafe { libc::sigaction(libc::SIGUSR2, &counting(), null_mut()) },
        0
    );
    s.notes[0] = COUNT.load(Ordering::Relaxed);
}

/// SIGUSR2 has been counted, or waits until the handler that we are in has returned.
fn arrives(s: &mut Slot, result: Result<usize, Errno>) -> Verdict {
    ensure!(result == Ok(0), "{result:?}");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        // SAFETY: a set.
        let pending = unsafe {
            let mut set = std::mem::zeroed();
            libc::sigpending(&mut set);
            libc::sigismember(&set, libc::SIGUSR2)
        };
        if pending == 1 || COUNT.load(Ordering::Relaxed) > s.notes[0] {
            return Ok(());
        }
    }
    Err("the signal did not arrive".into())
}

fn this_process() -> usize {
    std::process::id() as usize
}

fn this_thread() -> usize {
    // SAFETY: asks only.
    unsafe { libc::pthread_self() as usize }
}

/// This thread's mask.
fn mask() -> libc::sigset_t {
    // SAFETY: a set.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut set);
        set
    }
}

fn holds(set: &libc::sigset_t, signal: c_int) -> bool {
    // SAFETY: a good set.
    unsafe { libc::sigismember(set, signal) == 1 }
}

pub static EXERCISES: &[Exercise] = &[
    Exercise {
        row: &calls::sigaction::ROW,
        calls: ways!(sigaction 0 1 2),
        cases: &[
            works(
                "installs a handler, and tells the one before",
                |s| {
                    // SAFETY: places 0 and 1 have room; SIGUSR2 is ours.
                    unsafe {
                        libc::signal(libc::SIGUSR2, libc::SIG_IGN);
                        s.at::<libc::sigaction>(0).write(counting());
                    }
                    s.pass([SIGNAL, s.place(0), s.place(1)]);
                },
                |s, result| {
                    ensure!(result == Ok(0), "{result:?}");
                    // SAFETY: actions, of which one was stored by the call.
                    let (old, now) = unsafe {
                        let mut now: libc::sigaction = std::mem::zeroed();
                        let old = s.at::<libc::sigaction>(1);
                        libc::sigaction(libc::SIGUSR2, old, &mut now);
                        (*old, now)
                    };
                    ensure!(
                        old.sa_sigaction == libc::SIG_IGN,
                        "another was there before"
                    );
                    ensure!(
                        now.sa_sigaction == counting().sa_sigaction,
                        "it is not there"
                    );
                    Ok(())
                },
            ),
            fails(Errno::EINVAL, "of SIGKILL", |s| {
                // SAFETY: place 0 has room.
                unsafe { s.at::<libc::sigaction>(0).write(counting()) };
                s.pass([libc::SIGKILL as usize, s.place(0), 0]);
            }),
        ],
        repeat: repeat!(libc::sigaction, sigaction 0 1 2, |s| {
            s.pass([SIGNAL, 0, s.place(0)]);
        }),
    },
    Exercise {
        row: &calls::pthread_sigmask::ROW,
        calls: ways!(pthread_sigmask 0 1 2),
        cases: &[
            works(
                "sets the mask, and tells the one before",
                |s| {
                    // SAFETY: place 0 has room.
                    unsafe {
                        let set: *mut libc::sigset_t = s.at(0);
                        libc::sigemptyset(set);
                        libc::sigaddset(set, libc::SIGUSR2);
                    }
                    s.notes[0] = holds(&mask(), libc::SIGUSR1) as usize;
                    s.pass([libc::SIG_SETMASK as usize, s.place(0), s.place(1)]);
                },
                |s, result| {
                    ensure!(result == Ok(0), "{result:?}");
                    let now = mask();
                    // SAFETY: stored by the call.
                    let old = unsafe { *s.at::<libc::sigset_t>(1) };
                    // SAFETY: stored by the call. Handlers of ours rely on their mask.
                    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &old, null_mut()) };
                    ensure!(holds(&now, libc::SIGUSR2), "the signal is not blocked");
                    ensure!(!holds(&now, libc::SIGUSR1), "another signal is blocked");
                    ensure!(
                        holds(&old, libc::SIGUSR1) == (s.notes[0] == 1),
                        "another mask was there before"
                    );
                    Ok(())
                },
            ),
            fails(Errno::EINVAL, "in an unknown way", |s| {
                s.pass([99, s.place(0), 0]);
            }),
        ],
        repeat: repeat!(libc::pthread_sigmask, pthread_sigmask 0 1 2, |s| {
            s.pass([libc::SIG_BLOCK as usize, 0, s.place(0)]);
        }),
    },
    Exercise {
        row: &calls::sigaltstack::ROW,
        calls: ways!(sigaltstack 0 1),
        cases: &[
            works(
                "tells the signal stack",
                |s| {
                    // SAFETY: place 1 has room.
                    unsafe { libc::sigaltstack(std::ptr::null(), s.at(1)) };
                    s.pass([0, s.place(0)]);
                },
                |s, result| {
                    ensure!(result == Ok(0), "{result:?}");
                    // SAFETY: stored by the call, and by `prepare`.
                    let [told, is] = unsafe { [0, 1].map(|i| *s.at::<libc::stack_t>(i)) };
                    ensure!(
                        (told.ss_sp, told.ss_size) == (is.ss_sp, is.ss_size),
                        "{:?} instead of {:?}",
                        told.ss_sp,
                        is.ss_sp
                    );
                    Ok(())
                },
            ),
            works(
                "sets the signal stack, but not while we are on it",
                |s| {
                    let memory = vec![0u8; 64 << 10].leak();
                    let stack = libc::stack_t {
                        ss_sp: memory.as_mut_ptr().cast(),
                        ss_flags: 0,
                        ss_size: memory.len(),
                    };
                    // SAFETY: places 0 and 1 have room.
                    unsafe {
                        s.at::<libc::stack_t>(0).write(stack);
                        libc::sigaltstack(std::ptr::null(), s.at(1));
                    }
                    s.pass([s.place(0), 0]);
                },
                |s, result| {
                    // SAFETY: stored by `prepare`.
                    let [new, old] = unsafe { [0, 1].map(|i| *s.at::<libc::stack_t>(i)) };
                    if old.ss_flags & libc::SS_ONSTACK != 0 {
                        ensure!(result == Err(Errno::EPERM), "{result:?} instead of EPERM");
                        return Ok(());
                    }
                    ensure!(result == Ok(0), "{result:?}");
                    // SAFETY: a stack_t; and the stack that was there before.
                    let now = unsafe {
                        let mut now: libc::stack_t = std::mem::zeroed();
                        libc::sigaltstack(&old, &mut now);
                        now
                    };
                    ensure!(now.ss_sp == new.ss_sp, "another is there");
                    Ok(())
                },
            ),
        ],
        repeat: repeat!(libc::sigaltstack, sigaltstack 0 1, |s| s.pass([0, s.place(0)])),
    },
    Exercise {
        row: &calls::raise::ROW,
        calls: ways!(raise 0),
        cases: &[
            works(
                "reaches this thread",
                |s| {
                    count_from_now_on(s);
                    s.pass([SIGNAL]);
                },
                arrives,
            ),
            fails(Errno::EINVAL, "of no signal", |s| s.pass([NO_SIGNAL])),
        ],
        repeat: None,
    },
    Exercise {
        row: &calls::kill::ROW,
        calls: ways!(kill 0 1),
        cases: &[
            works(
                "reaches this process",
                |s| {
                    count_from_now_on(s);
                    s.pass([this_process(), SIGNAL]);
                },
                arrives,
            ),
            fails(Errno::ESRCH, "of no process", |s| {
                s.pass([i32::MAX as usize, 0])
            }),
            fails(Errno::EINVAL, "by no signal", |s| {
                s.pass([this_process(), NO_SIGNAL])
            }),
        ],
        repeat: repeat!(libc::kill, kill 0 1, |s| s.pass([this_process(), 0])),
    },
    Exercise {
        row: &calls::pthread_kill::ROW,
        calls: ways!(pthread_kill 0 1),
        cases: &[
            works(
                "reaches this thread",
                |s| {
                    count_from_now_on(s);
                    s.pass([this_thread(), SIGNAL]);
                },
                arrives,
            ),
            fails(Errno::EINVAL, "by no signal", |s| {
                s.pass([this_thread(), NO_SIGNAL])
            }),
        ],
        repeat: repeat!(libc::pthread_kill, pthread_kill 0 1, |s| s.pass([this_thread(), 0])),
    },
];
