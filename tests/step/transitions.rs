//! The transitions, as a runtime makes them: what a stepped thread does, and checks.
//!
//! What the layer does is stepped, and every entry called by `kept`, which compares callee-saved
//! registers; what is called says where it ran. What only the test does is not stepped.

use crate::rows;
use crate::shim::{self, Kept, here, stepped, unstepped};
use crate::support::Stack;
use crate::watch::{At, Landing, Place, Run, Small, Thread, pid};
use corosensei::stack::StackPointer;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use nosplit::os::{Interrupted, SignalStack, ThreadOptions, attach, detach, newosproc};
use nosplit::{
    Errno, G, M, Row, Status, arch, calls, enter, getg, gogo, gosave, gostartcallfn, leave, mcall,
    systemstack,
};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::{null, null_mut};

/// Bytes of a G's stack: room for two signal frames, each with all vector registers.
const STACK: usize = 128 << 10;

/// One call of an entry: what its callee notes, and does.
#[repr(C)]
pub struct Call {
    pub sp: usize,
    pub fp: usize,
    pub result: usize,
    /// 0: leaves errno as it is.
    pub errno: c_int,
    inner: Option<fn(&Thread)>,
    /// g.record while the callee ran, at its beginning and at its end.
    record: [usize; 2],
}

/// What the callee does unstepped.
pub extern "C" fn callee_body(call: &mut Call) {
    if let Some(t) = Thread::current() {
        call.record[0] = t.record(call.fp);
        if let Some(inner) = call.inner {
            let before = errno();
            inner(t);
            set_errno(before);
        }
        call.record[1] = t.record(call.fp);
    }
}

fn errno() -> c_int {
    // SAFETY: errno of this thread.
    unsafe { *arch::errno_location() }
}

fn set_errno(errno: c_int) {
    // SAFETY: errno of this thread.
    unsafe { *arch::errno_location() = errno };
}

/// `f(a, b, c)`, and a check of every register that it has to keep.
#[inline(always)]
#[track_caller]
fn kept(t: &Thread, f: *const (), a: usize, b: usize, c: usize) -> Kept {
    let mut out = Kept::default();
    // SAFETY: each caller passes a function of up to three words.
    unsafe { shim::kept(f, a, b, c, &mut out, t.run.seed()) };
    t.check(
        "callee-saved registers, frames and DF are kept",
        out.broken,
        0,
    );
    out
}

/// How an entry tells failure.
#[derive(Clone, Copy, PartialEq)]
enum Test {
    None,
    I32,
    Word,
    Null,
}

/// An entry of the asmcgocall family.
struct Entry {
    address: fn() -> *const (),
    test: Test,
    /// errno is cleared before the call, from 16 bytes of stack.
    ambiguous: bool,
    checked: bool,
    no_g: bool,
}

macro_rules! family {
    ($($name:ident $test:ident $($flag:ident)*;)+) => {
        &[$(family!(@ $name, $test, [$($flag)*])),+]
    };
    (@ $name:ident, $test:ident, [$($flag:ident)*]) => {{
        #[allow(unused_mut)]
        let mut entry = Entry {
            address: || arch::$name as *const (),
            test: Test::$test,
            ambiguous: false,
            checked: false,
            no_g: false,
        };
        $(entry.$flag = true;)*
        entry
    }};
}

