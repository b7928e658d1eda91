//! The watch: what is known of a stepped thread, and the SIGTRAP handler that makes calls at each
//! of its instructions and holds what it sees against that.
//!
//! Nothing here panics, allocates or takes a lock: failures are collected, and read at the end.

use crate::rows;
use crate::shim::here;
use nosplit::os::{Interrupted, Stack};
use nosplit::{Errno, G, M, arch, calls, getg, in_entries};
use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_int, c_void};
use std::panic::Location;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Bytes of the entries' section that a hit map can hold.
pub const ENTRIES_MAX: usize = 8192;
/// Bytes of a row's trampoline.
pub const TRAMPOLINE_MAX: usize = 256;

/// One configuration, with the alternate stack or without: what its signals hit and what failed.
pub struct Run {
    pub alternate: bool,
    pub signals: AtomicU64,
    pub hits: [AtomicU32; ENTRIES_MAX],
    pub row_hits: [[AtomicU32; TRAMPOLINE_MAX]; rows::COUNT],
    /// How often a signal came at the first instruction of a row's C function.
    pub arrivals: [AtomicU32; rows::COUNT],
    /// Signals that found the thread on each kind of stack: a G's, the system's, the signal stack.
    pub places: [AtomicU64; 3],
    /// Calls of a handler that switched, and that stayed.
    pub switched: AtomicU64,
    pub stayed: AtomicU64,
    seed: AtomicUsize,
    failed: AtomicUsize,
    failures: UnsafeCell<[Failure; 16]>,
}

// SAFETY: each failure's place is written once, by whoever drew its number, and read after a join.
unsafe impl Sync for Run {}

/// A rule that was broken, where, and how.
#[derive(Clone, Copy)]
pub struct Failure {
    pub rule: &'static str,
    pub at: At,
    pub got: usize,
    pub want: usize,
}

/// Where a failure was seen.
#[derive(Clone, Copy)]
pub enum At {
    /// By the handler, which a signal at this PC ran.
    Pc(usize),
    /// By the stepped thread, in this line of the test.
    Code(&'static Location<'static>),
}

impl At {
    #[track_caller]
    pub fn here() -> At {
        At::Code(Location::caller())
    }
}

impl Run {
    pub const fn new(alternate: bool) -> Run {
        Run {
            alternate,
            signals: AtomicU64::new(0),
            hits: [const { AtomicU32::new(0) }; ENTRIES_MAX],
            row_hits: [const { [const { AtomicU32::new(0) }; TRAMPOLINE_MAX] }; rows::COUNT],
            arrivals: [const { AtomicU32::new(0) }; rows::COUNT],
            places: [const { AtomicU64::new(0) }; 3],
            switched: AtomicU64::new(0),
            stayed: AtomicU64::new(0),
            seed: AtomicUsize::new(1),
            failed: AtomicUsize::new(0),
            failures: UnsafeCell::new(
                [Failure {
                    rule: "",
                    at: At::Pc(0),
                    got: 0,
                    want: 0,
                }; 16],
            ),
        }
    }

    pub fn signals(&self) -> u64 {
        self.signals.load(Relaxed)
    }

    /// Values that no other call has in its registers.
    pub fn seed(&self) -> usize {
        0x5eed_0000_0000_0000 + self.seed.fetch_add(1, Relaxed) * 64
    }

    /// How many failures there were, and the first of them. For after the join.
    pub fn failures(&self) -> (usize, &[Failure]) {
        let count = self.failed.load(Relaxed);
        // SAFETY: nobody writes any more.
        let all = unsafe { &*self.failures.get() };
        (count, &all[..count.min(all.len())])
    }

