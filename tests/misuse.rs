//! A broken rule is one line that names the call and the rule, then abort; nothing written before
//! is lost.
//!
//! Each case runs in a child process: this program again, with `NOSPLIT_CASE` set, behind the words
//! of `NOSPLIT_RUNNER` where programs of the target need a runner.
//!
//! Lines without a case, for nothing in a test's power leads to them: a hardware shadow stack; the
//! masks and the signal stack of a thread that ends; a pthread key that does not work (Darwin).

#[path = "support/child.rs"]
mod child;
#[path = "support/signals.rs"]
mod signals;
mod support;

use child::this_test;
use nosplit::os::{self, SignalStack, ThreadOptions};
use nosplit::{G, M, calls, enter, getg, gogo, gosave, gostartcallfn, leave, mcall, systemstack};
use signals::{in_handler, without_signal_stack};
use std::ffi::{c_int, c_long, c_void};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Output;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use support::{Stack, attached, attached_without_signal_stack, on_g};

struct Case {
    /// What is wrong.
    what: &'static str,
    /// The line, behind `nosplit: `.
    line: &'static str,
    act: fn(),
}

macro_rules! cases {
    ($($what:literal => $line:literal: $act:expr;)+) => {
        &[$(Case {
            what: $what,
            line: $line,
            // SAFETY: it is unsafe all right. The layer sees it, and the child ends there.
            #[allow(unused_unsafe, reason = "some cases break a rule of a safe function")]
            #[allow(clippy::diverging_sub_expression, reason = "two cases call what never returns")]
            act: || unsafe { _ = $act },
        }),+]
    };
}

const BOUNDS: &[Case] = cases! {
    "a stack of no bytes" => "G::init: the stack is empty":
        G::new().init(big_stack().lo(), 0);
    "a stack whose end lies below its start" => "G::init: the stack's bounds are reversed":
        G::new().init(big_stack().lo(), usize::MAX - 15);
    "a stack that ends at an odd address" => "G::init: the stack's bounds are not 16-aligned":
        G::new().init(big_stack().lo(), 4090);
    "a stack that starts at an odd address" => "G::init: the stack's bounds are not 16-aligned":
        G::new().init(big_stack().lo().byte_add(8), 4096);
    "a stack at NULL" => "G::init: the stack is at the null address":
        G::new().init(null_mut(), 4096);
    "new bounds for a G that runs" => "G::init: the G is running":
        on_a_g(|| (*getg()).init(big_stack().lo(), 4096));
    "new bounds for a G that was entered" => "G::init: the G is running":
        entered(|g| (*g).init(big_stack().lo(), 4096));
};

const GOSTARTCALLFN: &[Case] = cases! {
    "a G without a stack" => "gostartcallfn: the G has no stack":
        gostartcallfn(&G::new(), nothing, null_mut());
    "a G that runs" => "gostartcallfn: the G is running":
        on_a_g(|| gostartcallfn(&*getg(), nothing, null_mut()));
    "a G that was entered" => "gostartcallfn: the G is running":
        entered(|g| gostartcallfn(&*g, nothing, null_mut()));
    "a G that is ready" => "gostartcallfn: the G has something to run already":
        gostartcallfn(&*ready_g(nothing), nothing, null_mut());
    "a G that has parked" => "gostartcallfn: the G has something to run already":
        attached(|_| {
            let g = ready_g(park);
            gogo(g);
            gostartcallfn(&*g, nothing, null_mut());
        });
    "a stack without room for a first frame" => "gostartcallfn: the stack is too small for a first frame": {
        let g = new_g();
        (*g).init(big_stack().lo(), nosplit::STACK_MIN - 16);
        gostartcallfn(&*g, nothing, null_mut());
    };
};