const FAMILY: &[Entry] = family! {
    asmcgocall None;
    asmcgocall_i32 I32;
    asmcgocall_word Word;
    asmcgocall_null Null;
    asmcgocall_ambiguous_i32 I32 ambiguous;
    asmcgocall_ambiguous_word Word ambiguous;
    asmcgocall_ambiguous_null Null ambiguous;
    checked_asmcgocall None checked;
    checked_asmcgocall_i32 I32 checked;
    checked_asmcgocall_word Word checked;
    checked_asmcgocall_null Null checked;
    checked_asmcgocall_ambiguous_i32 I32 ambiguous checked;
    checked_asmcgocall_ambiguous_word Word ambiguous checked;
    checked_asmcgocall_ambiguous_null Null ambiguous checked;
    asmcgocall_no_g None no_g;
    asmcgocall_no_g_i32 I32 no_g;
    asmcgocall_no_g_word Word no_g;
    asmcgocall_no_g_null Null no_g;
    asmcgocall_no_g_ambiguous_i32 I32 ambiguous no_g;
    asmcgocall_no_g_ambiguous_word Word ambiguous no_g;
    asmcgocall_no_g_ambiguous_null Null ambiguous no_g;
};

const MINUS_ONE: usize = usize::MAX;
const MINUS_ONE_32: usize = 0xffff_ffff;

/// The callee's result, the errno that it sets, and the one that has to come back.
type Case = (usize, c_int, c_int);

fn cases(entry: &Entry) -> &'static [Case] {
    match (entry.test, entry.ambiguous) {
        (Test::None, _) => &[(7, 4001, 0)],
        (Test::I32, false) => &[(7, 4001, 0), (MINUS_ONE_32, 4002, 4002)],
        (Test::Word, false) => &[(MINUS_ONE_32, 4001, 0), (MINUS_ONE, 4002, 4002)],
        (Test::Null, false) => &[(7, 4001, 0), (0, 4002, 4002)],
        (Test::I32, true) => &[(7, 4001, 0), (MINUS_ONE_32, 4002, 4002), (MINUS_ONE, 0, 0)],
        (Test::Word, true) => &[
            (MINUS_ONE_32, 4001, 0),
            (MINUS_ONE, 4002, 4002),
            (MINUS_ONE, 0, 0),
        ],
        (Test::Null, true) => &[(7, 4001, 0), (0, 4002, 4002), (0, 0, 0)],
    }
}

/// The whole family from here, in a handler without those that may not be called there.
fn family(t: &Thread, in_handler: bool, inner: Option<fn(&Thread)>) {
    for entry in FAMILY {
        if entry.checked && in_handler {
            continue;
        }
        for &case in cases(entry) {
            call(t, entry, case, inner);
        }
    }
}

/// The family, or where it has been before only one of each kind.
#[derive(Clone, Copy)]
enum Calls {
    Family,
    Sample,
}

impl Calls {
    fn make(self, t: &Thread) {
        match self {
            Calls::Family => family(t, false, None),
            Calls::Sample => sample(t),
        }
    }
}

fn sample(t: &Thread) {
    for n in [0, 1, 5, 7, 10, 16] {
        let entry = &FAMILY[n];
        for &case in cases(entry) {
            call(t, entry, case, None);
        }
    }
}

fn call(t: &Thread, entry: &Entry, (result, errno, want): Case, inner: Option<fn(&Thread)>) {
    static ROW: Row = calls::pthread_key_delete::ROW;
    let mut call = Call {
        sp: 0,
        fp: 0,
        result,
        errno,
        inner,
        record: [0; 2],
    };
    set_errno(4444);
    let sp = here();
    let out = kept(
        t,
        (entry.address)(),
        (&raw mut call) as usize,
        shim::callee as *const () as usize,
        (&raw const ROW) as usize,
    );
    if entry.test == Test::None {
        t.check("the result of a call", out.value, result);
    } else {
        let width = if entry.test == Test::I32 {
            MINUS_ONE_32
        } else {
            MINUS_ONE
        };
        t.check("errno of a call", out.errno & MINUS_ONE_32, want as usize);
        t.check(
            "the result of a call that may fail",
            out.value & width,
            result & width,
        );
    }
    t.check("a callee's stack is aligned", call.sp & 15, 8);
    let from_user = matches!(t.place(sp), Place::User(_));
    if from_user && !entry.no_g {
        let sp = call.sp + if entry.ambiguous { 16 } else { 0 };
        t.on_system_stack(
            "a call from a G's stack runs on the system stack",
            At::here(),
            sp,
        );
        t.check(
            "g.record is the outermost call's frame",
            call.record[0],
            call.fp,
        );
        t.check(
            "g.record is still the outermost call's frame",
            call.record[1],
            call.fp,
        );
    } else {
        t.stayed("a call off a G's stack stays", At::here(), call.sp, sp);
    }
}

