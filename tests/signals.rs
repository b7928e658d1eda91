//! Signals: where handlers run, what they are told, what they may call, and that the interrupted
//! code notices nothing.

#[path = "support/signals.rs"]
mod signals;
mod support;

use nosplit::os::{self, Interrupted, SignalStack, Stack as Where, install};
use nosplit::{Contexts, Errno, G, M, calls, enter, getg, leave, systemstack};
use signals::{in_handler, signal_stack, with_mask, with_signal_stack, without_signal_stack};
use std::collections::BTreeSet;
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::mem::{MaybeUninit, zeroed};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use support::{Stack, attached, attached_without_signal_stack, on_g};

/// An address in the frame of whoever asks.
#[inline(never)]
extern "C" fn here() -> usize {
    let local = 0u8;
    black_box(&raw const local) as usize
}

nosplit::calls! {
    /// Where the frame of a C function lies that is called by the layer.
    fn callee() -> usize = here [never fails; in user system signal no_g];
}

/// What a handler found.
struct Found {
    interrupted: Interrupted,
    stack: Where,
    /// Where the handler runs, and what it calls.
    own: usize,
    callee: usize,
    g: *mut G,
}

/// Interrupts this very place.
fn interrupt() -> Found {
    in_handler(libc::SIGUSR1, look)
}

fn look(interrupted: &Interrupted) -> Found {
    Found {
        interrupted: *interrupted,
        stack: interrupted.stack(),
        own: here(),
        callee: callee(),
        g: getg(),
    }
}

#[test]
fn a_handler_runs_on_the_signal_stack_and_knows_what_it_interrupted() {
    attached(|m| {
        // SAFETY: both are this thread's.
        let (g0, gsignal) = unsafe { (&*m.g0(), &*m.gsignal()) };
        let stack = Stack::new(64 << 10);

        let found = interrupt();
        assert!(gsignal.contains(found.own) && gsignal.contains(found.callee));
        assert_eq!(found.stack, Where::System);
        assert!(g0.contains(found.interrupted.sp));
        assert_eq!((found.interrupted.g, found.g), (m.g0(), m.g0()));
        assert_ne!(found.interrupted.pc, 0);

        let (found, g) = on_g(&stack, || (interrupt(), getg()));
        assert!(gsignal.contains(found.own) && gsignal.contains(found.callee));
        assert_eq!(found.stack, Where::User);
        assert!(stack.contains(found.interrupted.sp));
        assert_eq!((found.interrupted.g, found.g), (g, g));

        let found = on_g(&stack, || systemstack(interrupt));
        assert!(gsignal.contains(found.own) && gsignal.contains(found.callee));
        assert_eq!(found.stack, Where::System);
        assert!(g0.contains(found.interrupted.sp));
        assert_eq!(found.interrupted.g, g);
    });
}

#[test]
fn a_handler_that_lets_another_signal_through_is_interrupted_itself() {
    attached(|m| {
        // SAFETY: it is this thread's.
        let gsignal = unsafe { &*m.gsignal() };
        let stack = Stack::new(64 << 10);
        on_g(&stack, || {
            let g = getg();
            let (outer, inner, again) = in_handler(libc::SIGUSR2, |interrupted| {
                (look(interrupted), interrupt(), callee())
            });
            assert_eq!((outer.stack, inner.stack), (Where::User, Where::Signal));
            assert_eq!((outer.interrupted.g, inner.interrupted.g), (g, g));
            assert!(gsignal.contains(inner.interrupted.sp));
            assert!(inner.own < outer.own && gsignal.contains(inner.own));
            assert!(gsignal.contains(again), "nothing is left of it");
        });
        assert_eq!(on_g(&stack, interrupt).stack, Where::User);
    });
}

#[test]
fn without_a_signal_stack_a_handler_calls_on_the_system_stack() {
    without_signal_stack(|| {
        attached_without_signal_stack(|m| {
            // SAFETY: it is this thread's.
            let g0 = unsafe { &*m.g0() };
            let stack = Stack::new(64 << 10);

            let found = interrupt();
            assert_eq!(found.stack, Where::System);
            assert!(g0.contains(found.own) && g0.contains(found.callee));

            let found = on_g(&stack, interrupt);
            assert_eq!(found.stack, Where::User);
            assert!(stack.contains(found.own) && g0.contains(found.callee));

            let found = on_g(&stack, || systemstack(interrupt));
            assert_eq!(found.stack, Where::System);
            assert!(g0.contains(found.own) && g0.contains(found.callee));

            // Nested, on the G's own stack still.
            let found = on_g(&stack, || in_handler(libc::SIGUSR2, |_| interrupt()));
            assert_eq!(found.stack, Where::User);
            assert!(stack.contains(found.own) && g0.contains(found.callee));
        });
    });
}

