//! G and M: the records of a goroutine and of a thread.

use crate::fatal::fatal;
use core::cell::Cell;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering, compiler_fence};
use static_assertions::const_assert;

/// A goroutine's record: its stack, its saved context, its M.
///
/// A runtime embeds it as the first field of its own record. A G is shared by address: it must not
/// move, nor be freed, between [`G::init`] and its end.
///
/// All fields are the layer's. Stacks grow down, from `hi` to `lo`; addresses and sizes are in bytes.
/// The methods may be called in every context. Source: Go's `runtime.g`.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct G {
    // What asmcgocall reads and writes, in one cache line. Offsets are taken by `offset_of!`.
    /// The lowest address of the user stack.
    pub(crate) lo: Cell<usize>,
    /// Its size in bytes: 0 for g0 and gsignal, which no SP is inside of.
    pub(crate) size: Cell<usize>,
    /// `size`, but 0 while a handler of the layer runs on the thread.
    pub(crate) open_size: Cell<usize>,
    /// Where asmcgocall puts SP: 16-aligned, below every live frame of the system stack.
    pub(crate) system_sp: Cell<usize>,
    /// The G that resumed this one on its own stack, under another coroutine library; else null.
    pub(crate) parent: Cell<*mut G>,
    /// The outermost C call: asmcgocall's frame pointer, with the caller's PC beside it. It means
    /// something only while SP is outside the stack of this G.
    pub(crate) record: Cell<usize>,
    /// The M that runs it; null while none does.
    pub(crate) m: AtomicPtr<M>,
    /// SP of the image that gogo enters.
    pub(crate) sched_sp: Cell<usize>,

    /// How many handlers of the layer run on the thread, while this is its g.
    pub(crate) handling: AtomicU32,
    /// A [`Status`].
    pub(crate) status: AtomicU32,
    /// The first address above the stack: of g0 and gsignal too.
    pub(crate) hi: Cell<usize>,
    /// What [`crate::leave`] goes back to.
    pub(crate) previous: Cell<*mut G>,
}

const_assert!(core::mem::offset_of!(G, sched_sp) < 64);

// SAFETY: `m` is taken by compare-and-swap before a G is entered; whoever holds it owns the rest.
unsafe impl Send for G {}
// SAFETY: as above.
unsafe impl Sync for G {}

/// Where a G is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Status {
    /// It has no stack yet.
    New = 0,
    /// It has a stack, and nothing to run: for `enter`, or before `gostartcallfn`.
    Idle = 1,
    /// `gogo` may enter it.
    Ready = 2,
    /// It runs, entered by `gogo`.
    Running = 3,
    /// It runs, entered by `enter`.
    Entered = 4,
    /// Its entry function has returned. `gostartcallfn` gives it another.
    Dead = 5,
}

impl Default for G {
    fn default() -> G {
        G::new()
    }
}

impl G {
    /// A G without a stack.
    pub const fn new() -> G {
        G {
            lo: Cell::new(0),
            size: Cell::new(0),
            open_size: Cell::new(0),
            system_sp: Cell::new(0),
            parent: Cell::new(null_mut()),
            record: Cell::new(0),
            m: AtomicPtr::new(null_mut()),
            sched_sp: Cell::new(0),
            handling: AtomicU32::new(0),
            status: AtomicU32::new(Status::New as u32),
            hi: Cell::new(0),
            previous: Cell::new(null_mut()),
        }
    }

    /// Gives a G the `size` bytes of stack from `lo`.
    ///
    /// The layer neither allocates nor frees it, and puts no guard below it. Bounds that are empty,
    /// run over the end of memory or are not 16-aligned, and a G that runs, abort in one line.
    ///
    /// # Safety
    ///
    /// The memory must be writable and the G's alone until it has ended.
    pub unsafe fn init(&self, lo: *mut c_void, size: usize) {
        let lo = lo as usize;
        if size == 0 {
            fatal("G::init", "the stack is empty", None);
        }
        if lo.checked_add(size).is_none() {
            fatal("G::init", "the stack's bounds are reversed", None);
        }
        if !lo.is_multiple_of(16) || !size.is_multiple_of(16) {
            fatal("G::init", "the stack's bounds are not 16-aligned", None);
        }
        if lo == 0 {
            fatal("G::init", "the stack is at the null address", None);
        }
        if matches!(self.status(), Status::Running | Status::Entered) {
            fatal("G::init", "the G is running", None);
        }
        self.lo.set(lo);
        self.hi.set(lo + size);
        self.size.set(size);
        self.open_size.set(size);
        self.set_status(Status::Idle);
    }