const GOGO: &[Case] = cases! {
    "a thread that is not attached" => "gogo: this thread has no M: attach it first":
        gogo(ready_g(nothing));
    "a thread that is attached no more" => "gogo: this thread has no M: attach it first": {
        attached(|_| ());
        gogo(ready_g(nothing));
    };
    "an M that was written over" => "gogo: the current G has no M":
        attached(|m| {
            (&raw const *m).cast_mut().write(M::new());
            gogo(ready_g(nothing));
        });
    "from a G" => "gogo: called with a G running: park it first, by mcall":
        on_a_g(|| gogo(ready_g(nothing)));
    "from a G, of itself" => "gogo: called with a G running: park it first, by mcall":
        on_a_g(|| gogo(getg()));
    "from a G, in systemstack" => "gogo: called with a G running: park it first, by mcall":
        on_a_g(|| systemstack(|| gogo(ready_g(nothing))));
    "from a coroutine" => "gogo: called with a G running: park it first, by mcall":
        entered(|_| gogo(ready_g(nothing)));
    "in a handler on g0" => "gogo: may not be called in a signal handler":
        handled(On::G0, || gogo(ready_g(nothing)));
    "in a handler on g0, off the signal stack" => "gogo: may not be called in a signal handler":
        handled_off(On::G0, || gogo(ready_g(nothing)));
    "in a handler on a G" => "gogo: called with a G running: park it first, by mcall":
        handled(On::G, || gogo(ready_g(nothing)));
    "a G that another thread runs" => "gogo: the G is entered already":
        attached(|_| {
            static RUNNING: AtomicBool = AtomicBool::new(false);
            static IT: AtomicPtr<G> = AtomicPtr::new(null_mut());
            unsafe extern "C" fn stay(_: *mut c_void) {
                RUNNING.store(true, Ordering::Release);
                loop {
                    std::thread::yield_now();
                }
            }
            IT.store(ready_g(stay), Ordering::Release);
            std::thread::spawn(|| attached(|_| gogo(IT.load(Ordering::Acquire))));
            while !RUNNING.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            gogo(IT.load(Ordering::Acquire));
        });
    "a G without a stack" => "gogo: the G has no stack":
        attached(|_| gogo(new_g()));
    "a G with nothing to run" => "gogo: the G has nothing to run: gostartcallfn first":
        attached(|_| gogo(idle_g()));
    "a G that has ended" => "gogo: the G has ended":
        attached(|_| {
            let g = ready_g(nothing);
            gogo(g);
            gogo(g);
        });
};

const MCALL: &[Case] = cases! {
    "a thread that is not attached" => "mcall: this thread has no g: attach it first":
        mcall(keep, null_mut());
    "on g0" => "mcall: called on a system stack":
        attached(|_| mcall(keep, null_mut()));
    "in systemstack" => "mcall: called off the stack of the G":
        on_a_g(|| systemstack(|| mcall(keep, null_mut())));
    "in mcall's own function" => "mcall: called on a system stack":
        on_a_g(|| {
            unsafe extern "C" fn again(_: *mut G, _: *mut c_void) {
                // SAFETY: none of it happens.
                unsafe { mcall(keep, null_mut()) }
            }
            mcall(again, null_mut());
        });
    "from a coroutine" => "mcall: the G was entered by enter: its own library parks it":
        entered(|_| mcall(keep, null_mut()));
    "in a handler on g0" => "mcall: called on a system stack":
        handled(On::G0, || mcall(keep, null_mut()));
    "in a handler on a G" => "mcall: called off the stack of the G":
        handled(On::G, || mcall(keep, null_mut()));
    "in a handler on a G, off the signal stack" => "mcall: may not be called in a signal handler":
        handled_off(On::G, || mcall(keep, null_mut()));
    "on a stack of 2 KiB" => "mcall: called off the stack of the G":
        attached(|_| on_g(&Stack::new(2048), || systemstack(|| mcall(keep, null_mut()))));
    "gosave without g" => "gosave: this thread has no g: attach it first":
        gosave(keep, null_mut());
    "gosave on g0" => "gosave: called on a system stack":
        attached(|_| gosave(keep, null_mut()));
    "gosave in systemstack" => "gosave: called off the stack of the G":
        on_a_g(|| systemstack(|| gosave(keep, null_mut())));
    "gosave from a coroutine" => "gosave: the G was entered by enter: its own library parks it":
        entered(|_| gosave(keep, null_mut()));
    "gosave in a handler" => "gosave: may not be called in a signal handler":
        handled_off(On::G, || gosave(keep, null_mut()));
};

