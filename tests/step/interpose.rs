//! Two of libc's functions with one bit changed, so that a whole thread can be stepped.
//!
//! The layer starts and ends its threads with every signal blocked, and Linux kills a process that
//! traps while SIGTRAP is blocked. Here SIGTRAP is never blocked, and a thread of `newosproc` arrives
//! in mstart_stub with TF set. The dynamic linker prefers an executable's functions to libc's.

use crate::threads::stepped_start;
use std::ffi::{c_int, c_void};
use std::ptr::null;
use std::sync::atomic::{AtomicUsize, Ordering};

type Start = extern "C" fn(*mut c_void) -> *mut c_void;

/// As libc's, but SIGTRAP stays as it is.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_sigmask(
    how: c_int,
    new: *const libc::sigset_t,
    old: *mut libc::sigset_t,
) -> c_int {
    // SAFETY: the caller's pointers are NULL or good. sigprocmask is that of the thread.
    unsafe {
        let mut changed = (!new.is_null()).then(|| *new);
        if let Some(set) = &mut changed
            && how != libc::SIG_UNBLOCK
        {
            libc::sigdelset(set, libc::SIGTRAP);
        }
        let new = changed.as_ref().map_or(null(), |set| &raw const *set);
        match libc::sigprocmask(how, new, old) {
            0 => 0,
            _ => *libc::__errno_location(),
        }
    }
}

/// As libc's, but a thread that would start in mstart_stub starts there stepped.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attr: *const libc::pthread_attr_t,
    start: Start,
    arg: *mut c_void,
) -> c_int {
    type Create = unsafe extern "C" fn(
        *mut libc::pthread_t,
        *const libc::pthread_attr_t,
        Start,
        *mut c_void,
    ) -> c_int;
    static REAL: AtomicUsize = AtomicUsize::new(0);

    // SAFETY: libc has the function, with that prototype.
    unsafe {
        let mut real = REAL.load(Ordering::Relaxed);
        if real == 0 {
            real = libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr()) as usize;
            REAL.store(real, Ordering::Relaxed);
        }
        let create: Create = core::mem::transmute(real as *const ());
        let start = if start as usize == nosplit::arch::mstart_stub as *const () as usize {
            stepped_start
        } else {
            start
        };
        create(thread, attr, start, arg)
    }
}
