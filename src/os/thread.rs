//! Threads of the layer: attaching the current one, starting new ones.

use crate::arch;
use crate::calls;
use crate::errno::Errno;
use crate::fatal::fatal;
use crate::g::M;
use crate::os::signal::full_sigset;
use crate::tls::{getg, init};
use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr::null_mut;
use core::sync::atomic::Ordering;

/// Memory for a thread's signal stack.
///
/// At least the kernel's minimum, which is more than MINSIGSTKSZ where vector registers are wide:
/// 32 KiB, as Go takes, is enough everywhere.
#[derive(Clone, Copy, Debug)]
pub struct SignalStack {
    /// Its lowest address.
    pub lo: *mut c_void,
    /// Its size in bytes.
    pub size: usize,
}

/// How [`newosproc`] makes its thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadOptions {
    /// Bytes of system stack. Never less than the platform's default, which 0 asks for: libc's own
    /// functions need it (R10).
    pub stack_size: usize,
    /// The thread is not joined, and frees itself.
    pub detached: bool,
    /// The signal stack that it installs before it takes signals.
    pub signal_stack: Option<SignalStack>,
}

/// Attaches this thread: from now on it has a g, and Gs may be entered on it.
///
/// Reads the bounds of its stack from pthread, makes the signal stack resident and installs it, and
/// sets g to the M's g0; [`detach`] puts back the signal stack that was there. Contexts: system, no g. Attaching twice, an M that has a thread already, and
/// a hardware shadow stack, which would refuse the switch, abort in one line.
/// Errors: ENOMEM (the signal stack is too small), EPERM (called on a signal stack).
///
/// # Safety
///
/// The M must neither move nor be freed, and the signal stack be nothing else's, until the thread has
/// detached or ended; it must not end attached.
pub unsafe fn attach(m: *mut M, signal_stack: Option<SignalStack>) -> Result<(), Errno> {
    init();
    if !getg().is_null() {
        fatal("attach", "this thread is attached already", None);
    }
    // SAFETY: the caller gives an M, and the compare-and-swap makes it this thread's.
    unsafe {
        claim("attach", m);
        let attached = settle(m, signal_stack);
        match attached {
            Ok(()) => arch::setg((*m).g0()),
            Err(_) => {
                (*(*m).gsignal()).set_bounds(0, 0);
                (*m).attached.store(0, Ordering::Release);
            }
        }
        attached
    }
}

/// Detaches this thread: it has no g any more.
///
/// Contexts: system, with g0 current; with a G running, in a handler, and on a thread that is not
/// attached it aborts in one line. Errors: EPERM (on the signal stack).
pub fn detach() -> Result<(), Errno> {
    let g = getg();
    if g.is_null() {
        fatal("detach", "this thread is not attached", None);
    }
    // SAFETY: g of a thread, and its M, are live while it is attached.
    unsafe {
        let m = (*g).m();
        if g != (*m).g0() {
            fatal("detach", "called with a G running", None);
        }
        if (*g).handling.load(Ordering::Relaxed) != 0 {
            fatal("detach", "may not be called in a signal handler", None);
        }
        drop_signal_stack(m)?;
        arch::setg(null_mut());
        (*m).attached.store(0, Ordering::Release);
    }
    Ok(())
}