const ENTER: &[Case] = cases! {
    "a thread that is not attached" => "enter: this thread has no M: attach it first":
        enter(idle_g());
    "a G twice" => "enter: the G is entered already":
        entered(|g| enter(g));
    "a G that runs" => "enter: the G is entered already":
        on_a_g(|| enter(getg()));
    "a G without a stack" => "enter: the G has no stack":
        attached(|_| enter(new_g()));
    "a G that is ready for gogo" => "enter: the G is gogo's: it has something to run":
        attached(|_| enter(ready_g(nothing)));
    "a G that has parked" => "enter: the G is gogo's: it has something to run":
        attached(|_| {
            let g = ready_g(park);
            gogo(g);
            enter(g);
        });
    "in a handler on g0" => "enter: may not be called in a signal handler":
        handled(On::G0, || enter(idle_g()));
    "in a handler on a G" => "enter: may not be called in a signal handler":
        handled(On::G, || enter(idle_g()));
    "leave of a G that is not the last" => "leave: the G is not the current one":
        entered(|outer| {
            enter(idle_g());
            leave(outer);
        });
    "leave of a G that was not entered" => "leave: the G is not the current one":
        attached(|_| leave(idle_g()));
    "leave of a G that gogo entered" => "leave: the G was not entered by enter":
        on_a_g(|| leave(getg()));
    "leave of g0" => "leave: the G was not entered by enter":
        attached(|m| leave(m.g0()));
    "leave on a thread that is not attached" => "leave: this thread has no M: attach it first":
        leave(null_mut());
    "leave in a handler" => "leave: may not be called in a signal handler":
        handled(On::Coroutine, || leave(getg()));
};

const THREADS: &[Case] = cases! {
    "a second attach" => "attach: this thread is attached already":
        attached(|_| os::attach(new_m(), None));
    "an attach from a G" => "attach: this thread is attached already":
        on_a_g(|| os::attach(new_m(), None));
    "no M" => "attach: the M is NULL":
        os::attach(null_mut(), None);
    "one M on two threads" => "attach: the M has a thread already":
        attached(|m| {
            let m = &raw const *m as usize;
            let other = std::thread::spawn(move || os::attach(m as *mut M, None).is_ok());
            let _ = other.join();
        });
    "detach without attach" => "detach: this thread is not attached":
        os::detach();
    "a second detach" => "detach: this thread is not attached": {
        attached(|_| ());
        os::detach()
    };
    "detach from a G" => "detach: called with a G running":
        on_a_g(os::detach);
    "detach from a G, in systemstack" => "detach: called with a G running":
        on_a_g(|| systemstack(os::detach));
    "detach from a coroutine" => "detach: called with a G running":
        entered(|_| os::detach());
    "detach in a handler on g0" => "detach: may not be called in a signal handler":
        handled(On::G0, os::detach);
    "detach in a handler on a G" => "detach: called with a G running":
        handled(On::G, os::detach);
    "a thread without an M" => "newosproc: the M is NULL":
        os::newosproc(null_mut(), return_at_once, ThreadOptions::default());
    "a thread with another's M" => "newosproc: the M has a thread already":
        attached(|m| {
            let m = (&raw const *m).cast_mut();
            os::newosproc(m, return_at_once, ThreadOptions::default())
        });
    "a thread whose signal stack is too small" => "newosproc: the new thread cannot be set up (ENOMEM)": {
        let signal_stack = Some(SignalStack { lo: big_stack().lo(), size: 512 });
        let options = ThreadOptions { signal_stack, ..Default::default() };
        run_thread(return_at_once, options);
    };
    "a thread that ends in a coroutine" => "newosproc: the thread's function returned with a G running": {
        unsafe extern "C" fn forget(_: *mut M) {
            // SAFETY: no resume follows: the layer sees it.
            unsafe { enter(idle_g()) }
        }
        run_thread(forget, ThreadOptions::default());
    };
    "a thread that a handler makes" => "pthread_attr_init: may not be called in a signal handler":
        handled(On::G0, || os::newosproc(new_m(), return_at_once, ThreadOptions::default()));
};

