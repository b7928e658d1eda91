//! The process.

use core::ffi::c_int;

crate::calls! {
    pub(super) static ROWS;

    /// The process's number.
    ///
    /// Source: getpid(2); `unistd.h`.
    pub fn getpid() -> libc::pid_t
        = libc::getpid [never fails; in user system signal fork no_g];

    /// Ends the process as C does: runs what atexit registered, and flushes stdio.
    ///
    /// A runtime wants [`_exit()`]. What atexit registered may be the runtime's own, or call into it
    /// while other threads still run its code: Go's layer re-entered itself here (R50).
    /// Source: exit(3); `stdlib.h`.
    pub fn exit(status: c_int) -> !
        = libc::exit [never returns; in user system no_g];

    /// Ends the process at once: no atexit functions, no flushing. What a runtime wants, and the only
    /// one of the two for handlers and for the child of a fork.
    ///
    /// Source: _exit(2); `unistd.h`.
    pub fn _exit(status: c_int) -> !
        = libc::_exit [never returns; in user system signal fork no_g];

    /// Ends the process by SIGABRT, even if that is blocked or handled.
    ///
    /// Source: abort(3); `stdlib.h`.
    pub fn abort() -> !
        = libc::abort [never returns; in user system signal fork no_g];
}