/// Starts a thread of the layer, which runs `start(m)` on its system stack with g set to g0.
///
/// Every signal is blocked while it is made; it takes the creator's mask once it has its signal
/// stack. When `start` returns the thread gives all that back, clears g and ends. Returns its handle,
/// for pthread_kill and pthread_join. Contexts: user, system, no g.
///
/// EAGAIN is transient: it is tried 20 times, over 210 ms. Errors: EAGAIN, EINVAL, ENOMEM.
/// Source: Go's `newosproc`, which throws the handle away.
///
/// # Safety
///
/// `start` must be callable with `m`, which must neither move nor be freed, nor its signal stack,
/// until the thread has ended ([`M::is_attached`]).
pub unsafe fn newosproc(
    m: *mut M,
    start: unsafe extern "C" fn(*mut M),
    options: ThreadOptions,
) -> Result<libc::pthread_t, Errno> {
    init();
    // SAFETY: the caller gives an M, and the compare-and-swap makes it this call's; the attributes
    // and masks are this frame's.
    unsafe {
        claim("newosproc", m);
        (*m).start.set(Some(start));
        let (lo, size) = options
            .signal_stack
            .map_or((0, 0), |s| (s.lo as usize, s.size));
        (*(*m).gsignal()).set_bounds(lo, lo + size);
        let created = with_attributes(options, |attr| {
            let mut mask = MaybeUninit::uninit();
            calls::pthread_sigmask(libc::SIG_SETMASK, &full_sigset(), mask.as_mut_ptr())?;
            let mask = mask.assume_init();
            (*m).sigmask.set(mask);
            let entry: extern "C" fn(*mut c_void) -> *mut c_void =
                core::mem::transmute(arch::mstart_stub as *const ());
            let mut thread = MaybeUninit::uninit();
            let created =
                retry_eagain(|| calls::pthread_create(thread.as_mut_ptr(), attr, entry, m.cast()));
            calls::pthread_sigmask(libc::SIG_SETMASK, &mask, null_mut())?;
            created.map(|()| thread.assume_init())
        });
        if created.is_err() {
            (*(*m).gsignal()).set_bounds(0, 0);
            (*m).attached.store(0, Ordering::Release);
        }
        created
    }
}

/// Starts a thread that is not the layer's: it has no M and no g, and runs `start(NULL)`.
///
/// For what must run before a runtime has Ms; detached, with a stack of `stack_size` bytes but never
/// less than the default, every signal blocked in it as while it is made. Not retried.
/// Contexts: user, system, no g. Errors: EAGAIN, EINVAL, ENOMEM. Source: Go's `newosproc0`.
///
/// # Safety
///
/// `start` must be callable with NULL.
pub unsafe fn newosproc0(
    stack_size: usize,
    start: extern "C" fn(*mut c_void) -> *mut c_void,
) -> Result<libc::pthread_t, Errno> {
    let options = ThreadOptions {
        stack_size,
        detached: true,
        signal_stack: None,
    };
    // SAFETY: the attributes and masks are this frame's.
    unsafe {
        with_attributes(options, |attr| {
            let mut mask = MaybeUninit::uninit();
            calls::pthread_sigmask(libc::SIG_SETMASK, &full_sigset(), mask.as_mut_ptr())?;
            let mut thread = MaybeUninit::uninit();
            let created = calls::pthread_create(thread.as_mut_ptr(), attr, start, null_mut());
            calls::pthread_sigmask(libc::SIG_SETMASK, mask.as_ptr(), null_mut())?;
            created.map(|()| thread.assume_init())
        })
    }
}

impl M {
    /// Does a thread use this M: attached, or made by newosproc and not yet ended?
    ///
    /// Once this is false the M and its signal stack may be freed. May be called in every context.
    pub fn is_attached(&self) -> bool {
        self.attached.load(Ordering::Acquire) != 0
    }
}

/// The first Rust function of a thread of newosproc; g is g0 already, all signals are blocked.
pub(crate) unsafe extern "C" fn mstart(m: *mut M) {
    // SAFETY: newosproc was promised that m lives, and stored what it needs.
    unsafe {
        let (lo, hi) = (*(*m).gsignal()).stack();
        let signal_stack = (lo != hi).then_some(SignalStack {
            lo: lo as *mut c_void,
            size: hi - lo,
        });
        if let Err(errno) = settle(m, signal_stack) {
            fatal("newosproc", "the new thread cannot be set up", Some(errno));
        }
        set_mask(&(*m).sigmask.get());
        if let Some(start) = (*m).start.get() {
            start(m);
        }
        if getg() != (*m).g0() {
            fatal(
                "newosproc",
                "the thread's function returned with a G running",
                None,
            );
        }
        // No handler of ours may run once there is no signal stack, nor while g goes away.
        set_mask(&full_sigset());
        if let Err(errno) = drop_signal_stack(m) {
            fatal("newosproc", "the ending thread's signal stack", Some(errno));
        }
        arch::setg(null_mut());
        // The last touch: the M may be freed from here on.
        (*m).attached.store(0, Ordering::Release);
    }
}

