//! Every row works wherever its contexts allow it.
//!
//! The exercises and the contexts are those of `examples/doctor`. Each call is made in a child
//! process of its own, and its parent never attaches: so a failure names the row, and says how the
//! child ended.
//!
//! That parent is this program again, for one test only, behind the words of `NOSPLIT_RUNNER` where
//! programs of the target need a runner: after a fork beside other threads, qemu-user makes no more.

#[path = "support/child.rs"]
mod child;
#[path = "../examples/doctor/contexts.rs"]
#[allow(dead_code, reason = "the doctor measures, too")]
mod contexts;
#[path = "../examples/doctor/exercises/mod.rs"]
#[allow(dead_code, reason = "likewise")]
mod exercises;
#[path = "../examples/doctor/trial.rs"]
#[allow(dead_code, reason = "likewise")]
mod trial;

use child::this_test;
use contexts::{Context, attached, cycle, on_g, run};
use exercises::{Case, Exercise, Expect};
use nosplit::os::{Interrupted, install};
use nosplit::{arch, calls, in_entries};
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use trial::{Arena, Job, PATIENCE, SMALL, in_child};

/// Every case of every row that the context allows; `trial` says why one failed.
fn every_row(
    context: Context,
    trial: impl Fn(&Arena, &'static Exercise, &'static Case) -> Option<String>,
) {
    if std::env::var_os("NOSPLIT_ALONE").is_none() {
        return alone();
    }
    let arena = Arena::new();
    let mut tried = 0;
    let mut failures = String::new();
    for (row, exercise) in exercises::rows() {
        let Some(exercise) = exercise.filter(|_| context.allowed(row)) else {
            continue;
        };
        for case in exercise.cases {
            tried += 1;
            if let Some(why) = trial(&arena, exercise, case) {
                let (name, claim, place) = (row.name, case.claim, context.text().1);
                failures += &format!("{name} {claim}, {place}: {why}\n");
            }
        }
    }
    assert!(tried > 0, "no row allows {context:?}");
    assert!(failures.is_empty(), "of {tried} calls:\n{failures}");
}

/// Runs the test of this thread in a process where no other runs.
fn alone() {
    let output = this_test()
        .env("NOSPLIT_ALONE", "")
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let passed = output.status.success() && text.contains("1 passed");
    assert!(passed, "{}:\n{text}", output.status);
}

fn every_row_works(context: Context) {
    every_row(context, |arena, exercise, case| {
        run(arena, context, exercise, case, 0).failure
    });
}

#[test]
fn every_row_has_an_exercise() {
    let missing: Vec<_> = exercises::rows()
        .filter(|(_, exercise)| exercise.is_none_or(|exercise| exercise.cases.is_empty()))
        .map(|(row, _)| row.name)
        .collect();
    assert!(missing.is_empty(), "rows without an exercise: {missing:?}");
}

#[test]
fn every_row_works_on_a_stack_of_2_kib_above_a_guard_page() {
    every_row_works(Context::User);
}

#[test]
fn every_row_works_on_the_system_stack() {
    every_row_works(Context::System);
}

#[test]
fn every_row_for_handlers_works_on_the_signal_stack() {
    every_row_works(Context::Signal);
}

#[test]
fn every_row_for_handlers_works_on_the_stack_that_was_interrupted() {
    every_row_works(Context::SignalOnG);
}

#[test]
fn every_row_for_children_works_after_fork() {
    every_row_works(Context::Fork);
}

#[test]
fn every_row_works_on_a_thread_that_never_attached() {
    every_row_works(Context::NoG);
}

// On Linux init does nothing, and this is a thread without g once more.
#[test]
fn every_row_works_before_init() {
    every_row_works(Context::Fresh);
}

#[test]
fn every_row_works_before_init_by_its_no_g() {
    every_row_works(Context::Entry);
}

#[test]
fn every_row_works_in_handlers_on_the_signal_stack_that_interrupted_that_row() {
    every_row(Context::Signal, |arena, exercise, case| {
        interrupted(arena, Context::Signal, exercise, case)
    });
}

