//! Threads of the layer: what they are born with, what they leave behind, and what runs on them.

#[path = "support/signals.rs"]
mod signals;
mod support;

use nosplit::os::{SignalStack, ThreadOptions, attach, detach, install, newosproc, newosproc0};
use nosplit::{Errno, G, M, Status, calls, getg, gogo, gostartcallfn, mcall, systemstack};
use signals::{signal_stack, with_mask};
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::time::Instant;
use support::{Stack, attached, on_g, page};

/// A thread and what it has to do: the layer's record comes first.
#[repr(C)]
struct Thread<F, R> {
    m: M,
    signal: Stack,
    f: Option<F>,
    result: Option<R>,
    handle: Option<libc::pthread_t>,
}

impl<F: FnOnce(&M) -> R + Send, R: Send> Thread<F, R> {
    fn new(f: F) -> Box<Thread<F, R>> {
        Box::new(Thread {
            m: M::new(),
            signal: Stack::new(64 << 10),
            f: Some(f),
            result: None,
            handle: None,
        })
    }

    /// Starts it, with a signal stack.
    fn start(self: &mut Box<Self>, options: ThreadOptions) -> Result<(), Errno> {
        unsafe extern "C" fn run<F: FnOnce(&M) -> R, R>(m: *mut M) {
            let thread = m.cast::<Thread<F, R>>();
            // SAFETY: `start` passes the M of a Thread, and reads only the M until it has ended.
            unsafe {
                if let Some(f) = (*thread).f.take() {
                    (*thread).result = Some(f(&(*thread).m));
                }
            }
        }
        let signal_stack = Some(SignalStack {
            lo: self.signal.lo(),
            size: self.signal.size(),
        });
        let options = ThreadOptions {
            signal_stack,
            ..options
        };
        // SAFETY: the box stays where it is until `join`.
        let handle = unsafe { newosproc((&raw mut **self).cast(), run::<F, R>, options) }?;
        self.handle = Some(handle);
        Ok(())
    }

    #[expect(clippy::boxed_local, reason = "an M does not move")]
    fn join(mut self: Box<Self>) -> R {
        let handle = self.handle.take().expect("it was started");
        // SAFETY: joined once.
        unsafe { calls::pthread_join(handle, null_mut()) }.expect("join");
        assert!(
            !self.m.is_attached(),
            "an M is free when its thread has ended"
        );
        self.result.take().expect("the thread has run")
    }
}

/// Runs `f` on a new thread, and returns its result.
fn on_new_thread<R: Send>(options: ThreadOptions, f: impl FnOnce(&M) -> R + Send) -> R {
    let mut thread = Thread::new(f);
    thread.start(options).expect("newosproc");
    thread.join()
}

/// The signals that this thread blocks, 1 to 32, as bits: both systems start a set with these.
fn mask() -> u32 {
    let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: there is room for it; a set is at least as long as its first word.
    unsafe {
        let result = libc::pthread_sigmask(libc::SIG_BLOCK, null(), mask.as_mut_ptr());
        assert_eq!(result, 0);
        *mask.as_ptr().cast::<u32>()
    }
}

const fn bit(signal: c_int) -> u32 {
    1 << (signal - 1)
}

/// Every signal that can be blocked, up to 31: libc keeps the next for itself.
const FULL_MASK: u32 = (u32::MAX >> 1) & !bit(libc::SIGKILL) & !bit(libc::SIGSTOP);

/// An address in the frame of whoever asks.
#[inline(never)]
fn here() -> usize {
    let local = 0u8;
    black_box(&raw const local) as usize
}

/// Uses the stack of this thread down to that address.
#[inline(never)]
fn dig(lowest: usize) {
    let mut hole = [0u8; 1024];
    if black_box(&mut hole).as_ptr() as usize > lowest {
        dig(lowest);
    }
    black_box(&mut hole);
}

#[test]
fn a_thread_has_g_and_m_and_signal_stack_before_its_function_runs() {
    on_new_thread(ThreadOptions::default(), |m| {
        assert_eq!(getg(), m.g0());
        assert!(m.is_attached());
        assert_eq!(m.thread(), calls::pthread_self());
        // SAFETY: both are this thread's.
        let (g0, gsignal) = unsafe { (&*m.g0(), &*m.gsignal()) };
        assert!(g0.contains(here()));
        let now = signal_stack();
        assert_eq!(now.ss_flags, 0);
        assert_eq!(
            gsignal.stack(),
            (now.ss_sp as usize, now.ss_sp as usize + now.ss_size)
        );
        assert_eq!(on_g(&Stack::new(16 << 10), || 6 * 7), 42);
    });
}

