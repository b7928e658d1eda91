//! What the integration tests share: stacks with a guard page, and a way to run a closure on one.
#![allow(dead_code, reason = "each test takes what it needs")]

use nosplit::os::{SignalStack, attach, detach};
use nosplit::{G, M, Status, gogo, gostartcallfn};
use std::ffi::c_void;
use std::ptr::null_mut;

/// The page size of this machine, in bytes.
pub fn page() -> usize {
    // SAFETY: asks for a number.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// A stack with an inaccessible page below it, on which an overrun dies.
pub struct Stack {
    map: *mut c_void,
    mapped: usize,
    size: usize,
}

impl Stack {
    /// `size` bytes, a multiple of 16, directly above a guard page.
    pub fn new(size: usize) -> Stack {
        Stack::at(null_mut(), size)
    }

    /// The same, near `hint` where the kernel agrees.
    pub fn at(hint: *mut c_void, size: usize) -> Stack {
        assert!(size.is_multiple_of(16));
        let page = page();
        let mapped = page + size.next_multiple_of(page);
        // SAFETY: fresh memory; the guard is part of it.
        let map = unsafe {
            let map = libc::mmap(
                hint,
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANON,
                -1,
                0,
            );
            assert_ne!(map, libc::MAP_FAILED);
            assert_eq!(libc::mprotect(map, page, libc::PROT_NONE), 0);
            map
        };
        Stack { map, mapped, size }
    }

    /// The lowest usable address: the guard page ends there.
    pub fn lo(&self) -> *mut c_void {
        self.map.wrapping_byte_add(page())
    }

    /// The first address above.
    pub fn hi(&self) -> *mut c_void {
        self.lo().wrapping_byte_add(self.size)
    }

    /// Bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Is this address on it?
    pub fn contains(&self, address: usize) -> bool {
        (self.lo() as usize..self.hi() as usize).contains(&address)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: mapped by `at`, and nothing runs on it any more.
        unsafe { assert_eq!(libc::munmap(self.map, self.mapped), 0) };
    }
}

/// Runs `f` on this thread, attached, with a signal stack of 64 KiB.
pub fn attached<R>(f: impl FnOnce(&M) -> R) -> R {
    let signal = Stack::new(64 << 10);
    let signal_stack = SignalStack {
        lo: signal.lo(),
        size: signal.size(),
    };
    with_m(Some(signal_stack), f)
}

/// Runs `f` on this thread, attached, without a signal stack of the layer.
pub fn attached_without_signal_stack<R>(f: impl FnOnce(&M) -> R) -> R {
    with_m(None, f)
}

fn with_m<R>(signal_stack: Option<SignalStack>, f: impl FnOnce(&M) -> R) -> R {
    let m = Box::new(M::new());
    // SAFETY: the M and the signal stack outlive the detach.
    unsafe { attach((&raw const *m).cast_mut(), signal_stack) }.expect("attach");
    let result = f(&m);
    detach().expect("detach");
    result
}

/// Runs `f` on a G of that stack, on this attached thread, and returns its result.
///
/// `f` may use as much of the stack as there is; a panic in it aborts.
pub fn on_g<R>(stack: &Stack, f: impl FnOnce() -> R) -> R {
    struct Job<F, R> {
        f: Option<F>,
        result: Option<R>,
    }

    unsafe extern "C" fn entry<F: FnOnce() -> R, R>(job: *mut c_void) {
        // SAFETY: on_g passes its own Job, which outlives the G.
        let job = unsafe { &mut *job.cast::<Job<F, R>>() };
        if let Some(f) = job.f.take() {
            job.result = Some(f());
        }
    }

    fn entry_of<F: FnOnce() -> R, R>(_: &Job<F, R>) -> unsafe extern "C" fn(*mut c_void) {
        entry::<F, R>
    }

    let mut job = Job {
        f: Some(f),
        result: None,
    };
    let g = G::new();
    // SAFETY: the stack, the G and the job outlive the goroutine, which ends before gogo returns.
    unsafe {
        g.init(stack.lo(), stack.size());
        gostartcallfn(&g, entry_of(&job), (&raw mut job).cast());
        gogo((&raw const g).cast_mut());
    }
    assert_eq!(
        g.status(),
        Status::Dead,
        "the goroutine parked, and nobody enters it again"
    );
    job.result.expect("the goroutine ran")
}
