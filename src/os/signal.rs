//! Signal handlers that may call the layer.

use crate::arch;
use crate::calls;
use crate::errno::Errno;
use crate::g::{G, M};
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

/// A handler of the layer: the signal, what the kernel says of it, the interrupted registers (a
/// `ucontext_t`), and what the layer knows of where they were.
///
/// It runs on the thread's signal stack, with every other signal blocked; it may call every row that
/// allows the context `signal`; it must return. errno and the callee-saved registers of the
/// interrupted code are kept by the entry. A panic in it prints its message and aborts, if the signal
/// stack has the room that Rust's std wants for it, some 24 KiB.
pub type Handler = unsafe extern "C" fn(
    signal: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
    interrupted: &Interrupted,
);

/// What a signal interrupted.
#[derive(Clone, Copy, Debug)]
pub struct Interrupted {
    /// g of the thread at that moment; null where there was none. Between gogo or mcall and the
    /// load of SP it may name a G whose stack SP has not reached, or has left: see [`Self::stack`].
    pub g: *mut G,
    /// The interrupted PC.
    pub pc: usize,
    /// The interrupted SP.
    pub sp: usize,
}

/// A kind of stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stack {
    /// The stack of the current G.
    User,
    /// The stack that the OS gave the thread.
    System,
    /// The thread's signal stack: another handler was interrupted.
    Signal,
    /// None that the layer knows: another library's, or the thread has no g.
    Foreign,
}

impl Interrupted {
    /// The stack that SP was on, by its bounds.
    ///
    /// May be called in the handler.
    pub fn stack(&self) -> Stack {
        if self.g.is_null() {
            return Stack::Foreign;
        }
        // SAFETY: g of a thread, and its M, are live while the thread handles a signal.
        unsafe {
            let mut g = self.g;
            let mut m: *mut M = null_mut();
            while !g.is_null() {
                if (*g).size.get() != 0 && (*g).contains(self.sp) {
                    return Stack::User;
                }
                m = (*g).m();
                g = (*g).parent.get();
            }
            if m.is_null() {
                Stack::Foreign
            } else if (*(*m).gsignal()).contains(self.sp) {
                Stack::Signal
            } else if (*(*m).g0()).contains(self.sp) {
                Stack::System
            } else {
                Stack::Foreign
            }
        }
    }
}

cfg_if::cfg_if! {
    if #[cfg(target_vendor = "apple")] {
        const NSIG: usize = 32;
    } else {
        const NSIG: usize = 65;
    }
}

static HANDLERS: [AtomicPtr<()>; NSIG] = [const { AtomicPtr::new(null_mut()) }; NSIG];

/// Has `handler` run when `signal` is delivered, and returns what was there before.
///
/// `flags` are those of sigaction(2), to which SA_SIGINFO and SA_ONSTACK are added; the handler runs
/// with every signal blocked. To take it away again, pass the result to
/// [`sigaction`](crate::calls::sigaction()); but a handler of the layer's that was there before
/// comes back by another install, since the kernel knows all of them by one entry.
///
/// Errors: EINVAL for a signal that does not exist or cannot be handled, and for SA_NODEFER, by
/// which a fast signal would pile frames on the signal stack. Contexts: user, system, no g.
/// Source: sigaction(2); Go's `setsig`.
///
/// # Safety
///
/// `handler` must be async-signal-safe.
pub unsafe fn install(
    signal: c_int,
    handler: Handler,
    flags: c_int,
) -> Result<libc::sigaction, Errno> {
    let Some(place) = usize::try_from(signal).ok().and_then(|n| HANDLERS.get(n)) else {
        return Err(Errno::EINVAL);
    };
    if flags & libc::SA_NODEFER != 0 {
        return Err(Errno::EINVAL);
    }
    // SAFETY: integers, pointers and an optional function, for all of which zero is a value.
    let mut new: libc::sigaction = unsafe { core::mem::zeroed() };
    new.sa_sigaction = arch::sigtramp as *const () as libc::sighandler_t;
    new.sa_flags = flags | libc::SA_SIGINFO | libc::SA_ONSTACK;
    new.sa_mask = full_sigset();
    // SAFETY: as above.
    let mut old: libc::sigaction = unsafe { core::mem::zeroed() };
    let before = place.swap(handler as *mut (), Ordering::AcqRel);
    // SAFETY: both are good; sigtramp is a handler.
    match unsafe { calls::sigaction(signal, &new, &mut old) } {
        Ok(_) => Ok(old),
        Err(errno) => {
            place.store(before, Ordering::Release);
            Err(errno)
        }
    }
}

/// Every signal.
pub(crate) fn full_sigset() -> libc::sigset_t {
    let mut set = core::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: an integer or an array of them: all ones is a value, and what sigfillset makes, but
    // for signals that libc keeps for itself and masks by itself.
    unsafe {
        set.as_mut_ptr()
            .cast::<u8>()
            .write_bytes(0xff, size_of::<libc::sigset_t>());
        set.assume_init()
    }
}

/// What sigtramp calls: finds the handler.
pub(crate) unsafe extern "C" fn sighandler(
    signal: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
    g: *mut G,
) {
    let Some(place) = HANDLERS.get(signal as usize) else {
        return;
    };
    let handler = place.load(Ordering::Acquire);
    if handler.is_null() {
        return;
    }
    // SAFETY: `install` stored a Handler; the kernel gave the context.
    unsafe {
        let handler: Handler = core::mem::transmute(handler);
        let (pc, sp) = arch::interrupted(context);
        handler(signal, info, context, &Interrupted { g, pc, sp });
    }
}