#[test]
fn a_stack_that_the_layer_does_not_know_is_foreign() {
    let found = interrupt();
    assert_eq!(found.stack, Where::Foreign);
    assert!(found.interrupted.g.is_null() && found.g.is_null());

    // Between enter and the switch itself SP is where it was: on the system stack, or on the parent's.
    attached(|m| {
        let (stack, child_stack) = (Stack::new(64 << 10), Stack::new(4096));
        let entered = || {
            let child = G::new();
            let child = (&raw const child).cast_mut();
            // SAFETY: the stack is the child's, which never runs.
            unsafe {
                (*child).init(child_stack.lo(), child_stack.size());
                enter(child);
                let found = interrupt();
                leave(child);
                assert_eq!(found.interrupted.g, child);
                found
            }
        };
        // SAFETY: they are this thread's.
        let (g0, gsignal) = unsafe { (&*m.g0(), &*m.gsignal()) };
        for (found, stack) in [
            (entered(), Where::System),
            (on_g(&stack, entered), Where::User),
        ] {
            assert_eq!(found.stack, stack);
            assert!(gsignal.contains(found.own) && gsignal.contains(found.callee));
        }
        assert!(!g0.contains(child_stack.lo() as usize));
    });

    // A thread attached without a signal stack of the layer's, whose own one the layer does not know.
    with_signal_stack(|| {
        attached_without_signal_stack(|_| {
            let outer = in_handler(libc::SIGUSR2, |_| interrupt());
            assert_eq!(outer.stack, Where::Foreign);
        });
    });
}

/// Every row that says `signal`, once, harmlessly. A new one belongs here.
#[test]
fn a_handler_may_call_every_row_that_allows_it() {
    fn call_all() {
        /// Would be the end of the test; tests/misuse.rs sees abort at work.
        const NEVER_RETURN: [&str; 2] = ["_exit", "abort"];

        let mut called = BTreeSet::from(NEVER_RETURN);
        macro_rules! call {
            ($($row:ident($($arg:expr),*);)+) => {
                [$({
                    assert!(calls::$row::ROW.contexts.contains(Contexts::SIGNAL));
                    called.insert(stringify!($row));
                    // SAFETY: memory is mapped and there is room.
                    #[allow(unused_unsafe, reason = "some rows are safe")]
                    unsafe { calls::$row($($arg),*).expect(stringify!($row)) as usize }
                }),+]
            };
        }
        const PAGE: usize = 64 << 10;
        // SAFETY: zeros are values of these.
        let (mut time, mut action, mut mask, mut stack): (libc::timespec, libc::sigaction, _, _) =
            unsafe { (zeroed(), zeroed(), zeroed::<libc::sigset_t>(), zeroed()) };
        let [null_device] = call! { open(c"/dev/null".as_ptr(), libc::O_RDWR, 0); };
        let null_device = null_device as c_int;
        call! {
            read(null_device, (&raw mut time).cast(), 1);
            write(null_device, c"x".as_ptr().cast(), 1);
            close(null_device);
        };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
        let [map] = call! { mmap(null_mut(), PAGE, protection, flags, -1, 0); };
        let map = map as *mut c_void;
        call! {
            mprotect(map, PAGE, libc::PROT_READ);
            madvise(map, PAGE, libc::MADV_NORMAL);
            munmap(map, PAGE);
            sigaction(libc::SIGUSR1, null(), &mut action);
            sigaltstack(null(), &mut stack);
            kill(calls::getpid(), 0);
            usleep(1);
            clock_gettime(libc::CLOCK_MONOTONIC, &mut time);
        };
        // It may be out of what the user may lock; that it was called is what counts.
        let _ = calls::mlock((&raw const time).cast(), 1);
        // SAFETY: there is room for the mask; the thread is this one.
        unsafe {
            calls::pthread_sigmask(libc::SIG_BLOCK, null(), &mut mask).expect("pthread_sigmask");
            calls::pthread_kill(calls::pthread_self(), 0).expect("pthread_kill");
        }
        // Ignored by default.
        calls::raise(libc::SIGWINCH).expect("raise");
        called.extend([
            "mlock",
            "pthread_sigmask",
            "pthread_kill",
            "raise",
            "getpid",
            "pthread_self",
        ]);

        let allowed: BTreeSet<_> = calls::TABLE
            .iter()
            .copied()
            .flatten()
            .filter(|row| row.contexts.contains(Contexts::SIGNAL))
            .map(|row| row.name)
            .collect();
        let missing: Vec<_> = allowed.difference(&called).collect();
        assert!(missing.is_empty(), "call these here too: {missing:?}");
    }

    let stack = Stack::new(256 << 10);
    let handlers = || {
        let handler = || in_handler(libc::SIGUSR1, |_| call_all());
        handler();
        on_g(&stack, handler);
        on_g(&stack, || systemstack(handler));
        in_handler(libc::SIGUSR2, |_| handler());
    };
    attached(|_| handlers());
    without_signal_stack(|| attached_without_signal_stack(|_| handlers()));
}

