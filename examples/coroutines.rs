//! Another library's coroutines: two calls around each resume, and libc has a big stack again.
//!
//! ```text
//! cargo run --example coroutines
//! ```
//!
//! corosensei switches stacks by itself, so the layer must be told where SP is about to go: `enter`
//! before a resume, `leave` behind it. Then every call from a coroutine runs on the system stack of
//! its thread, also from a coroutine that another one resumed:
//!
//! ```text
//! thread ──enter, resume──> outer ──enter, resume──> inner
//!   ^                         │                        │
//!   └─────── libc runs here <─┴────────────────────────┘
//! ```

use corosensei::stack::{DefaultStack, Stack};
use corosensei::{Coroutine, CoroutineResult, Yielder};
use nosplit::{Errno, G, M, calls, enter, leave, os};
use std::ffi::c_void;
use std::hint::black_box;

static THREAD: M = M::new();

/// A coroutine and the record that tells the layer of its stack.
struct Fiber {
    // Boxed: a G must not move.
    g: Box<G>,
    coroutine: Coroutine<(), (), ()>,
}

impl Fiber {
    fn new(body: impl FnOnce(&Yielder<(), ()>) + 'static) -> Fiber {
        let stack = DefaultStack::new(16 << 10).expect("memory for a stack");
        let (lo, hi) = (stack.limit().get(), stack.base().get());
        let g = Box::new(G::new());
        // SAFETY: the stack lives as long as the coroutine, and is nothing else's.
        unsafe { g.init(lo as *mut c_void, hi - lo) };
        let coroutine = Coroutine::with_stack(stack, |yielder, ()| body(yielder));
        Fiber { g, coroutine }
    }

    /// Runs it until it suspends, which is true, or ends.
    fn resume(&mut self) -> bool {
        // The layer is told also when the coroutine panics: corosensei throws it on to us.
        struct Leave(*mut G);
        impl Drop for Leave {
            fn drop(&mut self) {
                // SAFETY: the resume is over.
                unsafe { leave(self.0) }
            }
        }
        let g = &raw mut *self.g;
        // SAFETY: the bounds are those of the coroutine's stack, and the resume comes next.
        unsafe { enter(g) };
        let _leave = Leave(g);
        matches!(self.coroutine.resume(()), CoroutineResult::Yield(()))
    }
}

/// A C function that says where its own frame is.
extern "C" fn own_frame() -> usize {
    let local = 0u8;
    black_box(&raw const local) as usize
}

nosplit::calls! {
    /// Where the frame of a C function lies that is called by the layer.
    fn frame() -> usize = own_frame [never fails; in user system signal no_g];
}

/// Calls libc from here, and checks and prints on which stack it ran.
fn report(who: &str) {
    // SAFETY: g of an attached thread is live: that of the coroutine, or g0.
    let own = unsafe { &*nosplit::getg() };
    assert!(own.contains(own_frame()), "{who} runs on its own stack");
    // SAFETY: g0 lives as long as its M.
    let system = unsafe { &*THREAD.g0() };
    assert!(
        system.contains(frame()),
        "what it calls runs on the system stack"
    );

    let line = format!("{who:6}  runs on its own stack, and what it calls on the system stack\n");
    // SAFETY: the buffer is as long as it says.
    let written = unsafe { calls::write(1, line.as_ptr().cast(), line.len()) };
    assert_eq!(written, Ok(line.len() as isize));
}

fn main() -> Result<(), Errno> {
    // SAFETY: the M is static, and detached below.
    unsafe { os::attach((&raw const THREAD).cast_mut(), None) }?;

    let mut outer = Fiber::new(|outer| {
        let mut inner = Fiber::new(|inner| {
            report("inner");
            inner.suspend(());
            report("inner");
        });
        report("outer");
        while inner.resume() {
            report("outer");
            // It may suspend while a coroutine of its own is suspended.
            outer.suspend(());
        }
    });
    report("thread");
    while outer.resume() {
        report("thread");
    }

    os::detach()
}