/// Calls on the system stack, with a G current that is not under SP: none of them switches.
fn nested(t: &Thread) {
    family(t, false, None);
    all_rows(t);
}

/// The rows, each by its own wrapper and trampoline.
fn all_rows(t: &Thread) {
    let words = (
        -1i8,
        0xfff0u16,
        -3i32,
        u64::MAX - 4,
        -5i16,
        250u8,
        1.5f64,
        -2.5f32,
        i64::MIN,
        -7i32,
        65000u16,
        -9isize,
    );
    let (a, b, c, d, e, f, x, y, g, h, i, j) = words;
    let want = const {
        rows::mix([
            -1,
            0xfff0,
            -3,
            -5,
            -5,
            250,
            1.5f64.to_bits() as i64,
            (-2.5f32).to_bits() as i64,
            i64::MIN,
            -7,
            65000,
            -9,
        ])
    };
    t.check(
        "many()",
        stepped(|| rows::many(a, b, c, d, e, f, x, y, g, h, i, j)) as usize,
        want as usize,
    );
    t.check("half()", (stepped(|| rows::half(5.0)) == 2.5) as usize, 1);
    t.check("getpid()", stepped(calls::getpid) as usize, pid() as usize);
    let sp = here();
    // SAFETY: the paths are C strings; nothing is mapped or deleted.
    unsafe {
        if matches!(t.place(sp), Place::User(_)) {
            t.on_system_stack(
                "a row from a G's stack runs on the system stack",
                At::here(),
                stepped(|| rows::sp_of_callee()),
            );
        } else {
            t.stayed(
                "a row off a G's stack stays",
                At::here(),
                stepped(|| rows::sp_of_callee()),
                sp,
            );
            t.stayed(
                "a row without g stays",
                At::here(),
                stepped(|| rows::sp_of_callee::no_g()),
                sp,
            );
        }
        check_err(
            t,
            "kill()",
            stepped(|| calls::kill(0, 9999)).map(drop),
            Errno::EINVAL,
        );
        check_err(
            t,
            "open()",
            stepped(|| calls::open(c"".as_ptr(), libc::O_CREAT, 0o600)).map(drop),
            Errno::ENOENT,
        );
        check_err(
            t,
            "mmap()",
            stepped(|| calls::mmap(null_mut(), 0, 0, libc::MAP_PRIVATE, 0, 0)).map(drop),
            Errno::EINVAL,
        );
    }
}

/// Those that handlers may not call.
fn checked_rows(t: &Thread) {
    check_err(
        t,
        "not_for_handlers()",
        stepped(|| rows::not_for_handlers(4003)).map(drop),
        Errno::new(4003),
    );
    t.check(
        "not_for_handlers(0)",
        stepped(|| rows::not_for_handlers(0)).is_ok() as usize,
        1,
    );
    // SAFETY: no such key.
    let deleted = unsafe { stepped(|| calls::pthread_key_delete(libc::pthread_key_t::MAX)) };
    check_err(t, "pthread_key_delete()", deleted, Errno::EINVAL);
}

#[track_caller]
fn check_err(t: &Thread, call: &'static str, result: Result<(), Errno>, want: Errno) {
    t.check(
        call,
        result.err().map_or(0, Errno::number) as usize,
        want.number() as usize,
    );
}