#[test]
fn what_cannot_be_handled_is_refused_and_changes_nothing() {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C" fn first(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void, _: &Interrupted) {
        RAN.fetch_add(1, SeqCst);
    }
    unsafe extern "C" fn second(
        _: c_int,
        _: *mut libc::siginfo_t,
        _: *mut c_void,
        _: &Interrupted,
    ) {
        RAN.fetch_add(100, SeqCst);
    }

    // SAFETY: the handlers count.
    unsafe {
        install(libc::SIGHUP, first, 0).expect("install");
        for (signal, flags) in [
            (libc::SIGHUP, libc::SA_NODEFER),
            (libc::SIGHUP, libc::SA_NODEFER | libc::SA_RESTART),
            (libc::SIGKILL, 0),
            (libc::SIGSTOP, 0),
            (0, 0),
            (-1, 0),
            (libc::SIGHUP - 0x100, 0),
            (65, 0),
            (1000, 0),
            (c_int::MAX, 0),
            (c_int::MIN, 0),
        ] {
            let refused = install(signal, second, flags).map(|_| ());
            assert_eq!(
                refused,
                Err(Errno::EINVAL),
                "signal {signal}, flags {flags:#x}"
            );
        }
        with_mask(libc::SIG_UNBLOCK, libc::SIGHUP, || {
            calls::raise(libc::SIGHUP)
        })
        .expect("raise");
        assert_eq!(RAN.load(SeqCst), 1);

        // What is there can be replaced, and put back.
        let before = install(libc::SIGHUP, second, libc::SA_RESTART).expect("install");
        calls::raise(libc::SIGHUP).expect("raise");
        assert_eq!(RAN.load(SeqCst), 101);
        assert_ne!(before.sa_flags & libc::SA_ONSTACK, 0);
        assert_ne!(before.sa_flags & libc::SA_SIGINFO, 0);
        install(libc::SIGHUP, first, 0).expect("install");
        calls::raise(libc::SIGHUP).expect("raise");
        assert_eq!(RAN.load(SeqCst), 102);
        let mut ignore: libc::sigaction = zeroed();
        ignore.sa_sigaction = libc::SIG_IGN;
        calls::sigaction(libc::SIGHUP, &ignore, null_mut()).expect("sigaction");
        calls::raise(libc::SIGHUP).expect("raise");
        assert_eq!(RAN.load(SeqCst), 102);
    }
}

#[test]
fn detach_puts_back_the_signal_stack_that_was_there() {
    let known = |stack: libc::stack_t| (stack.ss_sp as usize, stack.ss_size, stack.ss_flags);
    let around = || {
        let before = known(signal_stack());
        attached(|m| {
            let now = known(signal_stack());
            // SAFETY: it is this thread's.
            let (lo, hi) = unsafe { (*m.gsignal()).stack() };
            assert_eq!(now, (lo, hi - lo, 0));
        });
        assert_eq!(known(signal_stack()), before);
        // Nor is it touched where none of the layer's is asked for.
        attached_without_signal_stack(|_| assert_eq!(known(signal_stack()), before));
        assert_eq!(known(signal_stack()), before);
    };
    with_signal_stack(around);
    without_signal_stack(|| {
        attached(|_| ());
        assert_ne!(signal_stack().ss_flags & libc::SS_DISABLE, 0);
    });
    // Handlers run on it again.
    with_signal_stack(|| {
        attached(|_| ());
        let own = signal_stack();
        let found = interrupt();
        let lo = own.ss_sp as usize;
        assert!((lo..lo + own.ss_size).contains(&found.own));
    });
}

