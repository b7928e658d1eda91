//! Mutexes and condition variables. The mutex lies in place 0, the condition variable in place 1.

use super::exercise::{fails, works};
use super::{Exercise, Slot, Verdict};
use nosplit::{Errno, calls};
use std::ptr::null;
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

/// Makes the mutex, of that type, without the layer, and passes it.
fn mutex(s: &mut Slot, kind: i32) {
    // SAFETY: place 0 has room, and is nobody's yet.
    unsafe {
        let mut attr = std::mem::zeroed();
        libc::pthread_mutexattr_init(&mut attr);
        libc::pthread_mutexattr_settype(&mut attr, kind);
        assert_eq!(libc::pthread_mutex_init(s.at(0), &attr), 0);
    }
    s.pass([s.place(0)]);
}

fn locked_mutex(s: &mut Slot, kind: i32) {
    mutex(s, kind);
    // SAFETY: initialised.
    assert_eq!(unsafe { libc::pthread_mutex_lock(s.at(0)) }, 0);
}

/// Makes the condition variable without the layer, and passes it.
fn cond(s: &mut Slot) {
    // SAFETY: place 1 has room, and is nobody's yet.
    assert_eq!(unsafe { libc::pthread_cond_init(s.at(1), null()) }, 0);
    s.pass([s.place(1)]);
}

/// What trylock says to another thread: 0, or EBUSY while somebody holds the mutex.
fn another_tries(s: &mut Slot) -> i32 {
    let mutex = s.place(0);
    // SAFETY: initialised; this thread gives it back.
    let other = spawn(move || unsafe {
        let tried = libc::pthread_mutex_trylock(mutex as *mut _);
        if tried == 0 {
            libc::pthread_mutex_unlock(mutex as *mut _);
        }
        tried
    });
    other.join().expect("the other thread")
}

/// The mutex excludes, and lets go.
fn a_good_mutex(s: &mut Slot, result: Result<usize, Errno>) -> Verdict {
    ensure!(result == Ok(0), "{result:?}");
    // SAFETY: initialised.
    let steps = unsafe {
        [
            libc::pthread_mutex_lock(s.at(0)),
            another_tries(s),
            libc::pthread_mutex_unlock(s.at(0)),
            another_tries(s),
        ]
    };
    ensure!(
        steps == [0, libc::EBUSY, 0, 0],
        "lock, other, unlock, other: {steps:?}"
    );
    Ok(())
}

/// A thread that waits until the second note is set, for at most 10 s; true if it was woken.
fn waiter(s: &mut Slot) -> JoinHandle<bool> {
    let slot = (&raw mut *s) as usize;
    s.notes[0] = 0;
    s.notes[1] = 0;
    // SAFETY: the slot stays; what the threads share of it, they share under the mutex.
    spawn(move || unsafe {
        let s = slot as *mut Slot;
        let (mutex, cond) = ((*s).at(0), (*s).at(1));
        let mut until = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_REALTIME, &mut until);
        until.tv_sec += 10;
        libc::pthread_mutex_lock(mutex);
        (&raw mut (*s).notes[0]).write_volatile(1);
        let mut status = 0;
        while (&raw const (*s).notes[1]).read_volatile() == 0 && status == 0 {
            status = libc::pthread_cond_timedwait(cond, mutex, &until);
        }
        libc::pthread_mutex_unlock(mutex);
        status == 0
    })
}