/// SIGUSR1 to this thread: its handler is stepped from sigtramp's first instruction to its last.
fn interrupt(t: &Thread) {
    extern "C" fn send() -> c_int {
        // SAFETY: a signal with a handler.
        unsafe { libc::syscall(libc::SYS_tgkill, pid(), libc::gettid(), libc::SIGUSR1) as c_int }
    }
    let before = HANDLED.get();
    set_errno(4010);
    let out = kept(t, send as *const (), 0, 0, 0);
    t.check("tgkill", out.value & MINUS_ONE_32, 0);
    t.check(
        "the handler of SIGUSR1 ran once",
        HANDLED.get() as usize,
        before as usize + 1,
    );
    t.check("a handler keeps errno", errno() as usize, 4010);
}

thread_local! {
    static HANDLED: Cell<u32> = const { Cell::new(0) };
}

/// SIGUSR1's handler: what handlers may do, from whichever stack it runs on.
pub unsafe extern "C" fn on_user_signal(
    signal: c_int,
    info: *mut libc::siginfo_t,
    _: *mut c_void,
    interrupted: &Interrupted,
) {
    let Some(t) = Thread::current() else {
        return;
    };
    unstepped(|| handled(t, signal, info, interrupted));
    set_errno(4011);
}

fn handled(t: &Thread, signal: c_int, info: *mut libc::siginfo_t, interrupted: &Interrupted) {
    t.check(
        "a handler's signal",
        signal as usize,
        libc::SIGUSR1 as usize,
    );
    // SAFETY: the kernel's.
    t.check(
        "a handler's siginfo",
        unsafe { (*info).si_signo } as usize,
        libc::SIGUSR1 as usize,
    );
    t.check("a handler's g", interrupted.g as usize, getg() as usize);
    family(t, true, None);
    all_rows(t);
    HANDLED.set(HANDLED.get() + 1);
}

/// A runtime's M, with what the test needs to know of its thread.
#[repr(C)]
struct Machine {
    m: M,
    run: &'static Run,
    signal: (usize, usize),
    stack: Stack,
    g: G,
    ran: Cell<bool>,
}

/// The goroutine's job.
struct Goroutine<'a> {
    t: &'a Thread,
    g: &'a G,
    coroutines: Option<&'a [(Stack, G); 2]>,
    parked: Cell<u32>,
    ended: Cell<bool>,
}

/// gogo, twice: the goroutine parks in the middle.
fn goroutine(t: &Thread, stack: &Stack, g: &G, coroutines: Option<&[(Stack, G); 2]>) {
    extern "C" fn run(g: *mut G, t: &Thread) {
        t.land();
        // SAFETY: a G of this thread that is ready.
        unsafe { gogo(g) }
    }

    let job = Goroutine {
        t,
        g,
        coroutines,
        parked: Cell::new(0),
        ended: Cell::new(false),
    };
    let g_mut = (&raw const *g).cast_mut();
    // SAFETY: stack and job outlive the goroutine.
    unsafe {
        g.init(stack.lo(), stack.size());
        gostartcallfn(g, goroutine_body, (&raw const job).cast_mut().cast());
    }
    for (parked, status) in [(1, Status::Ready), (1, Status::Dead)] {
        kept(
            t,
            run as *const (),
            g_mut as usize,
            (&raw const *t) as usize,
            0,
        );
        t.check("gogo comes back to g0", getg() as usize, g0(t) as usize);
        t.check("a parked G's status", g.status() as usize, status as usize);
        t.check("a parked G has no M", g.m() as usize, 0);
        t.check("mcall's function ran", job.parked.get() as usize, parked);
    }
    t.check("the goroutine came to its end", job.ended.get() as usize, 1);
}

fn g0(t: &Thread) -> *mut G {
    // SAFETY: the thread's M lives.
    unsafe { (*t.m).g0() }
}