#[test]
fn an_attach_that_fails_leaves_the_thread_as_it_was() {
    let m = M::new();
    let m = &raw const m;
    let (good, small) = (Stack::new(64 << 10), Stack::new(512));
    let attach = |stack: &Stack| {
        let signal_stack = SignalStack {
            lo: stack.lo(),
            size: stack.size(),
        };
        // SAFETY: the M and its stack outlive the detach.
        unsafe { os::attach(m.cast_mut(), Some(signal_stack)) }
    };
    // SAFETY: shared with nobody.
    let m = unsafe { &*m };
    with_signal_stack(|| {
        let before = signal_stack();
        let unchanged = || {
            assert!(getg().is_null() && !m.is_attached());
            assert_eq!(signal_stack().ss_sp, before.ss_sp);
        };

        assert_eq!(attach(&small), Err(Errno::ENOMEM));
        unchanged();
        // A thread cannot change the signal stack that it stands on.
        let refused = in_handler(libc::SIGUSR1, |_| attach(&good));
        assert_eq!(refused, Err(Errno::EPERM));
        unchanged();
        // Nothing of it is left in the M.
        assert_eq!(attach(&good), Ok(()));
        assert_eq!(interrupt().stack, Where::System);
        assert_eq!(os::detach(), Ok(()));
        unchanged();
    });
}

/// Values that a compiler would like to keep in registers.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Values {
    integers: [u64; 8],
    floats: [f64; 8],
}

impl Values {
    fn start() -> Values {
        Values {
            integers: [1, 2, 3, 4, 5, 6, 7, 8],
            floats: [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5],
        }
    }

    /// Mixes them all, a thousand times.
    #[inline(never)]
    fn mix(self) -> Values {
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = self.integers;
        let [mut i, mut j, mut k, mut l, m, n, o, p] = self.floats;
        for _ in 0..1000 {
            (a, b) = (a.wrapping_mul(6364136223846793005).wrapping_add(b), a ^ c);
            (c, d) = (c.rotate_left(7).wrapping_add(e), c ^ f);
            (e, f) = (e.wrapping_mul(0x9e3779b97f4a7c15), e.wrapping_add(g));
            (g, h) = (g.rotate_right(11) ^ h, a.wrapping_add(d));
            (i, j) = (i * 0.75 + m, j * 0.5 + n);
            (k, l) = (k * 0.25 + o, l * 0.125 + p);
        }
        Values {
            integers: [a, b, c, d, e, f, g, h],
            floats: [i, j, k, l, m, n, o, p],
        }
    }
}