    pub fn fail(&self, rule: &'static str, at: At, got: usize, want: usize) {
        let n = self.failed.fetch_add(1, Relaxed);
        if n >= 16 {
            return;
        }
        // SAFETY: n is below the length, and this call's alone.
        unsafe {
            (*self.failures.get().cast::<Failure>().add(n)) = Failure {
                rule,
                at,
                got,
                want,
            };
        }
        // What is broken may crash before anybody reads the list.
        if n == 0 {
            let mut line = [b' '; 240];
            let mut end = 0;
            push(&mut line, &mut end, b"step: ");
            push(&mut line, &mut end, rule.as_bytes());
            match at {
                At::Pc(pc) => {
                    push(&mut line, &mut end, b": at entries+");
                    push_number(
                        &mut line,
                        &mut end,
                        pc.wrapping_sub(arch::entry_bounds().0),
                        16,
                    );
                }
                At::Code(code) => {
                    push(&mut line, &mut end, b": at ");
                    push(&mut line, &mut end, code.file().as_bytes());
                    push(&mut line, &mut end, b":");
                    push_number(&mut line, &mut end, code.line() as usize, 10);
                }
            }
            push(&mut line, &mut end, b", got ");
            push_number(&mut line, &mut end, got, 16);
            push(&mut line, &mut end, b", want ");
            push_number(&mut line, &mut end, want, 16);
            push(&mut line, &mut end, b"\n");
            // SAFETY: the line is that long.
            unsafe { libc::write(2, line.as_ptr().cast(), end) };
        }
    }
}

fn push(line: &mut [u8; 240], at: &mut usize, text: &[u8]) {
    for &byte in text {
        if *at < line.len() {
            line[*at] = byte;
            *at += 1;
        }
    }
}

fn push_number(line: &mut [u8; 240], at: &mut usize, number: usize, radix: usize) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    let mut rest = number;
    while rest != 0 || first == digits.len() {
        first -= 1;
        digits[first] = b"0123456789abcdef"[rest % radix];
        rest /= radix;
    }
    push(line, at, if radix == 16 { b"0x" } else { b"" });
    push(line, at, &digits[first..]);
}

/// A kind of stack by its bounds, as the test knows them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    User(usize),
    System,
    Signal,
    Unknown,
}

/// A small stack, its G, and who resumes it.
pub struct Small {
    pub lo: usize,
    pub hi: usize,
    pub g: *const G,
    /// The small stack that this one's coroutine is entered from.
    pub parent: Cell<Option<usize>>,
}

impl Small {
    pub const fn new((lo, hi): (usize, usize), g: *const G) -> Small {
        Small {
            lo,
            hi,
            g,
            parent: Cell::new(None),
        }
    }
}

/// Where the system stack ends, while a G runs above it.
#[derive(Clone, Copy, Default)]
pub struct Landing {
    /// Every address from here up is live.
    floor: usize,
    /// SP of a callee on the system stack, as the first call said; every later one must agree.
    callee: usize,
}

/// What is known of a stepped thread.
pub struct Thread {
    pub run: &'static Run,
    pub m: *const M,
    pub system: (usize, usize),
    /// Signal stacks: the M's, and the one that the thread had before.
    pub signal: [(usize, usize); 2],
    pub stacks: [Small; 3],
    pub landing: Cell<Landing>,
    /// It is about to install its signal stack, or has given it back.
    pub fresh: Cell<bool>,
}

thread_local! {
    // Neither lazy nor dropped: a handler may read it.
    static CURRENT: Cell<*const Thread> = const { Cell::new(null()) };
}

/// Traps on threads that nobody steps.
pub static STRAY: AtomicU32 = AtomicU32::new(0);

impl Thread {
    /// Has the handler know this thread while `f` runs.
    pub fn watched<R>(&self, f: impl FnOnce() -> R) -> R {
        CURRENT.set(self);
        let result = f();
        CURRENT.set(null());
        result
    }