unsafe extern "C" fn goroutine_body(job: *mut c_void) {
    unsafe extern "C" fn saved(g: *mut G, job: *mut c_void) {
        // SAFETY: the job, and its G.
        let (job, g) = unsafe { (&*job.cast::<Goroutine>(), &*g) };
        unstepped(|| {
            let t = job.t;
            t.check(
                "gosave's G",
                (&raw const *g) as usize,
                (&raw const *job.g) as usize,
            );
            t.check(
                "gosave's SP is on the G's stack",
                g.contains(g.sched_sp()) as usize,
                1,
            );
            t.check(
                "gosave's SP is above its function",
                (g.sched_sp() > here()) as usize,
                1,
            );
        });
    }

    unsafe extern "C" fn parked(g: *mut G, job: *mut c_void) {
        // SAFETY: the job, and its G.
        let (job, g) = unsafe { (&*job.cast::<Goroutine>(), &*g) };
        unstepped(|| job.parked(g));
    }

    extern "C" fn park(job: *mut c_void) {
        // SAFETY: on the G's stack.
        unsafe { mcall(parked, job) }
    }

    extern "C" fn save(job: *mut c_void) {
        // SAFETY: on the G's stack.
        unsafe { gosave(saved, job) }
    }

    // SAFETY: goroutine() passes its own.
    let this = unsafe { &*job.cast::<Goroutine>() };
    unstepped(|| this.run(save as *const (), park as *const ()));
}

impl Goroutine<'_> {
    /// On the system stack, behind mcall.
    fn parked(&self, g: &G) {
        let t = self.t;
        t.check(
            "mcall's G",
            (&raw const *g) as usize,
            (&raw const *self.g) as usize,
        );
        t.check(
            "mcall's function runs with g0",
            getg() as usize,
            g0(t) as usize,
        );
        t.check(
            "mcall's function runs on the system stack",
            (t.place(here()) == Place::System) as usize,
            1,
        );
        t.check("mcall's G is parked", g.m() as usize, 0);
        nested(t);
        checked_rows(t);
        self.parked.set(self.parked.get() + 1);
    }

    /// The goroutine.
    fn run(&self, save: *const (), park: *const ()) {
        let t = self.t;
        let this = (&raw const *self) as usize;
        t.check(
            "goentry's g",
            getg() as usize,
            (&raw const *self.g) as usize,
        );
        t.check("goentry's stack is aligned", arch_alignment(), 0);
        family(t, false, None);
        all_rows(t);
        checked_rows(t);
        call(t, &FAMILY[0], (7, 4001, 0), Some(nested));
        interrupt(t);
        kept(t, save, this, 0, 0);
        kept(t, park, this, 0, 0);
        t.check(
            "the G runs again",
            getg() as usize,
            (&raw const *self.g) as usize,
        );
        sample(t);
        if let Some(coroutines) = self.coroutines {
            // From the user stack of the G, and from the system stack on its behalf.
            coroutine(t, coroutines, 0, Calls::Family);
            stepped(|| systemstack(|| unstepped(|| coroutine(t, coroutines, 0, Calls::Sample))));
        }
        all_rows(t);
        self.ended.set(true);
    }
}

/// SP of a caller, which the ABI wants 16-aligned.
#[inline(never)]
fn arch_alignment() -> usize {
    // SAFETY: reads a register.
    unsafe { arch::stack_pointer() & 15 }
}

/// A stack for corosensei that the test owns.
struct Lent<'a>(&'a Stack);

// SAFETY: there is a guard page directly below `lo`; both ends are page-aligned.
unsafe impl corosensei::stack::Stack for Lent<'_> {
    fn base(&self) -> StackPointer {
        StackPointer::new(self.0.hi() as usize).unwrap_or(StackPointer::MIN)
    }

    fn limit(&self) -> StackPointer {
        StackPointer::new(self.0.lo() as usize).unwrap_or(StackPointer::MIN)
    }
}

/// For a closure that on_parent_stack wants to be Send, and that stays on its thread.
struct OneThread<T>(T);

