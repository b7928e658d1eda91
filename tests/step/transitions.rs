//! The transitions, as a runtime makes them: what a stepped thread does, and checks.

use crate::family::{
    Calls, all_rows, call_around, checked_rows, errno, family, kept, nested, nested_once, sample,
    set_errno,
};
use crate::shim::{here, stepped, unstepped};
use crate::support::Stack;
use crate::watch::{Landing, Place, Thread, pid};
use corosensei::stack::StackPointer;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use nosplit::os::{Interrupted, SignalStack, attach, detach};
use nosplit::{
    G, Status, arch, enter, getg, gogo, gosave, gostartcallfn, leave, mcall, systemstack,
};
use std::cell::Cell;
use std::ffi::{c_int, c_void};

/// SIGUSR1 to this thread: its handler is stepped from sigtramp's first instruction to its last.
pub fn interrupt(t: &Thread) {
    extern "C" fn send() -> c_int {
        // SAFETY: a signal with a handler.
        unsafe { libc::syscall(libc::SYS_tgkill, pid(), libc::gettid(), libc::SIGUSR1) as c_int }
    }
    let before = HANDLED.get();
    set_errno(4010);
    let out = kept(t, send as *const (), 0, 0, 0);
    t.check("tgkill", out.value as u32 as usize, 0);
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

/// The goroutine's job.
struct Goroutine<'a> {
    t: &'a Thread,
    g: &'a G,
    coroutines: Option<&'a [(Stack, G); 2]>,
    parked: Cell<u32>,
    ended: Cell<bool>,
}

/// gogo, twice: the goroutine parks in the middle.
pub fn goroutine(t: &Thread, stack: &Stack, g: &G, coroutines: Option<&[(Stack, G); 2]>) {
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
        t.check("goentry's stack is aligned", misalignment(), 0);
        family(t, false, None);
        all_rows(t);
        checked_rows(t);
        call_around(t, nested);
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

/// How far SP of the caller is from the 16-byte boundary that the ABI wants.
#[inline(never)]
fn misalignment() -> usize {
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
            match calls {
                Calls::Family => call_around(t, nested),
                Calls::Sample => call_around(t, nested_once),
            }
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

/// What a lap needs.
pub struct Lap<'a> {
    pub t: &'a Thread,
    pub signal_stack: Option<SignalStack>,
    pub stack: &'a Stack,
    pub g: &'a G,
    pub coroutines: &'a [(Stack, G); 2],
}

/// Every transition, once: on a thread without g, attached, in a G, in coroutines, detached.
pub fn lap(lap: &Lap) {
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
