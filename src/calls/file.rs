//! Descriptors.

use super::sys;
use core::ffi::{c_char, c_int, c_uint, c_void};

crate::calls! {
    pub(super) static ROWS;

    /// Opens a file, with 64-bit offsets; `mode` is its permission bits if it is created.
    ///
    /// Returns the descriptor. Source: open(2); `fcntl.h`.
    /// Errors: ENOENT, EACCES, EEXIST, EMFILE, ENFILE, EISDIR, ELOOP, EFAULT, EINTR.
    ///
    /// # Safety
    ///
    /// `path` must be a C string.
    pub unsafe fn open(path: *const c_char, flags: c_int, ... mode: c_uint) -> c_int
        = sys::open [fails with -1; in user system signal fork no_g; blocks];

    /// Closes a descriptor.
    ///
    /// After EINTR it is closed on Linux, and may be either on Darwin.
    /// Source: close(2); `unistd.h`. Errors: EBADF, EINTR, EIO.
    ///
    /// # Safety
    ///
    /// Nobody else may rely on the descriptor: it may be another file's a moment later.
    pub unsafe fn close(fd: c_int) -> c_int
        = libc::close [fails with -1; in user system signal fork no_g; blocks];

    /// Reads at most `n` bytes; returns how many, 0 at the end.
    ///
    /// Source: read(2); `unistd.h`. Errors: EBADF, EFAULT, EAGAIN, EINTR, EIO, EISDIR.
    ///
    /// # Safety
    ///
    /// `buf` must have room for `n` bytes.
    pub unsafe fn read(fd: c_int, buf: *mut c_void, n: usize) -> isize
        = libc::read [fails with -1; in user system signal fork no_g; blocks];

    /// Writes at most `n` bytes; returns how many.
    ///
    /// Source: write(2); `unistd.h`. Errors: EBADF, EFAULT, EAGAIN, EINTR, EIO, ENOSPC, EPIPE.
    ///
    /// # Safety
    ///
    /// `buf` must hold `n` bytes.
    pub unsafe fn write(fd: c_int, buf: *const c_void, n: usize) -> isize
        = libc::write [fails with -1; in user system signal fork no_g; blocks];
}