/// Makes `m` the caller's, and refuses what the switch cannot work with.
///
/// # Safety
///
/// `m` must be an M.
unsafe fn claim(call: &str, m: *mut M) {
    if m.is_null() {
        fatal(call, "the M is NULL", None);
    }
    if arch::shadow_stack() {
        fatal(
            call,
            "a hardware shadow stack is on: gogo returns to other stacks' addresses",
            None,
        );
    }
    // SAFETY: the caller's word.
    let taken = unsafe {
        (*m).attached
            .compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed)
    };
    if taken.is_err() {
        fatal(call, "the M has a thread already", None);
    }
}

/// Fills in what an M knows of the current thread, and installs its signal stack.
///
/// # Safety
///
/// `m` must be this thread's.
unsafe fn settle(m: *mut M, signal_stack: Option<SignalStack>) -> Result<(), Errno> {
    // SAFETY: the caller's word.
    unsafe {
        let thread = calls::pthread_self();
        let (lo, hi) = stack_bounds(thread)?;
        let g0 = (*m).g0();
        (*g0).set_bounds(lo, hi);
        (*g0).m.store(m, Ordering::Release);
        let gsignal = (*m).gsignal();
        (*gsignal).m.store(m, Ordering::Release);
        (*m).thread.store(thread as usize, Ordering::Release);
        match signal_stack {
            None => (*gsignal).set_bounds(0, 0),
            Some(stack) => {
                let lo = stack.lo as usize;
                (*gsignal).set_bounds(lo, lo + stack.size);
                make_resident(stack)?;
                let mut previous = altstack(stack, libc::SS_DISABLE);
                calls::sigaltstack(&altstack(stack, 0), &mut previous)?;
                (*m).previous_altstack.set(previous);
            }
        }
    }
    Ok(())
}

/// Puts back the signal stack that was there before the M's, if it has one.
///
/// # Safety
///
/// `m` must be this thread's.
unsafe fn drop_signal_stack(m: *mut M) -> Result<(), Errno> {
    // SAFETY: the caller's word; whoever installed the previous stack answers for it.
    unsafe {
        let gsignal = (*m).gsignal();
        let (lo, hi) = (*gsignal).stack();
        if lo != hi {
            let mut previous = (*m).previous_altstack.get();
            if previous.ss_flags & libc::SS_DISABLE != 0 {
                // Darwin wants a size even to disable one.
                previous = altstack(
                    SignalStack {
                        lo: lo as *mut c_void,
                        size: hi - lo,
                    },
                    libc::SS_DISABLE,
                );
            }
            calls::sigaltstack(&previous, null_mut())?;
            (*gsignal).set_bounds(0, 0);
        }
    }
    Ok(())
}

fn altstack(stack: SignalStack, flags: c_int) -> libc::stack_t {
    libc::stack_t {
        ss_sp: stack.lo,
        ss_flags: flags,
        ss_size: stack.size,
    }
}