    /// The lowest address of its stack, and the first one above it; of a g0 the bounds that pthread
    /// gives, of a gsignal those of the signal stack. Two zeros where there is none.
    pub fn stack(&self) -> (usize, usize) {
        (self.lo.get(), self.hi.get())
    }

    /// Is this address on its stack?
    pub fn contains(&self, address: usize) -> bool {
        self.lo.get() <= address && address < self.hi.get()
    }

    /// Gives g0 or gsignal its bounds, which the switch does not see. A handler that looks in the
    /// midst of it finds them empty.
    pub(crate) fn set_bounds(&self, lo: usize, hi: usize) {
        self.hi.set(0);
        compiler_fence(Ordering::SeqCst);
        self.lo.set(lo);
        compiler_fence(Ordering::SeqCst);
        self.hi.set(hi);
    }

    /// Where it is in its life.
    pub fn status(&self) -> Status {
        match self.status.load(Ordering::Acquire) {
            0 => Status::New,
            1 => Status::Idle,
            2 => Status::Ready,
            3 => Status::Running,
            4 => Status::Entered,
            _ => Status::Dead,
        }
    }

    pub(crate) fn set_status(&self, status: Status) {
        self.status.store(status as u32, Ordering::Release);
    }

    /// The M that runs it, or null.
    pub fn m(&self) -> *mut M {
        self.m.load(Ordering::Acquire)
    }

    /// The SP that [`crate::gosave`] or [`crate::mcall`] published: the callee-saved registers and
    /// every frame of a parked G lie between it and the top of the stack.
    pub fn sched_sp(&self) -> usize {
        self.sched_sp.get()
    }

    /// The frame pointer of the outermost asmcgocall from its stack, with its caller's PC beside it, as
    /// in every frame: where a walk of the stack begins while the G is in C. 0 before the first call;
    /// it means something only while SP is outside its stack and PC outside the entries.
    pub fn record(&self) -> usize {
        self.record.get()
    }
}

/// A thread's record: its g0, its gsignal, its handle.
///
/// A runtime embeds it as the first field of its own record. It must neither move nor be freed from
/// [`crate::os::attach`] or [`crate::os::newosproc`] until the thread has detached or ended.
/// The methods may be called in every context. Source: Go's `runtime.m`.
#[derive(Debug)]
#[repr(C)]
pub struct M {
    /// The G of the system stack. Its size is 0: no SP is inside of it.
    pub(crate) g0: G,
    /// The G of the signal stack, likewise.
    pub(crate) gsignal: G,
    /// The thread, for pthread_kill and pthread_join.
    pub(crate) thread: AtomicUsize,
    /// What a new thread runs.
    pub(crate) start: Cell<Option<unsafe extern "C" fn(*mut M)>>,
    /// The mask that a new thread takes once it can handle signals.
    pub(crate) sigmask: Cell<libc::sigset_t>,
    /// The signal stack that the thread had before.
    pub(crate) previous_altstack: Cell<libc::stack_t>,
    /// Is a thread attached?
    pub(crate) attached: AtomicU32,
}

// SAFETY: written by its own thread, or by its creator before that thread runs.
unsafe impl Send for M {}
// SAFETY: as above; `thread` and `attached` are atomic.
unsafe impl Sync for M {}

impl Default for M {
    fn default() -> M {
        M::new()
    }
}

impl M {
    /// An M without a thread.
    pub const fn new() -> M {
        M {
            g0: G::new(),
            gsignal: G::new(),
            thread: AtomicUsize::new(0),
            start: Cell::new(None),
            // SAFETY: an integer or an array of them.
            sigmask: Cell::new(unsafe { core::mem::zeroed() }),
            previous_altstack: Cell::new(libc::stack_t {
                ss_sp: null_mut(),
                ss_flags: libc::SS_DISABLE,
                ss_size: 0,
            }),
            attached: AtomicU32::new(0),
        }
    }

    /// The G of the system stack.
    pub fn g0(&self) -> *mut G {
        (&raw const self.g0).cast_mut()
    }

    /// The G of the signal stack.
    pub fn gsignal(&self) -> *mut G {
        (&raw const self.gsignal).cast_mut()
    }

    /// The thread; 0 before it has one.
    pub fn thread(&self) -> libc::pthread_t {
        self.thread.load(Ordering::Acquire) as libc::pthread_t
    }
}