pub static EXERCISES: &[Exercise] = &[
    Exercise {
        row: &calls::pthread_mutex_init::ROW,
        calls: ways!(pthread_mutex_init 0 1),
        cases: &[works(
            "makes a mutex that excludes",
            |s| {
                s.fill(0xff);
                s.pass([s.place(0), 0]);
            },
            a_good_mutex,
        )],
        repeat: None,
    },
    Exercise {
        row: &calls::pthread_mutex_lock::ROW,
        calls: ways!(pthread_mutex_lock 0),
        cases: &[
            works(
                "keeps another thread out",
                |s| mutex(s, libc::PTHREAD_MUTEX_NORMAL),
                |s, result| {
                    ensure!(result == Ok(0), "{result:?}");
                    let tried = another_tries(s);
                    ensure!(tried == libc::EBUSY, "another thread gets {tried}");
                    Ok(())
                },
            ),
            fails(Errno::EDEADLK, "of what this thread holds", |s| {
                locked_mutex(s, libc::PTHREAD_MUTEX_ERRORCHECK);
            }),
        ],
        repeat: repeat!(libc::pthread_mutex_lock, pthread_mutex_lock 0, |s| {
            mutex(s, libc::PTHREAD_MUTEX_RECURSIVE);
        }),
    },
    Exercise {
        row: &calls::pthread_mutex_unlock::ROW,
        calls: ways!(pthread_mutex_unlock 0),
        cases: &[
            works(
                "lets another thread in",
                |s| locked_mutex(s, libc::PTHREAD_MUTEX_NORMAL),
                |s, result| {
                    ensure!(result == Ok(0), "{result:?}");
                    let tried = another_tries(s);
                    ensure!(tried == 0, "another thread gets {tried}");
                    Ok(())
                },
            ),
            fails(Errno::EPERM, "of what nobody holds", |s| {
                mutex(s, libc::PTHREAD_MUTEX_ERRORCHECK);
            }),
        ],
        repeat: None,
    },
    Exercise {
        row: &calls::pthread_mutex_destroy::ROW,
        calls: ways!(pthread_mutex_destroy 0),
        cases: &[
            works(
                "leaves memory for another mutex",
                |s| mutex(s, libc::PTHREAD_MUTEX_NORMAL),
                |s, result| {
                    ensure!(result == Ok(0), "{result:?}");
                    mutex(s, libc::PTHREAD_MUTEX_NORMAL);
                    a_good_mutex(s, Ok(0))
                },
            ),
            fails(Errno::EBUSY, "of what somebody holds", |s| {
                locked_mutex(s, libc::PTHREAD_MUTEX_NORMAL);
            }),
        ],
        repeat: None,
    },
    Exercise {
        row: &calls::pthread_cond_init::ROW,
        calls: ways!(pthread_cond_init 0 1),
        cases: &[works(
            "makes something to wait for",
            |s| {
                s.fill(0xff);
                locked_mutex(s, libc::PTHREAD_MUTEX_NORMAL);
                s.pass([s.place(1), 0]);
            },
            |s, result| {
                ensure!(result == Ok(0), "{result:?}");
                // SAFETY: both are initialised, and the mutex is held. 1970 is over.
                let status =
                    unsafe { libc::pthread_cond_timedwait(s.at(1), s.at(0), &std::mem::zeroed()) };
                ensure!(status == libc::ETIMEDOUT, "waiting until now: {status}");
                Ok(())
            },
        )],
        repeat: None,
    },
    Exercise {
        row: &calls::pthread_cond_wait::ROW,
        calls: ways!(pthread_cond_wait 0 1),
        cases: &[works(
            "lets another thread in until it signals",
            |s| {
                locked_mutex(s, libc::PTHREAD_MUTEX_NORMAL);
                cond(s);
                s.args[1] = s.place(0);
                s.notes[0] = 0;
                let slot = (&raw mut *s) as usize;
                // SAFETY: the slot stays; this thread comes in when the other waits.
                spawn(move || unsafe {
                    let s = slot as *mut Slot;
                    libc::pthread_mutex_lock((*s).at(0));
                    (&raw mut (*s).notes[0]).write_volatile(1);
                    libc::pthread_cond_signal((*s).at(1));
                    libc::pthread_mutex_unlock((*s).at(0));
                });
            },
            |s, result| {
                ensure!(result == Ok(0), "{result:?}");
                // SAFETY: a word of the slot; it may have woken without a signal, and may wait again.
                unsafe {
                    while (&raw const s.notes[0]).read_volatile() == 0 {
                        libc::pthread_cond_wait(s.at(1), s.at(0));
                    }
                }
                let tried = another_tries(s);
                ensure!(tried == libc::EBUSY, "it does not hold the mutex: {tried}");
                Ok(())
            },
        )],
        repeat: None,
    },
    Exercise {
        row: &calls::pthread_cond_signal::ROW,
        calls: ways!(pthread_cond_signal 0),
        cases: &[works(
            "wakes a thread that waits",
            |s| {
                mutex(s, libc::PTHREAD_MUTEX_NORMAL);
                cond(s);
                s.notes[2] = Box::into_raw(Box::new(waiter(s))) as usize;
                // SAFETY: words that the threads share under the mutex.
                unsafe {
                    let mut waits = 0;
                    while waits == 0 {
                        sleep(Duration::from_millis(1));
                        libc::pthread_mutex_lock(s.at(0));
                        waits = (&raw const s.notes[0]).read_volatile();
                        (&raw mut s.notes[1]).write_volatile(waits);
                        libc::pthread_mutex_unlock(s.at(0));
                    }
                }
            },
            |s, result| {
                ensure!(result == Ok(0), "{result:?}");
                // SAFETY: `prepare` left it there, once.
                let waiter = unsafe { Box::from_raw(s.notes[2] as *mut JoinHandle<bool>) };
                ensure!(waiter.join().is_ok_and(|woken| woken), "it was not woken");
                Ok(())
            },
        )],
        repeat: repeat!(libc::pthread_cond_signal, pthread_cond_signal 0, cond),
    },
    Exercise {
        row: &calls::pthread_cond_destroy::ROW,
        calls: ways!(pthread_cond_destroy 0),
        cases: &[works("ends a condition variable", cond, |_, result| {
            ensure!(result == Ok(0), "{result:?}");
            Ok(())
        })],
        repeat: None,
    },
];