// The handlers run below the call that they interrupted, on the system stack.
#[test]
fn every_row_works_in_handlers_without_signal_stack_that_interrupted_that_row() {
    every_row(Context::Signal, |arena, exercise, case| {
        interrupted(arena, Context::System, exercise, case)
    });
}

/// Makes the call from a G, interrupts it inside of asmcgocall, and makes it again in two handlers:
/// one that the layer does not know of, and one of the layer's, which interrupts the first.
///
/// The G's page is read-only during the call. It faults where asmcgocall, just after the switch,
/// leaves its record in the G.
fn interrupted(
    arena: &Arena,
    inner: Context,
    exercise: &'static Exercise,
    case: &'static Case,
) -> Option<String> {
    let outer = arena.job(0, Context::User, exercise, case);
    let [first, second] = [1, 2].map(|i| arena.job(i, inner, exercise, case));
    let signal_stack = (inner == Context::Signal).then(|| arena.signal_stack());
    // SAFETY: good jobs, and a child that is there for nothing else.
    unsafe {
        in_child(outer, PATIENCE, || {
            attached(signal_stack);
            nest([outer, first, second], arena.g().cast());
        });
        let jobs = [
            ("on the G", outer),
            ("in the first handler", first),
            ("in the second handler", second),
        ];
        // A row that ends the process did so in the first handler.
        let judged = match case.expect {
            Expect::Ends(_) => 1,
            _ => 3,
        };
        if !(*first).called() {
            return Some("it was not interrupted".into());
        }
        let failed = |(place, job): (_, *mut Job)| Some(format!("{place}: {}", (*job).failure()?));
        jobs.into_iter().take(judged).find_map(failed)
    }
}

/// What the handlers of `nest` find.
static JOBS: [AtomicPtr<Job>; 3] = [const { AtomicPtr::new(null_mut()) }; 3];
static PAGE: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// The call on the G, with a fault in it.
///
/// # Safety
///
/// Good jobs, and the page of their arena's G, in an attached process without other work.
unsafe fn nest(jobs: [*mut Job; 3], page: *mut c_void) {
    for (place, job) in JOBS.iter().zip(jobs) {
        place.store(job, Ordering::Release);
    }
    PAGE.store(page, Ordering::Release);
    // SAFETY: the handlers are for the signals of a read-only page, which no other code meets.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = first_handler as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESETHAND;
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            assert_eq!(libc::sigaction(signal, &action, null_mut()), 0);
        }
        install(libc::SIGUSR1, second_handler, 0).expect("install");
        (*jobs[0]).prepare();
        on_g(jobs[0], SMALL, call_with_a_read_only_g);
        (*jobs[0]).judge();
    }
}

unsafe extern "C" fn call_with_a_read_only_g(job: *mut c_void) {
    // SAFETY: the page of the current G, which is not written until the call.
    unsafe {
        let page = PAGE.load(Ordering::Acquire);
        let _ = calls::mprotect(page, 1, libc::PROT_READ);
        (*job.cast::<Job>()).call();
    }
}

unsafe extern "C" fn first_handler(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    let [outer, first, _] = [0, 1, 2].map(|i| JOBS[i].load(Ordering::Acquire));
    // SAFETY: the jobs of `nest`; its page; what the kernel gave.
    unsafe {
        libc::mprotect(
            PAGE.load(Ordering::Acquire),
            1,
            libc::PROT_READ | libc::PROT_WRITE,
        );
        let (pc, _) = arch::interrupted(context);
        if !in_entries(pc) {
            (*outer).end(Err(format!("interrupted elsewhere, at {pc:#x}")));
        }
        cycle(first);
        libc::raise(libc::SIGUSR1);
    }
}

unsafe extern "C" fn second_handler(
    _: c_int,
    _: *mut libc::siginfo_t,
    _: *mut c_void,
    _: &Interrupted,
) {
    // SAFETY: the job of `nest`.
    unsafe { cycle(JOBS[2].load(Ordering::Acquire)) };
}