// SAFETY: it is used on the thread that made it.
unsafe impl<T> Send for OneThread<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for OneThread<T> {}

impl<T: Copy> OneThread<T> {
    fn get(&self) -> T {
        self.0
    }
}

/// One turn of a coroutine, between enter and leave.
struct Turn<'a> {
    t: &'a Thread,
    g: &'a G,
    /// Which of the thread's small stacks it runs on.
    place: usize,
    calls: Calls,
    resume: &'a mut dyn FnMut(),
}

/// Another library's coroutine, which suspends once; the first resumes the second, once from its own
/// stack and once from that of whoever resumed it.
fn coroutine(t: &Thread, coroutines: &[(Stack, G); 2], n: usize, calls: Calls) {
    let (stack, g) = &coroutines[n];
    // SAFETY: the stack is the coroutine's alone.
    unsafe { g.init(stack.lo(), stack.size()) };
    let body = |yielder: &Yielder<(), ()>, ()| {
        unstepped(|| {
            t.check("a coroutine's g", getg() as usize, (&raw const *g) as usize);
            calls.make(t);
            all_rows(t);
            call(t, &FAMILY[3], (7, 4001, 0), Some(nested));
        });
        yielder.suspend(());
        unstepped(|| {
            checked_rows(t);
            interrupt(t);
            if n == 0 {
                coroutine(t, coroutines, 1, calls);
                all_rows(t);
            }
        });
        if n == 0 {
            // What corosensei runs on the stack that resumed it may resume another.
            let here = OneThread((t, coroutines));
            yielder.on_parent_stack(|| {
                unstepped(|| {
                    let (t, coroutines) = here.get();
                    sample(t);
                    coroutine(t, coroutines, 1, Calls::Sample);
                })
            });
        }
    };
    // SAFETY: it does not outlive what it borrows: it runs to its end below.
    let mut running = unsafe { Coroutine::with_stack_unchecked(Lent(stack), body) };
    for done in [false, true] {
        let mut was_done = !done;
        let mut resume = || was_done = matches!(running.resume(()), CoroutineResult::Return(()));
        let mut turn = Turn {
            t,
            g,
            place: n + 1,
            calls: if done { Calls::Sample } else { calls },
            resume: &mut resume,
        };
        take_turn(&mut turn);
        t.check(
            "a coroutine suspends once",
            was_done as usize,
            done as usize,
        );
    }
}

fn take_turn(turn: &mut Turn) {
    extern "C" fn begin(g: *mut G) {
        // SAFETY: the G of a coroutine, which is resumed next.
        unsafe { enter(g) };
    }

    extern "C" fn resume(turn: &mut Turn) {
        (turn.resume)();
    }

    extern "C" fn end(g: *mut G) {
        // SAFETY: the coroutine has suspended.
        unsafe { leave(g) };
    }

    let t = turn.t;
    let g = (&raw const *turn.g).cast_mut();
    let previous = getg();
    let from = t.place(here());
    // From a user stack calls go on where the parent's went; from the system stack below this frame.
    let before: Option<Landing> = match from {
        Place::User(n) => {
            t.stacks[turn.place].parent.set(Some(n));
            None
        }
        _ => Some(t.land()),
    };
    kept(t, begin as *const (), g as usize, 0, 0);
    t.check("enter makes g current", getg() as usize, g as usize);
    // What corosensei itself might call on its way: found on the chain of parents, or off it.
    turn.calls.make(t);
    kept(t, resume as *const (), (&raw mut *turn) as usize, 0, 0);
    sample(t);
    kept(t, end as *const (), g as usize, 0, 0);
    t.check(
        "leave goes back to the G before",
        getg() as usize,
        previous as usize,
    );
    t.check(
        "a coroutine's G has no M after leave",
        turn.g.m() as usize,
        0,
    );
    t.stacks[turn.place].parent.set(None);
    if let Some(before) = before {
        t.landing.set(before);
    }
}