    /// The watched thread that this is.
    pub fn current() -> Option<&'static Thread> {
        // SAFETY: `watched` keeps it alive for as long as anybody can ask.
        unsafe { CURRENT.get().as_ref() }
    }

    pub fn place(&self, sp: usize) -> Place {
        let within = |(lo, hi): (usize, usize)| lo <= sp && sp < hi;
        for (n, stack) in self.stacks.iter().enumerate() {
            if within((stack.lo, stack.hi)) {
                return Place::User(n);
            }
        }
        if self.signal.iter().any(|&bounds| within(bounds)) {
            Place::Signal
        } else if within(self.system) {
            Place::System
        } else {
            Place::Unknown
        }
    }

    /// The record of the G on whose stack this frame is: 0 for a frame elsewhere.
    pub fn record(&self, frame: usize) -> usize {
        match self.place(frame) {
            // SAFETY: the Gs of a thread outlive it.
            Place::User(n) => unsafe { (*self.stacks[n].g).record() },
            _ => 0,
        }
    }

    /// A check outside of the handler.
    #[track_caller]
    pub fn check(&self, rule: &'static str, got: usize, want: usize) {
        if got != want {
            self.run.fail(rule, At::here(), got, want);
        }
    }

    /// From here up the system stack is live, and a G is about to run: returns what was so before.
    #[inline(always)]
    pub fn land(&self) -> Landing {
        self.landing.replace(Landing {
            floor: here(),
            callee: 0,
        })
    }

    /// A callee that was called from a small stack ran at this SP: is it the system stack's, below
    /// every live frame, and always the same place?
    pub fn on_system_stack(&self, rule: &'static str, at: At, sp: usize) {
        let mut landing = self.landing.get();
        if landing.callee == 0 {
            // The frames of gogo, or enter's room, may lie between.
            let room = landing.floor.wrapping_sub(8192)..landing.floor;
            if self.place(sp) != Place::System || !room.contains(&sp) {
                self.run.fail(rule, at, sp, landing.floor);
                return;
            }
            landing.callee = sp;
            self.landing.set(landing);
        }
        if sp != landing.callee {
            self.run.fail(rule, at, sp, landing.callee);
        }
    }

    /// A callee that had to stay ran at this SP: is it a little below `here`?
    pub fn stayed(&self, rule: &'static str, at: At, sp: usize, here: usize) {
        if sp >= here || here - sp > 2048 {
            self.run.fail(rule, at, sp, here);
        }
    }
}

/// The handler. One of the layer's, made by `install`: it runs behind sigtramp, TF cleared.
pub unsafe extern "C" fn on_trap(
    _: c_int,
    _: *mut libc::siginfo_t,
    context: *mut c_void,
    interrupted: &Interrupted,
) {
    let Some(thread) = Thread::current() else {
        STRAY.fetch_add(1, Relaxed);
        return;
    };
    let run = thread.run;
    let &Interrupted { g, pc, sp } = interrupted;
    let at = At::Pc(pc);
    let sp_here = here();
    run.signals.fetch_add(1, Relaxed);

    // The frame of this handler, for calls that go astray.
    let mut frame = [0usize; 8];
    for (n, word) in frame.iter_mut().enumerate() {
        // SAFETY: a word of the frame.
        unsafe { (word as *mut usize).write_volatile(pc ^ n) };
    }

    // Where the signal came.
    let start = arch::entry_bounds().0;
    if in_entries(pc) {
        match run.hits.get(pc - start) {
            Some(count) => _ = count.fetch_add(1, Relaxed),
            None => run.fail("the hit map is too small", at, pc - start, ENTRIES_MAX),
        }
    }
    let found = thread.place(sp);
    match found {
        Place::User(_) => _ = run.places[0].fetch_add(1, Relaxed),
        Place::System => _ = run.places[1].fetch_add(1, Relaxed),
        Place::Signal => _ = run.places[2].fetch_add(1, Relaxed),
        Place::Unknown => run.fail("SP is on no stack of the thread", at, sp, 0),
    }
    for (n, row) in rows::ALL.iter().enumerate() {
        let offset = pc.wrapping_sub(row.row.trampoline as *const () as usize);
        if offset < TRAMPOLINE_MAX {
            run.row_hits[n][offset].fetch_add(1, Relaxed);
        }
        if pc == (row.function)() as usize {
            run.arrivals[n].fetch_add(1, Relaxed);
            if matches!(found, Place::User(_)) {
                run.fail("a C function runs on the stack of a G", at, sp, 0);
            }
        }
    }

    // Where this handler runs: on the signal stack if the kernel had one, else where it came.
    // SAFETY: the kernel's context.
    let disabled =
        unsafe { (*context.cast::<libc::ucontext_t>()).uc_stack.ss_flags } & libc::SS_DISABLE != 0;
    if disabled == run.alternate && !(run.alternate && thread.fresh.get()) {
        run.fail(
            "the alternate stack is not as configured",
            at,
            disabled as usize,
            0,
        );
    }
    let stack_here = thread.place(sp_here);
    if stack_here != if disabled { found } else { Place::Signal } {
        run.fail(
            "the handler is not on the stack of the configuration",
            at,
            sp_here,
            sp,
        );
    }
    if (disabled || found == Place::Signal) && !(sp_here < sp && sp - sp_here < 32 << 10) {
        run.fail(
            "the handler is not below what it interrupted",
            at,
            sp_here,
            sp,
        );
    }

    // What the layer says of it.
    if g != getg() {
        run.fail(
            "the interrupted g is not g",
            at,
            g as usize,
            getg() as usize,
        );
    }
    // SAFETY: g of a thread is live.
    let known = !g.is_null() && unsafe { !(*g).m().is_null() };
    let want = match found {
        _ if !known => Stack::Foreign,
        Place::User(_) => Stack::User,
        Place::System => Stack::System,
        Place::Signal => Stack::Signal,
        Place::Unknown => Stack::Foreign,
    };
    if interrupted.stack() != want {
        run.fail(
            "Interrupted::stack",
            at,
            interrupted.stack() as usize,
            want as usize,
        );
    }
    if let Place::User(n) = found {
        // g is the G of this stack, or one that is being resumed from it.
        let legal = thread.stacks.iter().enumerate().any(|(other, stack)| {
            stack.g == g.cast_const() && (other == n || stack.parent.get() == Some(n))
        });
        if !legal {
            run.fail("SP is on a G's stack, and g is another", at, g as usize, n);
        }
        // SAFETY: g of a thread is live.
        if legal && unsafe { (*g).m() }.cast_const() != thread.m {
            run.fail("a G on its stack without its M", at, g as usize, n);
        }
    }

    // The calls. errno is never EBADF in what is stepped: it would be ours.
    // SAFETY: errno of this thread.
    let errno = unsafe { *arch::errno_location() };
    if errno == libc::EBADF {
        run.fail("errno of a handler came out of it", at, errno as usize, 0);
    }
    // SAFETY: it only looks at its stack.
    let callee = unsafe { rows::sp_of_callee() };
    if let Place::User(_) = stack_here {
        run.switched.fetch_add(1, Relaxed);
        thread.on_system_stack(
            "a handler on a G's stack calls on the system stack",
            at,
            callee,
        );
    } else {
        run.stayed.fetch_add(1, Relaxed);
        thread.stayed("a handler off the G's stack stays", at, callee, sp_here);
    }
    let pid = calls::getpid();
    if pid != self::pid() {
        run.fail("getpid", at, pid as usize, self::pid() as usize);
    }
    // SAFETY: no such descriptor, and nothing to write.
    unsafe {
        if calls::write(-1, null(), 0) != Err(Errno::EBADF) {
            run.fail("write(-1)", at, 0, libc::EBADF as usize);
        }
        if calls::close(-1) != Err(Errno::EBADF) {
            run.fail("close(-1)", at, 0, libc::EBADF as usize);
        }
        let errno = *arch::errno_location();
        if errno != libc::EBADF {
            run.fail(
                "errno of close(-1)",
                at,
                errno as usize,
                libc::EBADF as usize,
            );
        }
    }
    for (n, word) in frame.iter().enumerate() {
        // SAFETY: a word of the frame.
        let word = unsafe { (word as *const usize).read_volatile() };
        if word != pc ^ n {
            run.fail("a call ran over the handler's frame", at, word, pc ^ n);
        }
    }
}

