//! A scheduler in one file: goroutines on stacks of 4 KiB, the threads that run them, channels
//! between them, and a timer that interrupts it all.
//!
//! ```text
//! cargo run --example scheduler
//! ```
//!
//! The goroutines stand in a row. Each takes a number from its left, adds one and hands it on:
//!
//! ```text
//! source ─> channel ─> stage ─> channel ─> stage ─> ... ─> channel ─> sink
//! ```

use nosplit::os::{self, Interrupted, SignalStack, Stack, ThreadOptions};
use nosplit::{Errno, G, M, calls, getg, gogo, gostartcallfn, mcall};
use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const THREADS: usize = 4;
const STAGES: usize = 32;
const VALUES: usize = 500;
const STACK_SIZE: usize = 4096;
const SIGNAL_STACK_SIZE: usize = 64 << 10;

// A function that the layer does not have: one line makes it callable from any stack.
nosplit::calls! {
    /// Starts or stops a timer. Source: setitimer(2); `sys/time.h`. Errors: EINVAL, EFAULT.
    unsafe fn setitimer(which: c_int, new: *const libc::itimerval, old: *mut libc::itimerval) -> c_int
        = libc::setitimer [fails with -1; in user system no_g];
}

/// A goroutine: the layer's record comes first, so that a pointer to one is a pointer to the other.
#[repr(C)]
struct Goroutine {
    g: G,
    /// The next in the list that it is in: one at most.
    next: Cell<*mut Goroutine>,
}

/// A list of goroutines, linked through them: a small stack is no place to allocate. Last in, first
/// out, which is the shortest. Guarded by the scheduler's lock.
struct List(Cell<*mut Goroutine>);

impl List {
    const fn new() -> List {
        List(Cell::new(null_mut()))
    }

    fn push(&self, g: *mut Goroutine) {
        // SAFETY: goroutines are never freed.
        unsafe { (*g).next.set(self.0.replace(g)) }
    }

    fn pop(&self) -> Option<*mut Goroutine> {
        // SAFETY: as above; null is none.
        let g = unsafe { self.0.get().as_ref() }?;
        Some(self.0.replace(g.next.get()))
    }
}

struct Scheduler {
    /// One lock for everything, channels included.
    lock: UnsafeCell<libc::pthread_mutex_t>,
    /// Signalled when something is runnable, and when nothing is left.
    work: UnsafeCell<libc::pthread_cond_t>,
    runnable: List,
    /// Goroutines that have not ended.
    live: Cell<usize>,
}

// SAFETY: the lock guards every cell.
unsafe impl Sync for Scheduler {}

static SCHEDULER: Scheduler = Scheduler {
    lock: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
    work: UnsafeCell::new(libc::PTHREAD_COND_INITIALIZER),
    runnable: List::new(),
    live: Cell::new(0),
};

impl Scheduler {
    /// A mutex belongs to its thread: a goroutine that parks with it held must have it given back
    /// by that thread.
    fn lock(&self) {
        // SAFETY: initialised, and never moved.
        unsafe { calls::pthread_mutex_lock(self.lock.get()) }.expect("lock");
    }

    fn unlock(&self) {
        // SAFETY: held by this thread.
        unsafe { calls::pthread_mutex_unlock(self.lock.get()) }.expect("unlock");
    }

    fn wake_a_thread(&self) {
        // SAFETY: initialised, and never moved.
        unsafe { calls::pthread_cond_signal(self.work.get()) }.expect("signal");
    }

    /// Makes a goroutine runnable. With the lock held.
    fn ready(&self, g: *mut Goroutine) {
        self.runnable.push(g);
        self.wake_a_thread();
    }

    /// Parks the current goroutine in `list`. With the lock held, before and after.
    ///
    /// Whoever takes it out of the list needs the lock, and that is given back by `parked`, on the
    /// system stack, when nothing runs on the goroutine's stack any more.
    fn park(&self, list: &List) {
        unsafe extern "C" fn parked(_: *mut G, _: *mut c_void) {
            SCHEDULER.unlock();
        }
        list.push(getg().cast());
        // SAFETY: it is in one list, so one thread enters it.
        unsafe { mcall(parked, null_mut()) };
        // On another thread, perhaps.
        self.lock();
    }

    /// The next goroutine to run, or None when all have ended. The thread waits on its system stack.
    fn next(&self) -> Option<*mut Goroutine> {
        self.lock();
        let mut g = self.runnable.pop();
        while g.is_none() && self.live.get() > 0 {
            // SAFETY: both are initialised, and this thread holds the lock.
            unsafe { calls::pthread_cond_wait(self.work.get(), self.lock.get()) }.expect("wait");
            g = self.runnable.pop();
        }
        if g.is_none() {
            // The others may be waiting, and there is nothing to wait for.
            self.wake_a_thread();
        }
        self.unlock();
        g
    }
}

/// What each thread does. gogo returns when the goroutine parks or ends.
unsafe extern "C" fn run(_: *mut M) {
    while let Some(g) = SCHEDULER.next() {
        // SAFETY: it came out of a list, so nobody else enters it.
        unsafe { gogo(g.cast()) }
    }
}

/// A channel with room for one value.
struct Channel {
    value: Cell<Option<usize>>,
    senders: List,
    receivers: List,
}

// SAFETY: the scheduler's lock guards every cell.
unsafe impl Sync for Channel {}

static CHANNELS: [Channel; STAGES + 1] = [const {
    Channel {
        value: Cell::new(None),
        senders: List::new(),
        receivers: List::new(),
    }
}; STAGES + 1];