const ROWS: &[Case] = cases! {
    "malloc in a handler on g0" => "malloc: may not be called in a signal handler":
        handled(On::G0, || calls::malloc(16));
    "malloc in a handler on a G" => "malloc: may not be called in a signal handler":
        handled(On::G, || calls::malloc(16));
    "malloc in a handler, in systemstack" => "malloc: may not be called in a signal handler":
        handled(On::SystemStack, || calls::malloc(16));
    "malloc in a handler on a coroutine" => "malloc: may not be called in a signal handler":
        handled(On::Coroutine, || calls::malloc(16));
    "malloc off the signal stack, on g0" => "malloc: may not be called in a signal handler":
        handled_off(On::G0, || calls::malloc(16));
    "malloc off the signal stack, on a G" => "malloc: may not be called in a signal handler":
        handled_off(On::G, || calls::malloc(16));
    "malloc off the signal stack, in systemstack" => "malloc: may not be called in a signal handler":
        handled_off(On::SystemStack, || calls::malloc(16));
    "malloc off the signal stack, on a coroutine" => "malloc: may not be called in a signal handler":
        handled_off(On::Coroutine, || calls::malloc(16));
    "malloc in systemstack in a handler" => "malloc: may not be called in a signal handler":
        handled_off(On::G, || systemstack(|| calls::malloc(16)));
    "malloc in a nested handler" => "malloc: may not be called in a signal handler":
        handled(On::G, || in_handler(libc::SIGUSR2, |_| calls::malloc(16)));
    "malloc behind a nested handler" => "malloc: may not be called in a signal handler":
        handled(On::G, || {
            in_handler(libc::SIGUSR2, |_| ());
            calls::malloc(16)
        });
    "a lock in a handler on g0" => "pthread_mutex_lock: may not be called in a signal handler":
        handled(On::G0, || calls::pthread_mutex_lock(null_mut()));
    "a lock in a handler on a G" => "pthread_mutex_lock: may not be called in a signal handler":
        handled(On::G, || calls::pthread_mutex_lock(null_mut()));
    "a lock off the signal stack, on a G" => "pthread_mutex_lock: may not be called in a signal handler":
        handled_off(On::G, || calls::pthread_mutex_lock(null_mut()));
    "a row that returns nothing" => "free: may not be called in a signal handler":
        handled(On::G, || calls::free(null_mut()));
    "a row that does not return" => "exit: may not be called in a signal handler":
        handled(On::G, || calls::exit(0));
    "a row that cannot fail" => "never: may not be called in a signal handler":
        handled(On::G, never);
    "a row that fails with -1 in 32 bits" => "minus_one: may not be called in a signal handler":
        handled(On::G, minus_one);
    "a row that fails with -1 in a word" => "minus_one_word: may not be called in a signal handler":
        handled(On::G, minus_one_word);
    "a row that fails with -1 in 64 bits" => "minus_one_64: may not be called in a signal handler":
        handled(On::G, minus_one_64);
    "a row that fails with NULL" => "null_: may not be called in a signal handler":
        handled(On::G, null_);
    "a row that fails with MAP_FAILED" => "map_failed: may not be called in a signal handler":
        handled(On::G, map_failed);
    "a row that fails with -1 if errno says so" => "perhaps: may not be called in a signal handler":
        handled(On::G, perhaps);
    "a row that fails with a long -1 if errno says so" => "perhaps_long: may not be called in a signal handler":
        handled(On::G, perhaps_long);
    "a row that fails with NULL if errno says so" => "perhaps_null: may not be called in a signal handler":
        handled(On::G, perhaps_null);
    "a row that never returns, and does" => "returns_after_all: returned, and never may":
        returns_after_all();
    "the same, from a G" => "returns_after_all: returned, and never may":
        on_a_g(|| returns_after_all());
};

