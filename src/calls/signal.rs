//! Signals, as the OS has them. [`os::install`](crate::os::install) is built on these.

use core::ffi::c_int;

crate::calls! {
    pub(super) static ROWS;

    /// Examines or changes what a signal does. Either pointer may be NULL.
    ///
    /// Source: sigaction(2); `signal.h`. Errors: EINVAL, EFAULT.
    ///
    /// # Safety
    ///
    /// A handler must be one: of the C ABI, async-signal-safe, and with SA_ONSTACK where the signal
    /// may find the thread on a small stack.
    pub unsafe fn sigaction(
        signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction,
    ) -> c_int
        = libc::sigaction [fails with -1; in user system signal fork no_g];

    /// Examines or changes the signals that this thread blocks. Either pointer may be NULL.
    ///
    /// Source: pthread_sigmask(3); `signal.h`. Errors: EINVAL.
    ///
    /// # Safety
    ///
    /// The pointers must be NULL or good.
    pub unsafe fn pthread_sigmask(
        how: c_int, new: *const libc::sigset_t, old: *mut libc::sigset_t,
    ) -> c_int
        = libc::pthread_sigmask [returns errno; in user system signal fork no_g];

    /// Examines or changes this thread's signal stack. Either pointer may be NULL.
    ///
    /// Darwin wants a size even with SS_DISABLE. Source: sigaltstack(2); `signal.h`.
    /// Errors: EINVAL, ENOMEM (too small), EPERM (on it), EFAULT.
    ///
    /// # Safety
    ///
    /// The stack must live, and be nothing else's, until it is disabled or the thread has ended.
    pub unsafe fn sigaltstack(new: *const libc::stack_t, old: *mut libc::stack_t) -> c_int
        = libc::sigaltstack [fails with -1; in user system signal fork no_g];

    /// Sends a signal to this thread; a handler has run when it returns, unless the signal is blocked.
    ///
    /// Source: raise(3); `signal.h`. Errors: EINVAL.
    pub fn raise(signal: c_int) -> c_int
        = libc::raise [fails with -1; in user system signal fork no_g];

    /// Sends a signal to a process, or to a group by a negative number.
    ///
    /// Source: kill(2); `signal.h`. Errors: EINVAL, ESRCH, EPERM.
    pub fn kill(pid: libc::pid_t, signal: c_int) -> c_int
        = libc::kill [fails with -1; in user system signal fork no_g];

    /// Sends a signal to a thread; signal 0 only asks whether it can be sent.
    ///
    /// Source: pthread_kill(3); `signal.h`. Errors: EINVAL, ESRCH (ended, where libc can tell).
    ///
    /// # Safety
    ///
    /// The thread must not have been joined, nor ended detached: its number may be freed memory (R41).
    pub unsafe fn pthread_kill(thread: libc::pthread_t, signal: c_int) -> c_int
        = libc::pthread_kill [returns errno; in user system signal fork no_g];
}