impl Channel {
    fn send(&self, value: usize) {
        SCHEDULER.lock();
        while self.value.get().is_some() {
            SCHEDULER.park(&self.senders);
        }
        self.value.set(Some(value));
        if let Some(receiver) = self.receivers.pop() {
            SCHEDULER.ready(receiver);
        }
        SCHEDULER.unlock();
    }

    fn receive(&self) -> usize {
        SCHEDULER.lock();
        while self.value.get().is_none() {
            SCHEDULER.park(&self.receivers);
        }
        let value = self.value.take().expect("the lock is held");
        if let Some(sender) = self.senders.pop() {
            SCHEDULER.ready(sender);
        }
        SCHEDULER.unlock();
        value
    }
}

static SUM: AtomicUsize = AtomicUsize::new(0);

/// What each goroutine does; the first is the source, the last is the sink.
unsafe extern "C" fn goroutine(index: *mut c_void) {
    let index = index as usize;
    for value in 1..=VALUES {
        let value = match index {
            0 => value,
            _ => CHANNELS[index - 1].receive() + 1,
        };
        match CHANNELS.get(index) {
            Some(right) => right.send(value),
            None => _ = SUM.fetch_add(value, Relaxed),
        }
    }
    SCHEDULER.lock();
    SCHEDULER.live.update(|live| live - 1);
    SCHEDULER.wake_a_thread();
    SCHEDULER.unlock();
}

static TICKS: AtomicUsize = AtomicUsize::new(0);
static TICKS_IN_GOROUTINES: AtomicUsize = AtomicUsize::new(0);

/// The timer's handler: it runs on the thread's signal stack, and may call.
unsafe extern "C" fn tick(
    _: c_int,
    _: *mut libc::siginfo_t,
    _: *mut c_void,
    interrupted: &Interrupted,
) {
    // SAFETY: there is room for the time, whose zeros are a time.
    let called = unsafe { calls::clock_gettime(libc::CLOCK_MONOTONIC, &mut std::mem::zeroed()) };
    TICKS.fetch_add(called.is_ok().into(), Relaxed);
    TICKS_IN_GOROUTINES.fetch_add((interrupted.stack() == Stack::User).into(), Relaxed);
}

/// Interrupts this process every `microseconds`; 0 stops it.
fn timer(microseconds: libc::suseconds_t) -> Result<(), Errno> {
    // SAFETY: integers, for which zero is a value; and nobody asks for the old timer.
    unsafe {
        let mut timer: libc::itimerval = std::mem::zeroed();
        timer.it_interval.tv_usec = microseconds;
        timer.it_value.tv_usec = microseconds;
        setitimer(libc::ITIMER_REAL, &timer, null_mut())?;
    }
    Ok(())
}

/// `size` bytes for a stack, right above a page on which an overrun dies.
fn map_stack(size: usize) -> Result<*mut c_void, Errno> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
    // SAFETY: asks for a number; then fresh memory, whose first page nobody may use.
    unsafe {
        let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
        let map = calls::mmap(null_mut(), page + size, protection, flags, -1, 0)?;
        calls::mprotect(map, page, libc::PROT_NONE)?;
        Ok(map.byte_add(page))
    }
}

fn main() -> Result<(), Errno> {
    // The goroutines. They and their stacks live as long as the process.
    for index in 0..=STAGES + 1 {
        let record = Box::leak(Box::new(Goroutine {
            g: G::new(),
            next: Cell::new(null_mut()),
        }));
        // SAFETY: the stack is the goroutine's alone.
        unsafe {
            record.g.init(map_stack(STACK_SIZE)?, STACK_SIZE);
            gostartcallfn(&record.g, goroutine, index as *mut c_void);
        }
        SCHEDULER.ready(record);
        SCHEDULER.live.set(index + 1);
    }

    // SAFETY: the handler does only what a handler may.
    unsafe { os::install(libc::SIGALRM, tick, libc::SA_RESTART) }?;
    timer(200)?;

    // The threads. They may not move either: a static is the simplest place.
    static MS: [M; THREADS] = [const { M::new() }; THREADS];
    let mut threads = Vec::new();
    for m in &MS {
        let signal_stack = Some(SignalStack {
            lo: map_stack(SIGNAL_STACK_SIZE)?,
            size: SIGNAL_STACK_SIZE,
        });
        let options = ThreadOptions {
            signal_stack,
            ..Default::default()
        };
        // SAFETY: neither the M nor its signal stack is ever freed.
        threads.push(unsafe { os::newosproc((&raw const *m).cast_mut(), run, options) }?);
    }

    // SAFETY: zeros are a set; each thread is joined once.
    unsafe {
        // They took our mask over. From here on the timer interrupts them, and not this wait.
        let mut alarm = std::mem::zeroed();
        libc::sigaddset(&mut alarm, libc::SIGALRM);
        calls::pthread_sigmask(libc::SIG_BLOCK, &alarm, null_mut())?;
        for thread in threads {
            calls::pthread_join(thread, null_mut())?;
        }
    }
    timer(0)?;

    let sum = SUM.load(Relaxed);
    assert_eq!(sum, VALUES * (VALUES + 1) / 2 + VALUES * (STAGES + 1));
    println!("sum {sum}: {VALUES} values through {STAGES} goroutines on {THREADS} threads");
    println!("ticks {TICKS:?}, {TICKS_IN_GOROUTINES:?} of them on a goroutine's stack");
    Ok(())
}