#[test]
fn a_thread_can_be_made_from_every_stack() {
    fn make() -> usize {
        on_new_thread(ThreadOptions::default(), |m| {
            on_g(&Stack::new(16 << 10), || (&raw const *m) as usize)
        })
    }
    assert_ne!(make(), 0);
    attached(|m| {
        let own = &raw const *m as usize;
        let stack = Stack::new(64 << 10);
        assert_ne!(make(), own);
        assert_ne!(on_g(&stack, make), own);
        assert_ne!(on_g(&stack, || systemstack(make)), own);
    });
}

/// A G may be small. This is what a G of our own needs; in a debug build most of it is Rust's.
#[test]
fn a_g_of_4_kib_can_make_a_thread() {
    unsafe extern "C" fn note(m: *mut M) {
        // SAFETY: m is the first field of the pair below.
        unsafe { (*m.cast::<(M, AtomicBool)>()).1.store(true, SeqCst) }
    }
    unsafe extern "C" fn make(thread: *mut c_void) {
        // SAFETY: the test's M, and joined once.
        unsafe {
            let handle = newosproc(thread.cast(), note, ThreadOptions::default());
            let handle = handle.expect("newosproc");
            calls::pthread_join(handle, null_mut()).expect("join");
        }
    }
    const PAINT: u8 = 0xa5;
    attached(|_| {
        let stack = Stack::new(4096);
        let thread = Box::new((M::new(), AtomicBool::new(false)));
        let g = G::new();
        // SAFETY: the stack is the G's alone, painted before it runs and looked at when it has ended.
        let used = unsafe {
            stack.lo().cast::<u8>().write_bytes(PAINT, stack.size());
            g.init(stack.lo(), stack.size());
            gostartcallfn(&g, make, (&raw const *thread).cast_mut().cast());
            gogo((&raw const g).cast_mut());
            let bytes = std::slice::from_raw_parts(stack.lo().cast::<u8>(), stack.size());
            bytes.iter().skip_while(|&&byte| byte == PAINT).count()
        };
        assert!(thread.1.load(SeqCst));
        println!("newosproc from a G, and pthread_join: {used} bytes of its stack");
    });
}

#[test]
fn a_thread_takes_its_creators_mask_and_the_creator_keeps_it() {
    let before = mask();
    with_mask(libc::SIG_BLOCK, libc::SIGUSR2, || {
        let own = mask();
        assert_eq!(own, before | bit(libc::SIGUSR2));
        assert_eq!(on_new_thread(ThreadOptions::default(), |_| mask()), own);
        assert_eq!(mask(), own);
    });
    assert_eq!(on_new_thread(ThreadOptions::default(), |_| mask()), before);
    assert_eq!(mask(), before);
}

#[test]
fn a_stack_is_as_big_as_asked_for_and_never_smaller_than_the_default() {
    let mut default = 0;
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: initialised, asked and destroyed.
    unsafe {
        calls::pthread_attr_init(attributes.as_mut_ptr()).expect("attributes");
        calls::pthread_attr_getstacksize(attributes.as_ptr(), &mut default).expect("a size");
        calls::pthread_attr_destroy(attributes.as_mut_ptr()).expect("attributes");
    }
    // The guard may lie inside of the size.
    let slack = 2 * page();
    let bigger = default.next_multiple_of(page()) + (8 << 20);
    for (asked, least) in [
        (0, default),
        (16 << 10, default),
        (default, default),
        (bigger, bigger),
    ] {
        let options = ThreadOptions {
            stack_size: asked,
            ..ThreadOptions::default()
        };
        let size = on_new_thread(options, |m| {
            // SAFETY: g0 is this thread's.
            let (lo, hi) = unsafe { (*m.g0()).stack() };
            assert!((lo..hi).contains(&here()));
            dig(lo + (64 << 10));
            hi - lo
        });
        assert!(
            size + slack >= least,
            "{asked} bytes asked for, {size} given"
        );
    }
}

#[test]
fn a_thread_that_has_ended_leaves_neither_g_nor_signal_stack() {
    // pthread runs the destructors of a thread's values when its function has returned.
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C" fn look(_: *mut c_void) {
        let clean = getg().is_null()
            && signal_stack().ss_flags & libc::SS_DISABLE != 0
            // No handler may run here any more.
            && mask() & FULL_MASK == FULL_MASK;
        ENDED.fetch_add(if clean { 1 } else { 1000 }, SeqCst);
    }
    let mut key = 0;
    // SAFETY: a key, and a value that nothing follows.
    unsafe { calls::pthread_key_create(&mut key, Some(look)) }.expect("a key");
    for threads in 1..=10 {
        // SAFETY: as above.
        on_new_thread(ThreadOptions::default(), |_| unsafe {
            calls::pthread_setspecific(key, (&raw const ENDED).cast()).expect("a value");
        });
        assert_eq!(ENDED.load(SeqCst), threads);
    }
    // SAFETY: no thread has a value of it.
    unsafe { calls::pthread_key_delete(key) }.expect("the key");
}