/// Every transition, once: on a thread without g, attached, in a G, in coroutines, detached.
fn lap(lap: &Lap) {
    extern "C" fn join(lap: &Lap) -> bool {
        // SAFETY: M and signal stack outlive the detach.
        unsafe { attach(lap.t.m.cast_mut(), lap.signal_stack) }.is_ok()
    }

    extern "C" fn part() -> bool {
        detach().is_ok()
    }

    let t = lap.t;
    let without_g = |t: &Thread| {
        t.check("there is no g", getg() as usize, 0);
        family(t, false, None);
        all_rows(t);
        checked_rows(t);
        interrupt(t);
    };
    without_g(t);
    let out = kept(t, join as *const (), (&raw const *lap) as usize, 0, 0);
    t.check("attach", out.value & 0xff, 1);
    t.check("attach sets g0", getg() as usize, g0(t) as usize);
    t.check("no hardware shadow stack", arch::shadow_stack() as usize, 0);
    family(t, false, Some(nested_once));
    all_rows(t);
    checked_rows(t);
    interrupt(t);
    goroutine(t, lap.stack, lap.g, Some(lap.coroutines));
    coroutine(t, lap.coroutines, 0, Calls::Sample);
    let out = kept(t, part as *const (), 0, 0, 0);
    t.check("detach", out.value & 0xff, 1);
    without_g(t);
}

/// A call in a call, on g0.
fn nested_once(t: &Thread) {
    call(t, &FAMILY[1], (MINUS_ONE, 4002, 4002), None);
}

struct Lap<'a> {
    t: &'a Thread,
    signal_stack: Option<SignalStack>,
    stack: &'a Stack,
    g: &'a G,
    coroutines: &'a [(Stack, G); 2],
}

/// Laps of a thread of its own until there were that many signals, each with a thread of the layer.
pub fn run(run: &'static Run, signals: u64) -> u32 {
    let m = Box::new(M::new());
    let own = Stack::new(STACK);
    let signal = Stack::new(STACK);
    let stack = Stack::new(STACK);
    let g = Box::new(G::new());
    let coroutines = Box::new([0, 1].map(|_| (Stack::new(STACK), G::new())));
    let t = Thread {
        run,
        m: &raw const *m,
        system: system_stack(),
        signal: if run.alternate {
            [bounds(&signal), bounds(&own)]
        } else {
            [(0, 0); 2]
        },
        stacks: [
            Small::new(bounds(&stack), &raw const *g),
            Small::new(bounds(&coroutines[0].0), &raw const coroutines[0].1),
            Small::new(bounds(&coroutines[1].0), &raw const coroutines[1].1),
        ],
        landing: Cell::new(Landing::default()),
        fresh: Cell::new(false),
    };
    let one = Lap {
        t: &t,
        signal_stack: run.alternate.then(|| signal_stack(&signal)),
        stack: &stack,
        g: &g,
        coroutines: &coroutines,
    };
    let std_stack = altstack(if run.alternate { Some(&own) } else { None });
    // Whatever this process inherited.
    // SAFETY: a set of two signals.
    unsafe {
        let mut set = core::mem::zeroed();
        libc::sigaddset(&mut set, libc::SIGTRAP);
        libc::sigaddset(&mut set, libc::SIGUSR1);
        assert_eq!(libc::sigprocmask(libc::SIG_UNBLOCK, &set, null_mut()), 0);
    }
    // Twice at least: the second lap finds everything used.
    let mut laps = 0;
    while laps < 2 || run.signals() < signals {
        laps += 1;
        t.watched(|| lap(&one));
        thread(run);
    }
    // SAFETY: std's own, as it was.
    assert_eq!(unsafe { libc::sigaltstack(&std_stack, null_mut()) }, 0);
    laps
}

fn bounds(stack: &Stack) -> (usize, usize) {
    (stack.lo() as usize, stack.hi() as usize)
}

