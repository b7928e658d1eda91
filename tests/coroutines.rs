//! A library that switches stacks by itself needs two calls, enter and leave: corosensei's
//! coroutines call from wherever they are resumed, and libc runs on the system stack.

#[path = "support/signals.rs"]
mod signals;
mod support;

use corosensei::stack::{DefaultStack, Stack as _};
use corosensei::{Coroutine, CoroutineResult, Yielder};
use nosplit::os::Stack as Where;
use nosplit::{
    Errno, G, Status, calls, enter, getg, gogo, gostartcallfn, leave, mcall, systemstack,
};
use signals::{in_handler, without_signal_stack};
use std::cell::Cell;
use std::ffi::c_void;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::rc::Rc;
use support::{Stack, attached, attached_without_signal_stack, on_g};

/// A coroutine and the record that tells the layer of its stack.
struct Fiber<R> {
    g: Box<G>,
    coroutine: Coroutine<(), (), R>,
}

impl<R: 'static> Fiber<R> {
    fn new(body: impl FnOnce(&Yielder<(), ()>) -> R + 'static) -> Fiber<R> {
        let stack = DefaultStack::new(128 << 10).expect("memory for a stack");
        let (lo, hi) = (stack.limit().get(), stack.base().get());
        let g = Box::new(G::new());
        // SAFETY: the stack lives as long as the coroutine, and is nothing else's.
        unsafe { g.init(lo as *mut c_void, hi - lo) };
        let coroutine = Coroutine::with_stack(stack, |yielder, ()| body(yielder));
        Fiber { g, coroutine }
    }

    /// Runs it until it suspends, or ends with a result.
    fn resume(&mut self) -> Option<R> {
        struct Leave(*mut G);
        impl Drop for Leave {
            fn drop(&mut self) {
                // SAFETY: the resume is over, by a panic perhaps.
                unsafe { leave(self.0) }
            }
        }
        let g = &raw mut *self.g;
        // SAFETY: the bounds are those of the coroutine's stack, and the resume comes next.
        unsafe { enter(g) };
        let _leave = Leave(g);
        match self.coroutine.resume(()) {
            CoroutineResult::Yield(()) => None,
            CoroutineResult::Return(result) => Some(result),
        }
    }

    /// Runs it to its end, however often it suspends.
    fn finish(mut self) -> R {
        loop {
            if let Some(result) = self.resume() {
                return result;
            }
        }
    }
}

/// An address in the frame of whoever asks.
#[inline(never)]
fn here() -> usize {
    let local = 0u8;
    black_box(&raw const local) as usize
}

/// A C function that needs 16 KiB of stack, and says where.
extern "C" fn spread_out() -> usize {
    let mut stack = [0x5au8; 16 << 10];
    black_box(&mut stack).as_ptr() as usize
}

nosplit::calls! {
    /// Where the frame of a C function lies that is called by the layer.
    fn callee() -> usize = spread_out [never fails; in user system signal no_g];
}

/// Calls from here; what runs here must be a coroutine, or a G.
fn call_from_a_small_stack() {
    // SAFETY: g, its M and its g0 are live.
    let (g, g0) = unsafe { (&*getg(), &*(*(*getg()).m()).g0()) };
    assert!(g.contains(here()), "g is the one whose stack this is");
    call_onto(g0);
}

/// Calls from the system stack.
fn call_from_the_system_stack() {
    // SAFETY: as above.
    let g0 = unsafe { &*(*(*getg()).m()).g0() };
    assert!(g0.contains(here()));
    call_onto(g0);
}

fn call_onto(g0: &G) {
    assert!(g0.contains(callee()), "libc runs on the system stack");
    // SAFETY: it fails.
    assert_eq!(unsafe { calls::close(-1) }, Err(Errno::EBADF));
    assert!(systemstack(|| g0.contains(here())));
}

