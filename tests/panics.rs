//! A panic is caught on the stack of its G, or ends the process: it never passes a switch.
//!
//! CI runs this at opt-levels 0 and 3, which lay out landing pads differently.

#[path = "support/child.rs"]
mod child;
#[path = "support/signals.rs"]
mod signals;
mod support;

use nosplit::os::{ThreadOptions, newosproc};
use nosplit::{G, M, calls, gosave, mcall, systemstack};
use signals::{in_handler, with_signal_stack};
use std::env;
use std::ffi::{c_int, c_void};
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use support::{Stack, attached, on_g};

nosplit::calls! {
    unsafe fn sort(
        base: *mut c_void, count: usize, size: usize,
        compare: Option<unsafe extern "C" fn(*const c_void, *const c_void) -> c_int>,
    )
        = libc::qsort [never fails; in user system no_g];
}

fn panics() {
    panic!("out of cheese");
}

unsafe extern "C" fn panics_with_g(_: *mut G, _: *mut c_void) {
    panics();
}

unsafe extern "C" fn panics_in_libc(_: *const c_void, _: *const c_void) -> c_int {
    panics();
    0
}

unsafe extern "C" fn panics_on_a_thread(_: *mut M) {
    panics();
}

fn sorts() {
    // SAFETY: two bytes; what compares them does not look at them.
    unsafe { sort([2u8, 1].as_mut_ptr().cast(), 2, 1, Some(panics_in_libc)) }
}

fn starts_a_thread() {
    let m = M::new();
    // SAFETY: the M lives until the thread has been joined, if ever it is.
    unsafe {
        let m = (&raw const m).cast_mut();
        let thread = newosproc(m, panics_on_a_thread, ThreadOptions::default()).expect("newosproc");
        calls::pthread_join(thread, null_mut()).expect("pthread_join");
    }
}

/// Runs `f` on a G, as if the panic could be caught there or on the stack below.
fn with_g(f: fn()) {
    attached(|_| {
        let stack = Stack::new(64 << 10);
        _ = catch_unwind(|| on_g(&stack, || _ = catch_unwind(f)));
    });
}

/// What panics, and where nothing can be done about it.
const HOPELESS: &[(&str, fn())] = &[
    ("systemstack without g", || systemstack(panics)),
    ("systemstack on g0", || attached(|_| systemstack(panics))),
    ("systemstack on a G", || with_g(|| systemstack(panics))),
    ("the entry function of a G", || {
        attached(|_| on_g(&Stack::new(64 << 10), panics));
    }),
    // SAFETY: on a G.
    ("mcall's function", || {
        with_g(|| unsafe { mcall(panics_with_g, null_mut()) })
    }),
    // SAFETY: on a G.
    ("gosave's function", || {
        with_g(|| unsafe { gosave(panics_with_g, null_mut()) })
    }),
    ("a handler over a G", || {
        with_g(|| in_handler(libc::SIGUSR1, |_| panics()))
    }),
    ("a handler without g", || {
        with_signal_stack(|| in_handler(libc::SIGUSR1, |_| panics()));
    }),
    ("a function that libc calls back, for a G", || with_g(sorts)),
    ("a function that libc calls back, without g", sorts),
    ("the first function of a thread", starts_a_thread),
];

#[test]
fn a_panic_at_a_switch_prints_its_message_and_aborts() {
    const CASE: &str = "NOSPLIT_CASE";
    if let Ok(case) = env::var(CASE) {
        let (_, act) = HOPELESS[case.parse::<usize>().expect("a number")];
        _ = catch_unwind(act);
        return;
    }
    for (case, (place, _)) in HOPELESS.iter().enumerate() {
        // Rust's own account of the stack, too: it unwinds, on the stack that is there.
        for backtrace in ["0", "full"] {
            let output = child::this_test()
                .env(CASE, case.to_string())
                .env("RUST_BACKTRACE", backtrace)
                .output()
                .expect("this program");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("out of cheese"), "{place}: {said}");
            assert_eq!(
                output.status.signal(),
                Some(libc::SIGABRT),
                "{place}: {said}"
            );
        }
    }
}

#[test]
fn a_panic_is_caught_on_the_stack_of_its_g() {
    struct Counts<'a>(&'a mut u32);
    impl Drop for Counts<'_> {
        fn drop(&mut self) {
            *self.0 += calls::getpid().cast_unsigned();
        }
    }

    attached(|_| {
        on_g(&Stack::new(64 << 10), || {
            let mut dropped = 0;
            let payload = catch_unwind(AssertUnwindSafe(|| {
                let _counts = Counts(&mut dropped);
                systemstack(|| ());
                panics();
            }))
            .expect_err("it panics");
            assert_eq!(payload.downcast_ref(), Some(&"out of cheese"));
            assert_eq!(dropped, std::process::id());
            // And life goes on.
            assert_eq!(calls::raise(-1), Err(nosplit::Errno::EINVAL));
        });
    });
}
