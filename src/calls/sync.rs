//! Mutexes and condition variables.
//!
//! Not for handlers: a handler that waits for what its own thread holds waits for ever (R36).

use core::ffi::c_int;

crate::calls! {
    pub(super) static ROWS;

    /// Makes a mutex; `attr` may be NULL.
    ///
    /// Source: pthread_mutex_init(3); `pthread.h`. Errors: EINVAL, ENOMEM, EAGAIN.
    ///
    /// # Safety
    ///
    /// `mutex` must be writable, in use by nobody, and stay where it is until it is destroyed.
    pub unsafe fn pthread_mutex_init(
        mutex: *mut libc::pthread_mutex_t, attr: *const libc::pthread_mutexattr_t,
    ) -> c_int
        = libc::pthread_mutex_init [returns errno; in user system no_g];

    /// Takes a mutex, waiting for it.
    ///
    /// The owner is the thread, not the G. Source: pthread_mutex_lock(3); `pthread.h`.
    /// Errors: EINVAL, EDEADLK.
    ///
    /// # Safety
    ///
    /// `mutex` must have been initialised.
    pub unsafe fn pthread_mutex_lock(mutex: *mut libc::pthread_mutex_t) -> c_int
        = libc::pthread_mutex_lock [returns errno; in user system no_g; blocks];

    /// Gives a mutex back, on the thread that took it.
    ///
    /// Source: pthread_mutex_unlock(3); `pthread.h`. Errors: EINVAL, EPERM.
    ///
    /// # Safety
    ///
    /// `mutex` must have been initialised, and be held by this thread.
    pub unsafe fn pthread_mutex_unlock(mutex: *mut libc::pthread_mutex_t) -> c_int
        = libc::pthread_mutex_unlock [returns errno; in user system no_g];

    /// Ends a mutex.
    ///
    /// Source: pthread_mutex_destroy(3); `pthread.h`. Errors: EINVAL, EBUSY.
    ///
    /// # Safety
    ///
    /// `mutex` must have been initialised, and nobody may hold or wait for it.
    pub unsafe fn pthread_mutex_destroy(mutex: *mut libc::pthread_mutex_t) -> c_int
        = libc::pthread_mutex_destroy [returns errno; in user system no_g];

    /// Makes a condition variable; `attr` may be NULL.
    ///
    /// Source: pthread_cond_init(3); `pthread.h`. Errors: EINVAL, ENOMEM, EAGAIN.
    ///
    /// # Safety
    ///
    /// `cond` must be writable, in use by nobody, and stay where it is until it is destroyed.
    pub unsafe fn pthread_cond_init(
        cond: *mut libc::pthread_cond_t, attr: *const libc::pthread_condattr_t,
    ) -> c_int
        = libc::pthread_cond_init [returns errno; in user system no_g];

    /// Gives `mutex` back, waits, and takes it again. It may wake without a signal.
    ///
    /// Source: pthread_cond_wait(3); `pthread.h`. Errors: EINVAL, EPERM.
    ///
    /// # Safety
    ///
    /// Both must have been initialised, and this thread must hold the mutex.
    pub unsafe fn pthread_cond_wait(
        cond: *mut libc::pthread_cond_t, mutex: *mut libc::pthread_mutex_t,
    ) -> c_int
        = libc::pthread_cond_wait [returns errno; in user system no_g; blocks];

    /// Wakes one who waits.
    ///
    /// Source: pthread_cond_signal(3); `pthread.h`. Errors: EINVAL.
    ///
    /// # Safety
    ///
    /// `cond` must have been initialised.
    pub unsafe fn pthread_cond_signal(cond: *mut libc::pthread_cond_t) -> c_int
        = libc::pthread_cond_signal [returns errno; in user system no_g];

    /// Ends a condition variable.
    ///
    /// Source: pthread_cond_destroy(3); `pthread.h`. Errors: EINVAL, EBUSY.
    ///
    /// # Safety
    ///
    /// `cond` must have been initialised, and nobody may wait for it.
    pub unsafe fn pthread_cond_destroy(cond: *mut libc::pthread_cond_t) -> c_int
        = libc::pthread_cond_destroy [returns errno; in user system no_g];
}