/// Rows that handlers may not call, one for each convention; none of them is called.
mod rows {
    use super::{c_int, c_long, c_void};

    pub extern "C" fn int() -> c_int {
        0
    }
    pub extern "C" fn long() -> c_long {
        0
    }
    pub extern "C" fn word() -> isize {
        0
    }
    pub extern "C" fn wide() -> i64 {
        0
    }
    pub extern "C" fn pointer() -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe extern "C" {
        /// It returns all right.
        #[link_name = "getpid"]
        pub safe fn liar() -> !;
    }
}

nosplit::calls! {
    fn never() -> c_int = rows::int [never fails; in user system no_g];
    fn minus_one() -> c_int = rows::int [fails with -1; in user system no_g];
    fn minus_one_word() -> isize = rows::word [fails with -1; in user system no_g];
    fn minus_one_64() -> i64 = rows::wide [fails with -1; in user system no_g];
    fn null_() -> *mut c_void = rows::pointer [fails with NULL; in user system no_g];
    fn map_failed() -> *mut c_void = rows::pointer [fails with MAP_FAILED; in user system no_g];
    fn perhaps() -> c_int = rows::int [fails with -1 if errno; in user system no_g];
    fn perhaps_long() -> c_long = rows::long [fails with -1 if errno; in user system no_g];
    fn perhaps_null() -> *mut c_void = rows::pointer [fails with NULL if errno; in user system no_g];
    fn returns_after_all() -> ! = rows::liar [never returns; in user system no_g];
}

const ALL: &[&[Case]] = &[BOUNDS, GOSTARTCALLFN, GOGO, MCALL, ENTER, THREADS, ROWS];

/// What the child writes first, to its standard output and to a file.
const BEFORE: &str = "written before\n";

#[test]
fn a_broken_rule_is_one_line_that_names_call_and_rule_then_abort() {
    let cases = || ALL.iter().copied().flatten();
    if let Ok(case) = std::env::var("NOSPLIT_CASE") {
        let case = cases()
            .nth(case.parse().expect("a number"))
            .expect("a case");
        return die(case);
    }

    let mut wrong = String::new();
    for (index, case) in cases().enumerate() {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("misuse-{}-{index}", std::process::id()));
        let output = this_test()
            .env("NOSPLIT_CASE", index.to_string())
            .env("NOSPLIT_FILE", &file)
            .output()
            .expect("this program starts again");
        let written = std::fs::read_to_string(&file).expect("the child's file");
        std::fs::remove_file(&file).expect("the child's file");
        let right = stderr(&output) == format!("nosplit: {}\n", case.line)
            && output.status.signal() == Some(libc::SIGABRT)
            && output.stdout.ends_with(BEFORE.as_bytes())
            && written == BEFORE;
        if !right {
            wrong += &format!(
                "{}: not `{}` and SIGABRT: {output:?}, and the file holds {written:?}\n",
                case.what, case.line
            );
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// The child: writes, then breaks the rule.
fn die(case: &Case) {
    let file = std::env::var("NOSPLIT_FILE").expect("a file");
    std::fs::write(file, BEFORE).expect("the file can be written");
    let limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the buffer is as long as it says; no core file, which would take its time.
    unsafe {
        libc::write(1, BEFORE.as_ptr().cast(), BEFORE.len());
        libc::setrlimit(libc::RLIMIT_CORE, &limit);
    }
    (case.act)();
    eprintln!("nothing happened");
}

/// What the child said, without what qemu has to say about its death.
fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr)
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("qemu: "))
        .collect()
}