#[test]
fn an_m_can_be_used_again_and_again() {
    unsafe extern "C" fn look(m: *mut M) {
        // SAFETY: the M is this thread's.
        let right = getg() == unsafe { (*m).g0() } && on_g(&Stack::new(16 << 10), || true);
        RAN.fetch_add(right.into(), SeqCst);
    }
    static RAN: AtomicUsize = AtomicUsize::new(0);
    static AGAIN: M = M::new();
    let m = (&raw const AGAIN).cast_mut();
    for round in 1..=5 {
        // SAFETY: the M is static, has one thread at a time, and each is joined once.
        unsafe {
            let thread = newosproc(m, look, ThreadOptions::default()).expect("newosproc");
            calls::pthread_join(thread, null_mut()).expect("join");
            assert_eq!(RAN.load(SeqCst), round);
            attach(m, None).expect("attach");
        }
        assert_ne!(on_g(&Stack::new(16 << 10), getg), AGAIN.g0());
        detach().expect("detach");
        assert!(!AGAIN.is_attached());
    }
}

#[test]
fn a_detached_thread_lets_go_of_its_m_when_it_ends() {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    let detached = ThreadOptions {
        detached: true,
        ..ThreadOptions::default()
    };
    for round in 1..=20 {
        let mut thread = Thread::new(|m: &M| {
            assert!(m.is_attached());
            RAN.fetch_add(1, SeqCst);
        });
        thread.start(detached).expect("newosproc");
        while thread.m.is_attached() {
            std::thread::yield_now();
        }
        assert_eq!(RAN.load(SeqCst), round);
        // The M and the signal stack are freed here.
    }
}

#[test]
fn newosproc0_starts_a_thread_without_g_that_takes_no_signals() {
    static DONE: AtomicUsize = AtomicUsize::new(0);
    static MASK: AtomicUsize = AtomicUsize::new(0);
    static DEPTH: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn start(arg: *mut c_void) -> *mut c_void {
        MASK.store(mask() as usize, SeqCst);
        dig(here() - DEPTH.load(SeqCst));
        let pid = calls::getpid() as u32;
        let right = arg.is_null() && getg().is_null() && pid == std::process::id();
        DONE.store(if right { 1 } else { 2 }, SeqCst);
        null_mut()
    }
    let before = mask();
    // The least of the defaults is Darwin's: 512 KiB.
    for (stack_size, depth) in [(0, 400 << 10), (16 << 20, 15 << 20)] {
        DONE.store(0, SeqCst);
        DEPTH.store(depth, SeqCst);
        // SAFETY: `start` takes NULL.
        unsafe { newosproc0(stack_size, start) }.expect("newosproc0");
        while DONE.load(SeqCst) == 0 {
            std::thread::yield_now();
        }
        assert_eq!(DONE.load(SeqCst), 1);
        assert_eq!(MASK.load(SeqCst) as u32 & FULL_MASK, FULL_MASK);
        assert_eq!(mask(), before);
    }
}

