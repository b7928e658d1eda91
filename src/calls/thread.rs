//! Threads, as the OS has them. [`os::newosproc`](crate::os::newosproc) is built on these.

use core::ffi::{c_int, c_void};

crate::calls! {
    pub(super) static ROWS;

    /// Starts a thread that runs `start(arg)`; stores its handle in `thread`.
    ///
    /// Source: pthread_create(3); `pthread.h`. Errors: EAGAIN (transient: try again), EINVAL, EPERM.
    ///
    /// # Safety
    ///
    /// `attr` must be NULL or initialised, and `start` callable with `arg`.
    pub unsafe fn pthread_create(
        thread: *mut libc::pthread_t,
        attr: *const libc::pthread_attr_t,
        start: extern "C" fn(*mut c_void) -> *mut c_void,
        arg: *mut c_void,
    ) -> c_int
        = libc::pthread_create [returns errno; in user system no_g];

    /// Waits for a thread to end; stores its result if `result` is not NULL.
    ///
    /// Source: pthread_join(3); `pthread.h`. Errors: EDEADLK, EINVAL (detached), ESRCH.
    ///
    /// # Safety
    ///
    /// The thread must be joinable, and joined once.
    pub unsafe fn pthread_join(thread: libc::pthread_t, result: *mut *mut c_void) -> c_int
        = libc::pthread_join [returns errno; in user system no_g; blocks];

    /// This thread's handle.
    ///
    /// Source: pthread_self(3); `pthread.h`.
    pub fn pthread_self() -> libc::pthread_t
        = libc::pthread_self [never fails; in user system signal fork no_g];

    /// Makes attributes for a thread, of the platform's defaults.
    ///
    /// Source: pthread_attr_init(3); `pthread.h`. Errors: ENOMEM.
    ///
    /// # Safety
    ///
    /// `attr` must be writable.
    pub unsafe fn pthread_attr_init(attr: *mut libc::pthread_attr_t) -> c_int
        = libc::pthread_attr_init [returns errno; in user system no_g];

    /// Ends attributes.
    ///
    /// Source: pthread_attr_destroy(3); `pthread.h`. Errors: EINVAL.
    ///
    /// # Safety
    ///
    /// `attr` must have been initialised.
    pub unsafe fn pthread_attr_destroy(attr: *mut libc::pthread_attr_t) -> c_int
        = libc::pthread_attr_destroy [returns errno; in user system no_g];

    /// Sets the size of the stack, in bytes.
    ///
    /// Source: pthread_attr_setstacksize(3); `pthread.h`. Errors: EINVAL (below PTHREAD_STACK_MIN).
    ///
    /// # Safety
    ///
    /// `attr` must have been initialised.
    pub unsafe fn pthread_attr_setstacksize(attr: *mut libc::pthread_attr_t, size: usize) -> c_int
        = libc::pthread_attr_setstacksize [returns errno; in user system no_g];

    /// Stores the size of the stack, in bytes.
    ///
    /// Source: pthread_attr_getstacksize(3); `pthread.h`. Errors: EINVAL.
    ///
    /// # Safety
    ///
    /// `attr` must have been initialised, and `size` be writable.
    pub unsafe fn pthread_attr_getstacksize(
        attr: *const libc::pthread_attr_t, size: *mut usize,
    ) -> c_int
        = libc::pthread_attr_getstacksize [returns errno; in user system no_g];

    /// PTHREAD_CREATE_DETACHED or PTHREAD_CREATE_JOINABLE.
    ///
    /// Source: pthread_attr_setdetachstate(3); `pthread.h`. Errors: EINVAL.
    ///
    /// # Safety
    ///
    /// `attr` must have been initialised.
    pub unsafe fn pthread_attr_setdetachstate(attr: *mut libc::pthread_attr_t, state: c_int) -> c_int
        = libc::pthread_attr_setdetachstate [returns errno; in user system no_g];

    /// Makes a key for a value of each thread.
    ///
    /// Source: pthread_key_create(3); `pthread.h`. Errors: EAGAIN, ENOMEM.
    ///
    /// # Safety
    ///
    /// `key` must be writable; `destructor` runs at the end of each thread whose value is not NULL.
    pub unsafe fn pthread_key_create(
        key: *mut libc::pthread_key_t, destructor: Option<unsafe extern "C" fn(*mut c_void)>,
    ) -> c_int
        = libc::pthread_key_create [returns errno; in user system no_g];

    /// Gives a key back. Values are dropped without their destructor.
    ///
    /// Source: pthread_key_delete(3); `pthread.h`. Errors: EINVAL.
    ///
    /// # Safety
    ///
    /// Nobody may use the key any more.
    pub unsafe fn pthread_key_delete(key: libc::pthread_key_t) -> c_int
        = libc::pthread_key_delete [returns errno; in user system no_g];

    /// Sets this thread's value of a key.
    ///
    /// Source: pthread_setspecific(3); `pthread.h`. Errors: EINVAL, ENOMEM.
    ///
    /// # Safety
    ///
    /// The key's destructor must be callable with the value.
    pub unsafe fn pthread_setspecific(key: libc::pthread_key_t, value: *const c_void) -> c_int
        = libc::pthread_setspecific [returns errno; in user system no_g];
}

pub(super) use bounds::BOUNDS;
pub use bounds::*;

cfg_if::cfg_if! {
    if #[cfg(target_vendor = "apple")] {
        mod bounds {
            use core::ffi::c_void;

            crate::calls! {
                pub(in crate::calls) static BOUNDS;

                /// The first address above a thread's stack.
                ///
                /// Source: Darwin's `pthread.h`, pthread_get_stackaddr_np.
                ///
                /// # Safety
                ///
                /// The thread must live.
                pub unsafe fn pthread_get_stackaddr_np(thread: libc::pthread_t) -> *mut c_void
                    = libc::pthread_get_stackaddr_np [never fails; in user system no_g];

                /// The size of a thread's stack, in bytes.
                ///
                /// Source: Darwin's `pthread.h`, pthread_get_stacksize_np.
                ///
                /// # Safety
                ///
                /// The thread must live.
                pub unsafe fn pthread_get_stacksize_np(thread: libc::pthread_t) -> usize
                    = libc::pthread_get_stacksize_np [never fails; in user system no_g];
            }
        }
    } else {
        mod bounds {
            use core::ffi::{c_int, c_void};

            crate::calls! {
                pub(in crate::calls) static BOUNDS;

                /// Makes attributes that describe a running thread.
                ///
                /// Of the main thread it reads `/proc/self/maps`, by stdio.
                /// Source: pthread_getattr_np(3); `pthread.h`. Errors: ENOMEM, ENOENT.
                ///
                /// # Safety
                ///
                /// The thread must live, and `attr` be writable.
                pub unsafe fn pthread_getattr_np(
                    thread: libc::pthread_t, attr: *mut libc::pthread_attr_t,
                ) -> c_int
                    = libc::pthread_getattr_np [returns errno; in user system no_g];

                /// Stores the lowest address of the stack that attributes describe, and its size in bytes.
                ///
                /// Source: pthread_attr_getstack(3); `pthread.h`. Errors: EINVAL.
                ///
                /// # Safety
                ///
                /// `attr` must have been initialised, `lo` and `size` be writable.
                pub unsafe fn pthread_attr_getstack(
                    attr: *const libc::pthread_attr_t, lo: *mut *mut c_void, size: *mut usize,
                ) -> c_int
                    = libc::pthread_attr_getstack [returns errno; in user system no_g];
            }
        }
    }
}
