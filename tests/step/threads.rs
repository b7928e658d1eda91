//! The threads that are stepped: one of the test's own, lap after lap, and for each lap one of the
//! layer's.

use crate::family::{all_rows, kept};
use crate::shim::unstepped;
use crate::support::Stack;
use crate::transitions::{Lap, goroutine, interrupt, lap};
use crate::watch::{Landing, Run, Small, Thread};
use nosplit::os::{SignalStack, ThreadOptions, newosproc};
use nosplit::{G, M, arch, getg};
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{null, null_mut};

/// Bytes of a stack: room for two signal frames, each with all vector registers.
const STACK: usize = 128 << 10;

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