/// EAGAIN is tried again, but not for ever; meanwhile no handler runs.
#[test]
fn a_thread_that_cannot_be_made_is_an_error_after_a_while() {
    static HANDLED: AtomicUsize = AtomicUsize::new(0);
    static DONE: AtomicBool = AtomicBool::new(false);
    unsafe extern "C" fn count(
        _: c_int,
        _: *mut libc::siginfo_t,
        _: *mut c_void,
        _: &nosplit::os::Interrupted,
    ) {
        HANDLED.fetch_add(1, SeqCst);
    }

    // SAFETY: the handler counts.
    unsafe { install(libc::SIGURG, count, libc::SA_RESTART) }.expect("install");
    let creator = calls::pthread_self();
    let storm = std::thread::spawn(move || {
        let mut sent = 0;
        while !DONE.load(SeqCst) {
            // SAFETY: the creator lives, and waits for us.
            unsafe { calls::pthread_kill(creator, libc::SIGURG) }.expect("pthread_kill");
            std::thread::sleep(std::time::Duration::from_micros(500));
            sent += 1;
        }
        sent
    });
    while HANDLED.load(SeqCst) == 0 {
        std::thread::yield_now();
    }

    let before = mask();
    let mut thread = Thread::new(|m: &M| getg() == m.g0());
    let more_than_there_is = ThreadOptions {
        stack_size: (usize::MAX / 8 * 7) & !0xffff,
        ..ThreadOptions::default()
    };
    let (began, handled) = (Instant::now(), HANDLED.load(SeqCst));
    let result = thread.start(more_than_there_is);
    let (took, handled) = (began.elapsed(), HANDLED.load(SeqCst) - handled);
    DONE.store(true, SeqCst);
    let sent = storm.join().expect("the storm ends");

    assert_eq!(result, Err(Errno::EAGAIN));
    assert!(took.as_millis() >= 210, "20 tries, the last after 20 ms");
    assert!(took.as_secs() < 30);
    assert!(
        handled < 10,
        "{handled} of {sent} signals handled meanwhile"
    );
    assert_eq!(mask(), before);
    // The M is as good as new.
    assert!(!thread.m.is_attached());
    thread.start(ThreadOptions::default()).expect("newosproc");
    assert!(thread.join());
}

#[test]
fn a_thousand_threads_run_a_goroutine_each() {
    const AT_ONCE: usize = 8;
    let sum: usize = (0..1000 / AT_ONCE)
        .map(|batch| {
            let threads: Vec<_> = (0..AT_ONCE)
                .map(|i| {
                    let mut thread = Thread::new(move |m: &M| {
                        let stack = Stack::new(16 << 10);
                        on_g(&stack, || {
                            // SAFETY: g is this goroutine.
                            assert_eq!(unsafe { (*getg()).m() }, (&raw const *m).cast_mut());
                            assert_eq!(calls::getpid() as u32, std::process::id());
                            batch * AT_ONCE + i
                        })
                    });
                    thread.start(ThreadOptions::default()).expect("newosproc");
                    thread
                })
                .collect();
            threads.into_iter().map(Thread::join).sum::<usize>()
        })
        .sum();
    assert_eq!(sum, 1000 * 999 / 2);
}

/// Two threads take turns at entering one G: what it holds on its stack and in registers is the same
/// on both, and so is what it may call.
#[test]
fn a_g_runs_on_now_this_thread_now_that() {
    const TURNS: usize = 10_000;
    static TURN: AtomicUsize = AtomicUsize::new(0);
    static IT: AtomicPtr<G> = AtomicPtr::new(null_mut());

    /// Runs on both: each turn it says on which M it is.
    unsafe extern "C" fn wander(log: *mut c_void) {
        // SAFETY: the test's log; `keep` lets the G be entered again; g is this goroutine.
        unsafe {
            let log = log.cast::<usize>();
            let (mut turns, mut odd, mut half) = (0usize, 1usize, 0.5f64);
            while turns < TURNS - 1 {
                assert_eq!(calls::getpid() as u32, std::process::id());
                *log.add(turns) = (*getg()).m() as usize;
                turns += 1;
                odd += 2;
                half += 1.0;
                mcall(keep, null_mut());
                assert_eq!((odd, half), (2 * turns + 1, turns as f64 + 0.5));
            }
            *log.add(turns) = (*getg()).m() as usize;
        }
    }
    unsafe extern "C" fn keep(_: *mut G, _: *mut c_void) {}

    let stack = Stack::new(64 << 10);
    let mut log = vec![0usize; TURNS];
    let g = G::new();
    // SAFETY: stack, log and G outlive the threads.
    unsafe {
        g.init(stack.lo(), stack.size());
        gostartcallfn(&g, wander, log.as_mut_ptr().cast());
    }
    IT.store((&raw const g).cast_mut(), SeqCst);
    let threads = [0, 1].map(|own| {
        let mut thread = Thread::new(move |m: &M| {
            loop {
                let turn = TURN.load(SeqCst);
                if turn == TURNS {
                    break &raw const *m as usize;
                }
                if turn % 2 == own {
                    // SAFETY: it is parked, and this thread's turn.
                    unsafe { gogo(IT.load(SeqCst)) };
                    TURN.store(turn + 1, SeqCst);
                } else {
                    std::thread::yield_now();
                }
            }
        });
        thread.start(ThreadOptions::default()).expect("newosproc");
        thread
    });
    let ms = threads.map(Thread::join);
    assert_eq!(g.status(), Status::Dead);
    for (turn, m) in log.into_iter().enumerate() {
        assert_eq!(m, ms[turn % 2], "turn {turn}");
    }
}
