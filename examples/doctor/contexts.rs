//! The contexts of a call, and how to get into each.
//!
//! The parent never attaches: so each child process is one where the layer has not been used.

use crate::exercises::{Case, Exercise};
use crate::trial::{Arena, BIG, Job, PATIENCE, SMALL, in_child};
use nosplit::os::{Interrupted, SignalStack, attach, install};
use nosplit::{Contexts, G, M, Row, arch, getg, gogo, gostartcallfn, systemstack};
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};

/// Where a call may be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Context {
    User,
    System,
    Signal,
    SignalOnG,
    Fork,
    NoG,
    Fresh,
    Entry,
}

impl Context {
    pub const ALL: [Context; 8] = [
        Context::User,
        Context::System,
        Context::Signal,
        Context::SignalOnG,
        Context::Fork,
        Context::NoG,
        Context::Fresh,
        Context::Entry,
    ];

    /// A short name, and what it stands for.
    pub fn text(self) -> (&'static str, &'static str) {
        match self {
            Context::User => ("user", "on the stack of a G: 2 KiB, a guard page below"),
            Context::System => ("g0", "on the system stack of an attached thread"),
            Context::Signal => ("gsignal", "in a handler, on the signal stack"),
            Context::SignalOnG => (
                "handler",
                "in a handler, on the stack of the G that it interrupted",
            ),
            Context::Fork => ("fork", "on the stack of a G, in the child of a fork"),
            Context::NoG => (
                "no g",
                "on a thread that never attached, beside one that has",
            ),
            Context::Fresh => ("fresh", "in a process where the layer was not used before"),
            Context::Entry => ("no_g()", "there, by the row's no_g, which never reads TLS"),
        }
    }

    /// Does the row allow it?
    pub fn allowed(self, row: &Row) -> bool {
        row.contexts.contains(match self {
            Context::User => Contexts::USER,
            Context::System => Contexts::SYSTEM,
            Context::Signal | Context::SignalOnG => Contexts::SIGNAL,
            Context::Fork => Contexts::FORK.or(Contexts::USER),
            Context::NoG | Context::Fresh | Context::Entry => Contexts::NO_G,
        })
    }

    /// Bytes of the stack of the G in it, if there is one.
    pub fn stack_size(self) -> usize {
        match self {
            Context::User | Context::Fork => SMALL,
            _ => BIG,
        }
    }
}

/// What one trial showed.
pub struct Trial {
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// Bytes from SP at the call down to the lowest one written, where the stack was small.
    pub stack: Option<usize>,
}

/// Tries a case of an exercise in a context; its small stacks are painted with that byte before.
pub fn run(
    arena: &Arena,
    context: Context,
    exercise: &'static Exercise,
    case: &'static Case,
    paint: u8,
) -> Trial {
    let job = arena.job(0, context, exercise, case);
    // SAFETY: a good job, of this arena.
    unsafe {
        in_child(job, PATIENCE, || enter(context, job, paint));
        Trial {
            failure: (*job).failure(),
            stack: (*job).stack(),
        }
    }
}

/// Gets into the context, in a process that is there for nothing else.
///
/// # Safety
///
/// The job must be good.
unsafe fn enter(context: Context, job: *mut Job, paint: u8) {
    // SAFETY: the caller's word.
    unsafe {
        let arena = &*(*job).arena;
        match context {
            Context::User => {
                attached(Some(arena.signal_stack()));
                on_painted_g(job, paint);
            }
            Context::System => {
                attached(Some(arena.signal_stack()));
                cycle(job);
            }
            Context::Signal => {
                attached(Some(arena.signal_stack()));
                in_handler(job);
            }
            Context::SignalOnG => {
                attached(None);
                in_handler(job);
            }
            Context::Fork => {
                attached(Some(arena.signal_stack()));
                // Less, so that nobody is left behind.
                in_child(job, PATIENCE / 2, || on_painted_g(job, paint));
            }
            Context::NoG => {
                attached(Some(arena.signal_stack()));
                let address = job as usize;
                let thread = std::thread::spawn(move || {
                    assert!(getg().is_null());
                    cycle(address as *mut Job);
                });
                thread.join().expect("the thread");
            }
            Context::Fresh | Context::Entry => {
                assert!(getg().is_null());
                cycle(job);
            }
        }
    }
}