/// Without g there is nothing to tell a handler by. It is allowed, as it is in C: at one's own risk.
#[test]
fn on_a_thread_without_g_a_handler_is_not_told_from_other_code() {
    assert!(getg().is_null());
    let malloced = in_handler(libc::SIGUSR1, |_| calls::malloc(16)).expect("memory");
    // SAFETY: it came from malloc.
    unsafe { calls::free(malloced) };
}

/// Nor does a handler leave anything behind by which other code could be taken for one.
#[test]
fn after_a_handler_everything_may_be_called_again() {
    let call = || {
        let malloced = calls::malloc(16).expect("memory");
        // SAFETY: it came from malloc.
        unsafe { calls::free(malloced) };
    };
    let twice_nested = || {
        in_handler(libc::SIGUSR1, |_| in_handler(libc::SIGUSR2, |_| ()));
    };
    attached(|_| {
        twice_nested();
        call();
        on_g(&Stack::new(256 << 10), || {
            twice_nested();
            call();
            // SAFETY: keep lets the G be entered again.
            unsafe { gosave(keep, null_mut()) };
            systemstack(twice_nested);
            call();
        });
        call();
    });
}

// What the cases are made of. Memory is never given back: the process ends soon.

fn big_stack() -> &'static Stack {
    Box::leak(Box::new(Stack::new(256 << 10)))
}

fn new_g() -> *mut G {
    Box::leak(Box::new(G::new()))
}

/// A G with a stack.
fn idle_g() -> *mut G {
    let g = new_g();
    let stack = big_stack();
    // SAFETY: the stack is the G's alone.
    unsafe { (*g).init(stack.lo(), stack.size()) };
    g
}

/// A G with something to run.
fn ready_g(entry: unsafe extern "C" fn(*mut c_void)) -> *mut G {
    let g = idle_g();
    // SAFETY: each entry takes NULL.
    unsafe { gostartcallfn(&*g, entry, null_mut()) };
    g
}

fn new_m() -> *mut M {
    Box::leak(Box::new(M::new()))
}

unsafe extern "C" fn nothing(_: *mut c_void) {}

unsafe extern "C" fn park(_: *mut c_void) {
    // SAFETY: keep does nothing; nobody enters the G again.
    unsafe { mcall(keep, null_mut()) }
}

unsafe extern "C" fn keep(_: *mut G, _: *mut c_void) {}

unsafe extern "C" fn return_at_once(_: *mut M) {}

fn run_thread(start: unsafe extern "C" fn(*mut M), options: ThreadOptions) {
    // SAFETY: the M is never freed.
    unsafe {
        let thread = os::newosproc(new_m(), start, options).expect("a thread");
        calls::pthread_join(thread, null_mut()).expect("it is joinable");
    }
}

/// On a G of this thread, attached.
fn on_a_g<R>(f: impl FnOnce() -> R) {
    attached(|_| on_g(big_stack(), f));
}

/// Between enter and leave: where a coroutine library would resume.
fn entered<R>(f: impl FnOnce(*mut G) -> R) {
    attached(|_| {
        let g = idle_g();
        // SAFETY: SP stays where it was, which the layer allows for: a resume might fail.
        unsafe { enter(g) };
        f(g);
    });
}

/// What a handler interrupts.
enum On {
    G0,
    G,
    SystemStack,
    Coroutine,
}

fn interrupt<R>(on: On, f: impl FnOnce() -> R) {
    let handler = || in_handler(libc::SIGUSR1, |_| f());
    match on {
        On::G0 => handler(),
        On::G => on_g(big_stack(), handler),
        On::SystemStack => on_g(big_stack(), || systemstack(handler)),
        On::Coroutine => {
            // SAFETY: as in `entered`.
            unsafe { enter(idle_g()) };
            handler()
        }
    };
}

/// In a handler on the signal stack.
fn handled<R>(on: On, f: impl FnOnce() -> R) {
    attached(|_| interrupt(on, f));
}

/// In a handler on whichever stack it interrupts.
fn handled_off<R>(on: On, f: impl FnOnce() -> R) {
    without_signal_stack(|| attached_without_signal_stack(|_| interrupt(on, f)));
}
