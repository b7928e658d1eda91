//! Clocks and sleep.

use core::ffi::c_int;

crate::calls! {
    pub(super) static ROWS;

    /// Sleeps for at least `usec` microseconds, or until a handler has run.
    ///
    /// Keep it below 1,000,000. Source: usleep(3); `unistd.h`. Errors: EINTR, EINVAL.
    pub fn usleep(usec: libc::useconds_t) -> c_int
        = libc::usleep [fails with -1; in user system signal fork no_g; blocks];

    /// Stores a clock's time: seconds and nanoseconds.
    ///
    /// Source: clock_gettime(3); `time.h`. Errors: EINVAL (no such clock), EFAULT.
    ///
    /// # Safety
    ///
    /// `time` must be writable.
    pub unsafe fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int
        = libc::clock_gettime [fails with -1; in user system signal fork no_g];
}