/// XNU kills a process whose signal stack is not resident at delivery (R42): touches every page,
/// and on Darwin wires the one that a frame is first written to.
///
/// # Safety
///
/// The memory must be writable.
unsafe fn make_resident(stack: SignalStack) -> Result<(), Errno> {
    const PAGE: usize = 4096;
    let lo = stack.lo.cast::<u8>();
    let mut offset = 0;
    while offset < stack.size {
        // SAFETY: inside the stack, which is nobody's yet.
        unsafe { lo.add(offset).write_volatile(0) };
        offset += PAGE;
    }
    cfg_if::cfg_if! {
        if #[cfg(target_vendor = "apple")] {
            let top = stack.size.min(PAGE);
            calls::mlock(lo.wrapping_add(stack.size - top).cast(), top)?;
        }
    }
    Ok(())
}

/// The lowest address of a thread's stack and the first above it.
///
/// # Safety
///
/// The thread must live.
unsafe fn stack_bounds(thread: libc::pthread_t) -> Result<(usize, usize), Errno> {
    cfg_if::cfg_if! {
        if #[cfg(target_vendor = "apple")] {
            // SAFETY: the caller's word.
            unsafe {
                let hi = calls::pthread_get_stackaddr_np(thread) as usize;
                Ok((hi - calls::pthread_get_stacksize_np(thread), hi))
            }
        } else {
            let mut attr = MaybeUninit::uninit();
            let mut lo = null_mut();
            let mut size = 0;
            // SAFETY: the attributes are initialised by the first call.
            unsafe {
                calls::pthread_getattr_np(thread, attr.as_mut_ptr())?;
                let bounds = calls::pthread_attr_getstack(attr.as_ptr(), &mut lo, &mut size);
                calls::pthread_attr_destroy(attr.as_mut_ptr())?;
                bounds?;
            }
            Ok((lo as usize, lo as usize + size))
        }
    }
}

/// Runs `f` with attributes as `options` ask, and destroys them again.
///
/// # Safety
///
/// None beyond `f`'s own.
unsafe fn with_attributes<R>(
    options: ThreadOptions,
    f: impl FnOnce(*const libc::pthread_attr_t) -> Result<R, Errno>,
) -> Result<R, Errno> {
    let mut attr = MaybeUninit::uninit();
    // SAFETY: initialised by the first call, destroyed by the last.
    unsafe {
        calls::pthread_attr_init(attr.as_mut_ptr())?;
        let made = set_attributes(attr.as_mut_ptr(), options).and_then(|()| f(attr.as_ptr()));
        let destroyed = calls::pthread_attr_destroy(attr.as_mut_ptr());
        let made = made?;
        destroyed?;
        Ok(made)
    }
}

/// # Safety
///
/// `attr` must have been initialised.
unsafe fn set_attributes(
    attr: *mut libc::pthread_attr_t,
    options: ThreadOptions,
) -> Result<(), Errno> {
    // SAFETY: the caller's word.
    unsafe {
        let mut default = 0;
        calls::pthread_attr_getstacksize(attr, &mut default)?;
        if options.stack_size > default {
            calls::pthread_attr_setstacksize(attr, options.stack_size)?;
        }
        if options.detached {
            calls::pthread_attr_setdetachstate(attr, libc::PTHREAD_CREATE_DETACHED)?;
        }
    }
    Ok(())
}

fn retry_eagain(mut f: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    let mut milliseconds = 1;
    loop {
        match f() {
            Err(Errno::EAGAIN) if milliseconds <= 20 => {
                // All signals are blocked: nothing cuts the sleep short, and if it did, so be it.
                let _ = calls::usleep(milliseconds * 1000);
                milliseconds += 1;
            }
            other => return other,
        }
    }
}

/// Sets the mask of an M's own thread, where a failure leaves nobody to tell.
///
/// # Safety
///
/// None: the mask is good.
unsafe fn set_mask(mask: *const libc::sigset_t) {
    // SAFETY: the caller's word.
    if let Err(errno) = unsafe { calls::pthread_sigmask(libc::SIG_SETMASK, mask, null_mut()) } {
        fatal(
            "newosproc",
            "pthread_sigmask in the new thread",
            Some(errno),
        );
    }
}
