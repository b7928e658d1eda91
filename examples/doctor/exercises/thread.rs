//! Threads, their attributes and their values. Attributes lie in place 0.

use super::exercise::{fails, works};
use super::{Exercise, Slot};
use nosplit::{Errno, calls};
use std::ffi::{c_int, c_void};
use std::ptr::null;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What no key is.
const NO_KEY: usize = 100_000;

unsafe extern "C" {
    /// pthread.h; the libc crate has it for Darwin only.
    fn pthread_attr_getdetachstate(attr: *const libc::pthread_attr_t, state: *mut c_int) -> c_int;
}

extern "C" fn successor(n: *mut c_void) -> *mut c_void {
    n.wrapping_byte_add(1)
}

static DESTROYED: AtomicUsize = AtomicUsize::new(0);

/// Start functions and destructors are arguments of their own types.
const SUCCESSOR: extern "C" fn(*mut c_void) -> *mut c_void = successor;
const DESTROY: Option<unsafe extern "C" fn(*mut c_void)> = Some(destroy);

unsafe extern "C" fn destroy(value: *mut c_void) {
    DESTROYED.store(value as usize, Ordering::Release);
}

fn this_thread() -> usize {
    // SAFETY: asks only.
    unsafe { libc::pthread_self() as usize }
}

/// A thread that ends with 42.
fn thread() -> usize {
    // SAFETY: `successor` is callable with anything.
    unsafe {
        let mut thread = std::mem::zeroed();
        assert_eq!(
            libc::pthread_create(&mut thread, null(), successor, 41 as *mut _),
            0
        );
        thread as usize
    }
}

/// Makes attributes without the layer, and passes them.
fn attributes(s: &mut Slot) {
    // SAFETY: place 0 has room.
    assert_eq!(unsafe { libc::pthread_attr_init(s.at(0)) }, 0);
    s.pass([s.place(0)]);
}

fn stack_size(s: &mut Slot) -> usize {
    let mut size = 0;
    // SAFETY: initialised.
    assert_eq!(
        unsafe { libc::pthread_attr_getstacksize(s.at(0), &mut size) },
        0
    );
    size
}

fn detached(s: &mut Slot) -> bool {
    let mut state = -1;
    // SAFETY: initialised.
    assert_eq!(
        unsafe { pthread_attr_getdetachstate(s.at(0), &mut state) },
        0
    );
    state == libc::PTHREAD_CREATE_DETACHED
}

/// A key without destructor.
fn key() -> usize {
    let mut key = 0;
    // SAFETY: there is room for it.
    assert_eq!(unsafe { libc::pthread_key_create(&mut key, None) }, 0);
    key as usize
}

fn set(key: usize, value: usize) -> c_int {
    // SAFETY: nobody follows the value.
    unsafe { libc::pthread_setspecific(key as _, value as *const _) }
}

fn get(key: usize) -> usize {
    // SAFETY: asks only.
    unsafe { libc::pthread_getspecific(key as _) as usize }
}

