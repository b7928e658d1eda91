//! What the tests with signals share: a closure run in a handler of the layer, wherever one is.
#![allow(dead_code, reason = "each test takes what it needs")]

use nosplit::os::{Interrupted, install};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::null_mut;

use crate::support::Stack;

/// What the handler runs: a function and its first argument.
type Run = (fn(*mut c_void, &Interrupted), *mut c_void);

thread_local! {
    static JOB: Cell<Run> = const { Cell::new((|_, _| {}, null_mut())) };
}

/// Runs `f` in a handler of the layer for `signal`, which interrupts this very place, on its stack.
///
/// `signal` is unblocked for that, so that handlers can be nested: each with a signal of its own.
/// A panic in `f` aborts. The handler stays installed: other threads may be using it.
pub fn in_handler<R>(signal: c_int, f: impl FnOnce(&Interrupted) -> R) -> R {
    struct Job<F, R> {
        f: Option<F>,
        result: Option<R>,
    }

    fn run<F: FnOnce(&Interrupted) -> R, R>(job: *mut c_void, interrupted: &Interrupted) {
        // SAFETY: in_handler passes its own Job.
        let job = unsafe { &mut *job.cast::<Job<F, R>>() };
        job.result = job.f.take().map(|f| f(interrupted));
    }

    fn run_of<F: FnOnce(&Interrupted) -> R, R>(_: &Job<F, R>) -> fn(*mut c_void, &Interrupted) {
        run::<F, R>
    }

    unsafe extern "C" fn handler(
        _: c_int,
        _: *mut libc::siginfo_t,
        _: *mut c_void,
        interrupted: &Interrupted,
    ) {
        let (run, job) = JOB.get();
        run(job, interrupted);
    }

    let mut job = Job {
        f: Some(f),
        result: None,
    };
    let outer = JOB.replace((run_of(&job), (&raw mut job).cast()));
    // SAFETY: what `f` does in a handler is the test's business.
    unsafe { install(signal, handler, 0) }.expect("install");
    with_mask(libc::SIG_UNBLOCK, signal, || {
        // Directly, so that the interrupted code is on this stack.
        // SAFETY: asks for a signal.
        assert_eq!(unsafe { libc::raise(signal) }, 0);
    });
    JOB.set(outer);
    job.result.expect("the handler ran")
}

/// Runs `f` with `signal` blocked or unblocked, and puts the mask back.
pub fn with_mask<R>(how: c_int, signal: c_int, f: impl FnOnce() -> R) -> R {
    let mut set = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: both are initialised before they are read.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        assert_eq!(
            libc::pthread_sigmask(how, set.as_ptr(), before.as_mut_ptr()),
            0
        );
        let result = f();
        assert_eq!(
            libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), null_mut()),
            0
        );
        result
    }
}

/// Runs `f` on this thread while it has no signal stack at all, and puts the one that it had back.
/// Rust's threads have one from the start.
pub fn without_signal_stack<R>(f: impl FnOnce() -> R) -> R {
    swap_signal_stack(NONE, f)
}

/// Runs `f` on this thread while it has a signal stack of 64 KiB, known to nobody, and puts the one
/// that it had back. That of Rust's threads is too small for handlers that nest.
pub fn with_signal_stack<R>(f: impl FnOnce() -> R) -> R {
    let stack = Stack::new(64 << 10);
    let new = libc::stack_t {
        ss_sp: stack.lo(),
        ss_flags: 0,
        ss_size: stack.size(),
    };
    swap_signal_stack(new, f)
}

const NONE: libc::stack_t = libc::stack_t {
    ss_sp: null_mut(),
    ss_flags: libc::SS_DISABLE,
    // Darwin wants a size even to disable one.
    ss_size: libc::SIGSTKSZ,
};

fn swap_signal_stack<R>(new: libc::stack_t, f: impl FnOnce() -> R) -> R {
    let mut before = signal_stack();
    if before.ss_flags & libc::SS_DISABLE != 0 {
        before = NONE;
    }
    // SAFETY: `new` outlives `f`, and the old stack is as good as it was.
    unsafe {
        assert_eq!(libc::sigaltstack(&new, null_mut()), 0);
        let result = f();
        assert_eq!(libc::sigaltstack(&before, null_mut()), 0);
        result
    }
}

/// The signal stack of this thread.
pub fn signal_stack() -> libc::stack_t {
    let mut now = MaybeUninit::uninit();
    // SAFETY: there is room for it.
    unsafe {
        assert_eq!(libc::sigaltstack(std::ptr::null(), now.as_mut_ptr()), 0);
        now.assume_init()
    }
}