static PID: AtomicI32 = AtomicI32::new(0);

/// What getpid has to return, known without calling it.
pub fn pid() -> libc::pid_t {
    PID.load(Relaxed)
}

/// Installs the handler of SIGTRAP, and for SIGUSR1 that of the transitions: by the layer, then once
/// more with the stepped entry and SIGTRAP unblocked.
pub fn install(on_user_signal: nosplit::os::Handler) {
    // SAFETY: asks for a number.
    PID.store(unsafe { libc::getpid() }, Relaxed);
    // SAFETY: both handlers are async-signal-safe; the entry ends in the layer's.
    unsafe {
        nosplit::os::install(libc::SIGTRAP, on_trap, 0).expect("SIGTRAP");
        nosplit::os::install(libc::SIGUSR1, on_user_signal, 0).expect("SIGUSR1");
        let mut action: libc::sigaction = core::mem::zeroed();
        assert_eq!(libc::sigaction(libc::SIGUSR1, null(), &mut action), 0);
        assert_eq!(action.sa_sigaction, arch::sigtramp as *const () as usize);
        assert_ne!(action.sa_flags & libc::SA_ONSTACK, 0);
        action.sa_sigaction = crate::shim::stepped_sigtramp as *const () as usize;
        libc::sigdelset(&mut action.sa_mask, libc::SIGTRAP);
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, null_mut()), 0);
    }
}
