//! A little of everything, for programs that only have to be linked in some special way: calls from a
//! G, from a handler, from a thread of the layer; parking and coming back.

use nosplit::os::{self, Interrupted, SignalStack, ThreadOptions};
use nosplit::{Errno, G, M, Status, calls, gogo, gostartcallfn, mcall, systemstack};
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, Ordering};

#[repr(align(16))]
struct Stack([u8; 16 << 10]);

static HANDLED: AtomicI32 = AtomicI32::new(0);

/// Runs on its own stack, in two parts.
unsafe extern "C" fn goroutine(line: *mut c_void) {
    unsafe extern "C" fn nothing(_: *mut G, _: *mut c_void) {}

    // SAFETY: `run` passes a line; nobody has descriptor -1.
    unsafe {
        let line = *line.cast::<&str>();
        let written = calls::write(1, line.as_ptr().cast(), line.len());
        assert!(written == Ok(line.len() as isize));
        mcall(nothing, null_mut());
        assert!(calls::close(-1) == Err(Errno::EBADF));
    }
    assert!(calls::raise(libc::SIGUSR1) == Ok(0));
    assert!(systemstack(calls::getpid) == std::process::id() as c_int);
}

unsafe extern "C" fn handler(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void, _: &Interrupted) {
    HANDLED.store(calls::getpid(), Ordering::Relaxed);
}

unsafe extern "C" fn thread(_: *mut M) {
    on_a_g("and from a thread of the layer\n");
}

/// Runs the goroutine on this attached thread.
fn on_a_g(mut line: &str) {
    let mut stack = Box::new(Stack([0; 16 << 10]));
    let g = G::new();
    // SAFETY: the stack, the G and the line outlive the goroutine, which ends in the second gogo.
    unsafe {
        g.init(stack.0.as_mut_ptr().cast(), stack.0.len());
        gostartcallfn(&g, goroutine, (&raw mut line).cast());
        gogo((&raw const g).cast_mut());
        assert_eq!(g.status(), Status::Ready);
        gogo((&raw const g).cast_mut());
    }
    assert_eq!(g.status(), Status::Dead);
}

/// All of it, on a thread that is not attached.
pub fn run() -> Result<(), Errno> {
    let mut signal_stacks = [vec![0u8; 64 << 10], vec![0u8; 64 << 10]];
    let [own, other] = signal_stacks.each_mut().map(|stack| SignalStack {
        lo: stack.as_mut_ptr().cast(),
        size: stack.len(),
    });
    let (m, n) = (Box::new(M::new()), Box::new(M::new()));
    let options = ThreadOptions {
        signal_stack: Some(other),
        ..ThreadOptions::default()
    };
    // SAFETY: the Ms and the signal stacks outlive their threads.
    unsafe {
        os::attach((&raw const *m).cast_mut(), Some(own))?;
        os::install(libc::SIGUSR1, handler, 0)?;
        on_a_g("from a G\n");
        let started = os::newosproc((&raw const *n).cast_mut(), thread, options)?;
        calls::pthread_join(started, null_mut())?;
    }
    assert_eq!(HANDLED.load(Ordering::Relaxed), std::process::id() as c_int);
    os::detach()
}