/// A coroutine that resumes a coroutine, and so on; each calls before and behind that.
fn nest(depth: usize) -> usize {
    call_from_a_small_stack();
    let below = match depth {
        0 => 0,
        _ => Fiber::new(move |yielder| {
            let below = nest(depth - 1);
            yielder.suspend(());
            call_from_a_small_stack();
            below
        })
        .finish(),
    };
    call_from_a_small_stack();
    below + 1
}

#[test]
fn coroutines_call_at_every_depth_wherever_they_are_resumed() {
    const DEPTH: usize = 10;
    let tree = || Fiber::new(|_| nest(DEPTH)).finish();
    attached(|_| {
        let stack = Stack::new(64 << 10);
        // On g0.
        assert_eq!(tree(), DEPTH + 1);
        call_from_the_system_stack();
        // On a G.
        let nested = on_g(&stack, || {
            let nested = tree();
            call_from_a_small_stack();
            nested
        });
        assert_eq!(nested, DEPTH + 1);
        // On the system stack of a G, and on a G again.
        let nested = on_g(&stack, || {
            let nested = systemstack(|| {
                let nested = tree();
                call_from_the_system_stack();
                nested
            });
            call_from_a_small_stack();
            nested + tree()
        });
        assert_eq!(nested, 2 * (DEPTH + 1));
        // On the system stack of a coroutine.
        let nested = Fiber::new(move |_| {
            let nested = systemstack(tree);
            call_from_a_small_stack();
            nested
        });
        assert_eq!(nested.finish(), DEPTH + 1);
    });
}

#[test]
fn a_coroutine_may_suspend_as_often_as_it_likes() {
    const TIMES: usize = 20_000;
    let counter = || {
        Fiber::new(|yielder| {
            let mut sum = 0;
            for i in 0..TIMES {
                sum += i;
                yielder.suspend(());
                assert_eq!(calls::getpid() as u32, std::process::id());
            }
            call_from_a_small_stack();
            sum
        })
    };
    attached(|_| {
        assert_eq!(counter().finish(), TIMES * (TIMES - 1) / 2);
        // Two in turns, and a third that resumes them.
        let (mut first, mut second) = (counter(), counter());
        let both = Fiber::new(move |_| {
            let mut sum = 0;
            for _ in 0..=TIMES {
                sum += first.resume().unwrap_or(0);
                sum += second.resume().unwrap_or(0);
            }
            call_from_a_small_stack();
            sum
        });
        assert_eq!(both.finish(), TIMES * (TIMES - 1));
    });
}

#[test]
fn a_coroutine_goes_on_under_whoever_resumes_it() {
    attached(|_| {
        let (first, second) = (Stack::new(64 << 10), Stack::new(64 << 10));
        let mut fiber = Fiber::new(|yielder| {
            for round in 1.. {
                call_from_a_small_stack();
                yielder.suspend(());
                if round == 4 {
                    break;
                }
            }
        });
        assert!(on_g(&first, || fiber.resume()).is_none());
        assert!(on_g(&second, || systemstack(|| fiber.resume())).is_none());
        assert!(fiber.resume().is_none());
        // Another thread, too: corosensei keeps nothing in the thread, and neither does this one.
        struct Sent<'a>(&'a mut Fiber<()>);
        // SAFETY: as just said.
        unsafe impl Send for Sent<'_> {}
        let sent = Sent(&mut fiber);
        std::thread::scope(|scope| {
            let there = scope.spawn(move || {
                let sent = sent;
                attached(|_| sent.0.resume())
            });
            assert!(there.join().expect("the thread").is_none());
        });
        assert!(on_g(&first, || fiber.resume()).is_some());
        assert_eq!(fiber.g.status(), Status::Idle);
        assert!(fiber.g.m().is_null());
    });
}