/// Attaches this thread for good, with that signal stack or with none at all: not std's either.
pub fn attached(signal_stack: Option<SignalStack>) {
    let m = Box::leak(Box::new(M::new()));
    let none = libc::stack_t {
        ss_sp: null_mut(),
        ss_flags: libc::SS_DISABLE,
        // Darwin wants a size even to disable one.
        ss_size: libc::SIGSTKSZ,
    };
    // SAFETY: the M stays; the signal stack is the arena's.
    unsafe {
        assert_eq!(libc::sigaltstack(&none, null_mut()), 0);
        attach(m, signal_stack).expect("attach");
    }
}

/// Runs `entry(job)` on the arena's G, with a stack of that size; returns when it has ended.
///
/// # Safety
///
/// This thread must be attached, the job be good, and `entry` be for it.
pub unsafe fn on_g(job: *mut Job, size: usize, entry: unsafe extern "C" fn(*mut c_void)) {
    // SAFETY: the caller's word; the arena outlives this.
    unsafe {
        let arena = &*(*job).arena;
        arena.g().write(G::new());
        (*arena.g()).init(arena.lo(), size);
        gostartcallfn(&*arena.g(), entry, job.cast());
        gogo(arena.g());
    }
}

/// The whole exercise: where it is, but for `prepare` and the check, which need a big stack.
///
/// # Safety
///
/// The job must be good, and the stack have room for a wrapper.
pub unsafe fn cycle(job: *mut Job) {
    // SAFETY: the caller's word.
    unsafe {
        systemstack(|| (*job).prepare());
        (*job).call();
        systemstack(|| (*job).judge());
    }
}

/// On a small stack, nothing but the call. What it wrote is found before anything else is called.
///
/// # Safety
///
/// This thread must be attached, and the job be good.
unsafe fn on_painted_g(job: *mut Job, paint: u8) {
    unsafe extern "C" fn entry(job: *mut c_void) {
        let job: *mut Job = job.cast();
        // The image that gogo started from is no paint: get below it.
        let mut image = MaybeUninit::<[u64; 64]>::uninit();
        black_box(&mut image);
        // SAFETY: on_painted_g's job. The second call writes a frame of asmcgocall's, and so did the
        // first, from deeper down.
        unsafe {
            (*job).call();
            arch::asmcgocall(job.cast(), look, null());
        }
    }

    unsafe extern "C" fn look(job: *mut c_void) {
        // SAFETY: as above.
        unsafe { (*job.cast::<Job>()).look() };
    }

    // SAFETY: the caller's word.
    unsafe {
        (*job).prepare();
        (*(*job).arena).lo().cast::<u8>().write_bytes(paint, SMALL);
        (*job).paint = paint;
        on_g(job, SMALL, entry);
        (*job).judge();
    }
}

/// In a handler that interrupts a G, on whichever stack the kernel chooses.
///
/// # Safety
///
/// This thread must be attached, and the job be good.
unsafe fn in_handler(job: *mut Job) {
    static JOB: AtomicPtr<Job> = AtomicPtr::new(null_mut());

    unsafe extern "C" fn handler(
        _: c_int,
        _: *mut libc::siginfo_t,
        _: *mut c_void,
        _: &Interrupted,
    ) {
        // SAFETY: in_handler's job.
        unsafe { cycle(JOB.load(Ordering::Acquire)) };
    }

    unsafe extern "C" fn entry(_: *mut c_void) {
        // SAFETY: on this stack there is room for it.
        unsafe { libc::raise(libc::SIGUSR1) };
    }

    JOB.store(job, Ordering::Release);
    // SAFETY: the signal is raised where nothing is held that the exercise could want.
    unsafe {
        install(libc::SIGUSR1, handler, 0).expect("install");
        on_g(job, BIG, entry);
    }
}