pub static EXERCISES: &[Exercise] = &[
    Exercise {
        row: &calls::pthread_create::ROW,
        calls: ways!(pthread_create 0 1 SUCCESSOR 3),
        cases: &[works(
            "runs its function in another thread",
            |s| s.pass([s.place(0), 0, 0, 41]),
            |s, result| {
                ensure!(result == Ok(0), "{result:?}");
                let mut ended = std::ptr::null_mut();
                // SAFETY: the call stored a thread.
                let joined = unsafe { libc::pthread_join(*s.at(0), &mut ended) };
                ensure!(joined == 0, "it cannot be joined: {joined}");
                ensure!(ended as usize == 42, "it ended with {ended:?}");
                Ok(())
            },
        )],
        repeat: None,
    },
    Exercise {
        row: &calls::pthread_join::ROW,
        calls: ways!(pthread_join 0 1),
        cases: &[
            works(
                "waits for the result of a thread",
                |s| s.pass([thread(), s.place(0)]),
                |s, result| {
                    ensure!(result == Ok(0), "{result:?}");
                    // SAFETY: stored by the call.
                    let ended = unsafe { *s.at::<usize>(0) };
                    ensure!(ended == 42, "it ended with {ended}");
                    Ok(())
                },
            ),
            fails(Errno::EDEADLK, "of itself", |s| s.pass([this_thread(), 0])),
        ],
        repeat: None,
    },
    Exercise {
        row: &calls::pthread_self::ROW,
        calls: ways!(pthread_self),
        cases: &[works(
            "is this thread",
            |_| {},
            |_, thread| {
                let own = this_thread();
                ensure!(thread == Ok(own), "{thread:x?} instead of {own:x}");
                Ok(())
            },
        )],
        repeat: repeat!(libc::pthread_self, pthread_self, |_| {}),
    },
    Exercise {
        row: &calls::pthread_attr_init::ROW,
        calls: ways!(pthread_attr_init 0),
        cases: &[works(
            "makes the defaults",
            |s| {
                s.fill(0xff);
                s.pass([s.place(0)]);
            },
            |s, result| {
                ensure!(result == Ok(0), "{result:?}");
                ensure!(!detached(s), "detached");
                let size = stack_size(s);
                ensure!(
                    (16 << 10..1 << 30).contains(&size),
                    "a stack of {size} bytes"
                );
                Ok(())
            },
        )],
        repeat: None,
    },
    Exercise {
        row: &calls::pthread_attr_destroy::ROW,
        calls: ways!(pthread_attr_destroy 0),
        cases: &[works("ends attributes", attributes, |_, result| {
            ensure!(result == Ok(0), "{result:?}");
            Ok(())
        })],
        repeat: None,
    },
    Exercise {
        row: &calls::pthread_attr_setstacksize::ROW,
        calls: ways!(pthread_attr_setstacksize 0 1),
        cases: &[
            works(
                "sets the size",
                |s| {
                    attributes(s);
                    s.args[1] = 1 << 20;
                },
                |s, result| {
                    ensure!(result == Ok(0), "{result:?}");
                    let size = stack_size(s);
                    ensure!(size == 1 << 20, "{size} bytes instead of 1 MiB");
                    Ok(())
                },
            ),
            fails(Errno::EINVAL, "to less than the least", |s| {
                attributes(s);
                s.args[1] = 1;
            }),
        ],
        repeat: repeat!(libc::pthread_attr_setstacksize, pthread_attr_setstacksize 0 1, |s| {
            attributes(s);
            s.args[1] = 1 << 20;
        }),
    },
    Exercise {
        row: &calls::pthread_attr_getstacksize::ROW,
        calls: ways!(pthread_attr_getstacksize 0 1),
        cases: &[works(
            "tells the size",
            |s| {
                attributes(s);
                // SAFETY: initialised.
                unsafe { libc::pthread_attr_setstacksize(s.at(0), 1 << 20) };
                s.args[1] = s.place(1);
            },
            |s, result| {
                ensure!(result == Ok(0), "{result:?}");
                // SAFETY: stored by the call.
                let size = unsafe { *s.at::<usize>(1) };
                ensure!(size == 1 << 20, "{size} bytes instead of 1 MiB");
                Ok(())
            },
        )],
        repeat: repeat!(libc::pthread_attr_getstacksize, pthread_attr_getstacksize 0 1, |s| {
            attributes(s);
            s.args[1] = s.place(1);
        }),
    },
    Exercise {
        row: &calls::pthread_attr_setdetachstate::ROW,
        calls: ways!(pthread_attr_setdetachstate 0 1),
        cases: &[
            works(
                "detaches",
                |s| {
                    attributes(s);
                    s.args[1] = libc::PTHREAD_CREATE_DETACHED as usize;
                },
                |s, result| {
                    ensure!(result == Ok(0), "{result:?}");
                    ensure!(detached(s), "still joinable");
                    Ok(())
                },
            ),
            fails(Errno::EINVAL, "to no state", |s| {
                attributes(s);
                s.args[1] = 99;
            }),
        ],
        repeat: repeat!(libc::pthread_attr_setdetachstate, pthread_attr_setdetachstate 0 1, |s| {
            attributes(s);
            s.args[1] = libc::PTHREAD_CREATE_JOINABLE as usize;
        }),
    },
    Exercise {
        row: &calls::pthread_key_create::ROW,
        calls: ways!(pthread_key_create 0 DESTROY),
        cases: &[works(
            "makes a key whose destructor runs",
            |s| s.pass([s.place(0)]),
            |s, result| {
                ensure!(result == Ok(0), "{result:?}");
                // SAFETY: stored by the call.
                let key = unsafe { *s.at::<libc::pthread_key_t>(0) } as usize;
                ensure!(get(key) == 0, "it has a value from the start");
                let other = std::thread::spawn(move || (set(key, 42), get(key))).join();
                ensure!(matches!(other, Ok((0, 42))), "set, get: {other:?}");
                let destroyed = DESTROYED.load(Ordering::Acquire);
                ensure!(destroyed == 42, "the destructor got {destroyed}");
                Ok(())
            },
        )],
        repeat: None,
    },
    Exercise {
        row: &calls::pthread_key_delete::ROW,
        calls: ways!(pthread_key_delete 0),
        cases: &[
            works(
                "takes the key away",
                |s| s.pass([key()]),
                |s, result| {
                    ensure!(result == Ok(0), "{result:?}");
                    let status = set(s.args[0], 1);
                    ensure!(status == libc::EINVAL, "it can be set: {status}");
                    Ok(())
                },
            ),
            fails(Errno::EINVAL, "of no key", |s| s.pass([NO_KEY])),
        ],
        repeat: None,
    },
    Exercise {
        row: &calls::pthread_setspecific::ROW,
        calls: ways!(pthread_setspecific 0 1),
        cases: &[
            works(
                "sets this thread's value",
                |s| s.pass([key(), 42]),
                |s, result| {
                    ensure!(result == Ok(0), "{result:?}");
                    let value = get(s.args[0]);
                    ensure!(value == 42, "{value} instead of 42");
                    Ok(())
                },
            ),
            fails(Errno::EINVAL, "of no key", |s| s.pass([NO_KEY, 42])),
        ],
        repeat: repeat!(libc::pthread_setspecific, pthread_setspecific 0 1, |s| s.pass([key(), 42])),
    },
];