/// A G parks while a coroutine of its own is suspended, and another G of the thread has one too.
#[test]
fn a_g_may_park_between_two_resumes() {
    unsafe extern "C" fn entry(done: *mut c_void) {
        let mut fiber = Fiber::new(|yielder| {
            for _ in 0..3 {
                call_from_a_small_stack();
                yielder.suspend(());
            }
        });
        while fiber.resume().is_none() {
            call_from_a_small_stack();
            // SAFETY: the test enters it again.
            unsafe { mcall(keep, null_mut()) };
            call_from_a_small_stack();
        }
        // SAFETY: the test's counter.
        unsafe { *done.cast::<usize>() += 1 };
    }
    unsafe extern "C" fn keep(_: *mut G, _: *mut c_void) {}

    attached(|_| {
        let stacks = [Stack::new(64 << 10), Stack::new(64 << 10)];
        let gs = [G::new(), G::new()];
        let mut done = 0usize;
        for (g, stack) in gs.iter().zip(&stacks) {
            // SAFETY: the stack is the G's; it ends before the test does.
            unsafe {
                g.init(stack.lo(), stack.size());
                gostartcallfn(g, entry, (&raw mut done).cast());
            }
        }
        while gs.iter().any(|g| g.status() != Status::Dead) {
            for g in gs.iter().filter(|g| g.status() == Status::Ready) {
                // SAFETY: it is parked.
                unsafe { gogo((&raw const *g).cast_mut()) };
            }
        }
        assert_eq!(done, 2);
    });
}

/// There g is the child's, and SP is on the stack of one that it was resumed from.
#[test]
fn on_the_parents_stack_a_coroutine_can_be_resumed() {
    struct Here<T>(T);
    // SAFETY: corosensei asks for it, and stays on this thread.
    unsafe impl<T> Send for Here<T> {}
    let tree = || {
        Fiber::new(|yielder| {
            let inner = Here(Fiber::new(|yielder| {
                call_from_a_small_stack();
                let innermost = Here(Fiber::new(|_| nest(2)));
                let nested = yielder.on_parent_stack(move || { innermost }.0.finish());
                call_from_a_small_stack();
                nested
            }));
            let nested = yielder.on_parent_stack(move || { inner }.0.finish());
            call_from_a_small_stack();
            nested
        })
        .finish()
    };
    attached(|_| {
        assert_eq!(tree(), 3);
        assert_eq!(on_g(&Stack::new(64 << 10), tree), 3);
        assert_eq!(Fiber::new(move |_| tree()).finish(), 3);
    });
}

/// corosensei can run a closure on the stack of whoever resumed it. SP decides, not g.
#[test]
fn on_the_parents_stack_calls_go_where_the_parents_would() {
    fn look() -> (usize, usize) {
        (here(), callee())
    }
    let visit = || Fiber::new(|yielder| (yielder.on_parent_stack(look), here())).finish();
    attached(|m| {
        // SAFETY: it is this thread's.
        let g0 = unsafe { &*m.g0() };
        let ((own, callee), coroutine) = visit();
        assert!(g0.contains(own) && g0.contains(callee));
        assert!(!g0.contains(coroutine));

        let stack = Stack::new(64 << 10);
        let ((own, callee), _) = on_g(&stack, visit);
        assert!(stack.contains(own) && g0.contains(callee));

        let ((own, callee), coroutine) = Fiber::new(move |_| visit()).finish();
        assert!(!g0.contains(own) && own.abs_diff(coroutine) > 64 << 10);
        assert!(g0.contains(callee));
    });
}

