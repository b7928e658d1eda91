//! Memory: pages from the kernel, and libc's heap.
//!
//! The page calls are not on POSIX's list for handlers; both systems make a bare system call of
//! them, and a collector needs them there.

use super::sys;
use core::ffi::{c_int, c_void};

crate::calls! {
    pub(super) static ROWS;

    /// Maps `len` bytes of memory, or of a file from the 64-bit `offset`; returns the address.
    ///
    /// Source: mmap(2); `sys/mman.h`.
    /// Errors: EINVAL (length 0, unaligned offset), ENOMEM, EACCES, EBADF, ENXIO, EOVERFLOW.
    ///
    /// # Safety
    ///
    /// With MAP_FIXED, whatever was mapped there is gone.
    pub unsafe fn mmap(
        addr: *mut c_void, len: usize, prot: c_int, flags: c_int, fd: c_int, offset: i64,
    ) -> *mut c_void
        = sys::mmap [fails with MAP_FAILED; in user system signal fork no_g];

    /// Unmaps the pages of `len` bytes from `addr`.
    ///
    /// Source: munmap(2); `sys/mman.h`. Errors: EINVAL (unaligned address, length 0), ENOMEM.
    ///
    /// # Safety
    ///
    /// Nobody may use the memory any more.
    pub unsafe fn munmap(addr: *mut c_void, len: usize) -> c_int
        = libc::munmap [fails with -1; in user system signal fork no_g];

    /// Sets the protection of the pages of `len` bytes from `addr`.
    ///
    /// Source: mprotect(2); `sys/mman.h`. Errors: EINVAL, ENOMEM, EACCES.
    ///
    /// # Safety
    ///
    /// Nobody may use the memory in a way that `prot` forbids.
    pub unsafe fn mprotect(addr: *mut c_void, len: usize, prot: c_int) -> c_int
        = libc::mprotect [fails with -1; in user system signal fork no_g];

    /// Tells the kernel how the pages of `len` bytes from `addr` will be used.
    ///
    /// On Darwin, pair MADV_FREE_REUSABLE with MADV_FREE_REUSE, or the process is billed for the
    /// pages twice. Source: madvise(2); `sys/mman.h`. Errors: EINVAL, ENOMEM, EAGAIN.
    ///
    /// # Safety
    ///
    /// Some advice (MADV_DONTNEED, MADV_FREE) loses what the pages hold.
    pub unsafe fn madvise(addr: *mut c_void, len: usize, advice: c_int) -> c_int
        = libc::madvise [fails with -1; in user system signal fork no_g];

    /// Keeps the pages of `len` bytes from `addr` in memory.
    ///
    /// Source: mlock(2); `sys/mman.h`. Errors: ENOMEM, EAGAIN, EPERM, EINVAL.
    pub fn mlock(addr: *const c_void, len: usize) -> c_int
        = libc::mlock [fails with -1; in user system signal fork no_g];

    /// Takes `size` bytes from libc's heap; aligned for every C type, not initialised.
    ///
    /// Source: malloc(3); `stdlib.h`. Errors: ENOMEM.
    pub fn malloc(size: usize) -> *mut c_void
        = libc::malloc [fails with NULL; in user system no_g];

    /// Gives memory back to libc's heap. NULL is allowed.
    ///
    /// Source: free(3); `stdlib.h`.
    ///
    /// # Safety
    ///
    /// `p` must come from malloc, and be freed once.
    pub unsafe fn free(p: *mut c_void)
        = libc::free [never fails; in user system no_g];
}