/// Another thread interrupts this one as fast as it can, in calls and between them.
#[test]
fn ten_thousand_signals_change_neither_registers_nor_errno() {
    const SIGNALS: usize = 10_000;
    static HANDLED: AtomicUsize = AtomicUsize::new(0);
    static FAILED: AtomicBool = AtomicBool::new(false);
    unsafe extern "C" fn handler(
        _: c_int,
        _: *mut libc::siginfo_t,
        _: *mut c_void,
        _: &Interrupted,
    ) {
        // It uses registers of its own, makes a call, and one that fails.
        let mut time = MaybeUninit::uninit();
        // SAFETY: there is room for the time.
        let called = unsafe { calls::clock_gettime(libc::CLOCK_MONOTONIC, time.as_mut_ptr()) };
        // SAFETY: it fails.
        let failed = unsafe { calls::close(-1) };
        let mixed = black_box(Values::start()).mix();
        if called.is_err() || failed != Err(Errno::EBADF) || mixed != expected() {
            FAILED.store(true, SeqCst);
        }
        HANDLED.fetch_add(1, SeqCst);
    }
    fn expected() -> Values {
        static EXPECTED: std::sync::OnceLock<Values> = std::sync::OnceLock::new();
        *EXPECTED.get_or_init(|| black_box(Values::start()).mix())
    }

    let expected_values = expected();
    // SAFETY: the handler calls what a handler may.
    unsafe { install(libc::SIGURG, handler, libc::SA_RESTART) }.expect("install");
    let victim = calls::pthread_self();
    static DONE: AtomicBool = AtomicBool::new(false);
    let storm = std::thread::spawn(move || {
        for sent in 1..=SIGNALS {
            // SAFETY: the victim lives, and waits for us.
            unsafe { calls::pthread_kill(victim, libc::SIGURG) }.expect("pthread_kill");
            // One at a time, if the victim is quick: signals of one number do not queue.
            let mut patience = 1_000;
            while HANDLED.load(SeqCst) < sent && patience > 0 {
                std::hint::spin_loop();
                patience -= 1;
            }
        }
        DONE.store(true, SeqCst);
    });

    /// Computes, fails and parks until it is over.
    fn work(expected: Values) -> usize {
        let mut wrong = 0;
        for _ in 0..20 {
            wrong += usize::from(black_box(Values::start()).mix() != expected);
            // SAFETY: it fails.
            let failed = unsafe { calls::open(c"/nowhere/at/all".as_ptr(), libc::O_RDONLY, 0) };
            wrong += usize::from(failed != Err(Errno::ENOENT));
            wrong += usize::from(calls::getpid() as u32 != std::process::id());
            wrong += usize::from(systemstack(|| black_box(7)) != 7);
        }
        wrong
    }
    let wrong = attached(|_| {
        let stack = Stack::new(64 << 10);
        let mut wrong = 0;
        while !DONE.load(SeqCst) {
            wrong += work(expected_values);
            wrong += on_g(&stack, || work(expected_values));
        }
        wrong
    });
    storm.join().expect("the storm ends");
    println!("{HANDLED:?} of {SIGNALS} signals handled: the others found one pending");
    assert_ne!(HANDLED.load(SeqCst), 0);
    assert!(!FAILED.load(SeqCst), "in a handler");
    assert_eq!(wrong, 0);
}

/// The kernel puts the interrupted registers back by itself. But Darwin's libc calls the entry like
/// any C function, and keeps values of its own across the call.
#[test]
fn the_signal_entry_is_a_c_function_that_keeps_what_its_caller_holds() {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C" fn handler(
        _: c_int,
        _: *mut libc::siginfo_t,
        _: *mut c_void,
        _: &Interrupted,
    ) {
        black_box(black_box(Values::start()).mix());
        RAN.fetch_add(1, SeqCst);
    }

    /// Holds more across the call than there are registers to hold it in.
    #[inline(never)]
    fn hold(v: [usize; 8], entry: impl Fn()) -> [usize; 8] {
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = v;
        for _ in 0..10 {
            entry();
            (a, b, c, d) = (a + 1, b + 2, c + 3, d + 4);
            entry();
            (e, f, g, h) = (e + a, f + b, g + c, h + d);
        }
        [a, b, c, d, e, f, g, h]
    }

    /// Calls the entry, with what the kernel gave this handler.
    unsafe extern "C" fn call_the_entry(
        _: c_int,
        info: *mut libc::siginfo_t,
        context: *mut c_void,
        _: &Interrupted,
    ) {
        type Entry = unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
        // SAFETY: install made it the action of the signal.
        let entry: Entry = unsafe {
            let mut action: libc::sigaction = zeroed();
            calls::sigaction(libc::SIGIO, null(), &mut action).expect("sigaction");
            std::mem::transmute(action.sa_sigaction)
        };
        let start = black_box([1, 2, 3, 4, 5, 6, 7, 8]);
        // SAFETY: it is in the hands of a handler.
        let held = hold(start, || unsafe { entry(libc::SIGIO, info, context) });
        SAME.store(held == hold(start, || ()), SeqCst);
    }
    static SAME: AtomicBool = AtomicBool::new(false);

    // SAFETY: one handler computes, the other calls it.
    unsafe {
        install(libc::SIGIO, handler, 0).expect("install");
        install(libc::SIGVTALRM, call_the_entry, 0).expect("install");
    }
    let raise = || {
        calls::raise(libc::SIGVTALRM).expect("raise");
        assert!(SAME.swap(false, SeqCst));
    };
    with_signal_stack(raise);
    attached(|_| {
        raise();
        on_g(&Stack::new(64 << 10), raise);
    });
    assert_eq!(RAN.load(SeqCst), 3 * 20);
}