fn signal_stack(stack: &Stack) -> SignalStack {
    SignalStack {
        lo: stack.lo(),
        size: stack.size(),
    }
}

/// Installs a signal stack, or none, and returns what was there.
fn altstack(stack: Option<&Stack>) -> libc::stack_t {
    let new = libc::stack_t {
        ss_sp: stack.map_or(null_mut(), Stack::lo),
        ss_flags: if stack.is_some() { 0 } else { libc::SS_DISABLE },
        ss_size: stack.map_or(0, Stack::size),
    };
    // SAFETY: both are good; the stack outlives its use.
    unsafe {
        let mut old = core::mem::zeroed();
        assert_eq!(libc::sigaltstack(&new, &mut old), 0);
        old
    }
}

/// The bounds of this thread's stack.
fn system_stack() -> (usize, usize) {
    // SAFETY: the attributes are initialised by the first call.
    unsafe {
        let mut attr = core::mem::zeroed();
        let (mut lo, mut size) = (null_mut(), 0);
        assert_eq!(libc::pthread_getattr_np(libc::pthread_self(), &mut attr), 0);
        assert_eq!(libc::pthread_attr_getstack(&attr, &mut lo, &mut size), 0);
        libc::pthread_attr_destroy(&mut attr);
        (lo as usize, lo as usize + size)
    }
}

/// A thread of newosproc, stepped from the first instruction of mstart_stub to its last.
fn thread(run: &'static Run) {
    unsafe extern "C" fn start(m: *mut M) {
        // SAFETY: the M is the first field of a Machine.
        let machine = unsafe { &*m.cast::<Machine>() };
        let Some(t) = Thread::current() else { return };
        t.fresh.set(false);
        unstepped(|| started(t, machine));
        t.fresh.set(true);
    }

    fn started(t: &Thread, machine: &Machine) {
        t.check(
            "a thread starts with g0",
            getg() as usize,
            machine.m.g0() as usize,
        );
        all_rows(t);
        interrupt(t);
        goroutine(t, &machine.stack, &machine.g, None);
        machine.ran.set(true);
    }

    let signal = Stack::new(STACK);
    let machine = Box::new(Machine {
        m: M::new(),
        run,
        signal: if run.alternate {
            bounds(&signal)
        } else {
            (0, 0)
        },
        stack: Stack::new(STACK),
        g: G::new(),
        ran: Cell::new(false),
    });
    let options = ThreadOptions {
        signal_stack: run.alternate.then(|| signal_stack(&signal)),
        ..ThreadOptions::default()
    };
    // SAFETY: the machine outlives the thread, which is joined.
    unsafe {
        let thread =
            newosproc((&raw const machine.m).cast_mut(), start, options).expect("newosproc");
        assert_eq!(libc::pthread_join(thread, null_mut()), 0);
    }
    assert!(machine.ran.get());
    assert!(!machine.m.is_attached());
}

/// Where pthread_create's interposed twin has a thread of the layer begin.
pub extern "C" fn stepped_start(m: *mut c_void) -> *mut c_void {
    // SAFETY: only `thread` makes threads of the layer, with the M first in a Machine.
    let machine = unsafe { &*m.cast::<Machine>() };
    let t = Thread {
        run: machine.run,
        m: &raw const machine.m,
        system: system_stack(),
        signal: [machine.signal, (0, 0)],
        stacks: [
            Small::new(bounds(&machine.stack), &raw const machine.g),
            Small::new((0, 0), null()),
            Small::new((0, 0), null()),
        ],
        landing: Cell::new(Landing::default()),
        fresh: Cell::new(true),
    };
    t.watched(|| {
        let out = kept(&t, arch::mstart_stub as *const (), m as usize, 0, 0);
        t.check("mstart_stub returns NULL", out.value, 0);
        t.check("an ended thread has no g", getg() as usize, 0);
    });
    null::<c_void>().cast_mut()
}