#[test]
fn a_handler_that_interrupts_a_coroutine_calls_too() {
    struct Found {
        stack: Where,
        g: *mut G,
        own: usize,
        callee: usize,
    }
    /// A coroutine that is interrupted, in a coroutine that is, too.
    fn interrupted() -> [(Found, *mut G); 3] {
        let interrupt = || {
            let found = in_handler(libc::SIGUSR1, |interrupted| Found {
                stack: interrupted.stack(),
                g: interrupted.g,
                own: here(),
                callee: callee(),
            });
            (found, getg())
        };
        Fiber::new(move |yielder| {
            let before = interrupt();
            yielder.suspend(());
            let inner = Fiber::new(move |_| interrupt()).finish();
            [before, inner, interrupt()]
        })
        .finish()
    }
    let stack = Stack::new(64 << 10);
    attached(|m| {
        // SAFETY: it is this thread's.
        let gsignal = unsafe { &*m.gsignal() };
        for (found, g) in [interrupted(), on_g(&stack, interrupted)]
            .into_iter()
            .flatten()
        {
            assert_eq!((found.stack, found.g), (Where::User, g));
            assert!(gsignal.contains(found.own) && gsignal.contains(found.callee));
        }
    });
    without_signal_stack(|| {
        attached_without_signal_stack(|m| {
            // SAFETY: it is this thread's.
            let g0 = unsafe { &*m.g0() };
            for (found, g) in [interrupted(), on_g(&stack, interrupted)]
                .into_iter()
                .flatten()
            {
                assert_eq!((found.stack, found.g), (Where::User, g));
                assert!(!g0.contains(found.own) && g0.contains(found.callee));
            }
        });
    });
}

/// What nobody has told the layer of is foreign: calls stay there, as on any thread.
#[test]
fn a_coroutine_that_was_not_entered_calls_on_its_own_stack() {
    let foreign = || {
        let stack = DefaultStack::new(128 << 10).expect("memory for a stack");
        let (lo, hi) = (stack.limit().get(), stack.base().get());
        let mut coroutine = Coroutine::<(), (), (), _>::with_stack(stack, move |_, ()| {
            assert!((lo..hi).contains(&here()) && (lo..hi).contains(&callee()));
            let stack = in_handler(libc::SIGUSR1, |interrupted| interrupted.stack());
            assert_eq!(stack, Where::Foreign);
            assert_eq!(systemstack(|| 7), 7);
        });
        assert!(coroutine.resume(()).as_return().is_some());
    };
    foreign();
    attached(|_| {
        foreign();
        on_g(&Stack::new(64 << 10), foreign);
        Fiber::new(move |_| foreign()).finish();
    });
}

#[test]
fn a_panic_in_a_coroutine_reaches_whoever_resumed_it() {
    let caught = || {
        let inner = Fiber::new(|_| -> () { panic!("in a coroutine, on purpose") });
        let payload = catch_unwind(AssertUnwindSafe(|| inner.finish())).expect_err("it panics");
        assert_eq!(
            payload.downcast_ref::<&str>(),
            Some(&"in a coroutine, on purpose")
        );
    };
    attached(|_| {
        caught();
        call_from_the_system_stack();
        let outer = Fiber::new(move |_| {
            caught();
            call_from_a_small_stack();
        });
        outer.finish();
        on_g(&Stack::new(128 << 10), || {
            caught();
            call_from_a_small_stack();
        });
    });
}

/// A coroutine that is dropped while it is suspended is unwound by its library, which runs it once
/// more: that is a resume like any other.
#[test]
fn a_suspended_coroutine_can_be_unwound() {
    struct CallWhenDropped(Rc<Cell<bool>>);
    impl Drop for CallWhenDropped {
        fn drop(&mut self) {
            call_from_a_small_stack();
            self.0.set(true);
        }
    }
    attached(|_| {
        let dropped = Rc::new(Cell::new(false));
        let guard = CallWhenDropped(dropped.clone());
        let mut fiber = Fiber::new(move |yielder| {
            let _guard = guard;
            yielder.suspend(());
        });
        assert!(fiber.resume().is_none());
        let g = &raw mut *fiber.g;
        // SAFETY: as for a resume.
        unsafe {
            enter(g);
            fiber.coroutine.force_unwind();
            leave(g);
        }
        assert!(dropped.get());
        call_from_the_system_stack();
    });
}
