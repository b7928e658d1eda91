//! Error numbers.

use core::ffi::c_int;
use core::fmt;

/// An error number of libc, as `errno` holds it or a `pthread_*` function returns it.
///
/// May be used in every context. Source: errno(3), intro(2) on Darwin; `errno.h`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Errno(c_int);

impl Errno {
    /// The error of that number.
    pub const fn new(number: c_int) -> Errno {
        Errno(number)
    }

    /// The number, as in `errno.h` of this target.
    pub const fn number(self) -> c_int {
        self.0
    }
}

macro_rules! errnos {
    ($($name:ident)*) => {
        impl Errno {
            $(
                #[doc = concat!("`", stringify!($name), "` of errno(3).")]
                pub const $name: Errno = Errno(libc::$name);
            )*

            /// The name of the error, as in `errno.h`: `"EBADF"`. `None` for a number that this
            /// target's header does not list.
            pub const fn name(self) -> Option<&'static str> {
                $(if self.0 == libc::$name {
                    return Some(stringify!($name));
                })*
                os_name(self.0)
            }
        }
    };
}

macro_rules! os_errnos {
    ($($name:ident)*) => {
        const fn os_name(number: c_int) -> Option<&'static str> {
            $(if number == libc::$name {
                return Some(stringify!($name));
            })*
            None
        }
    };
}

errnos! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EDEADLK ENOMEM EACCES EFAULT
    ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG
    ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EAGAIN EINPROGRESS EALREADY ENOTSOCK EDESTADDRREQ
    EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT
    EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET
    ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED ELOOP ENAMETOOLONG
    EHOSTDOWN EHOSTUNREACH ENOTEMPTY EUSERS EDQUOT ESTALE EREMOTE ENOLCK ENOSYS EOVERFLOW ECANCELED
    EIDRM ENOMSG EILSEQ EBADMSG EMULTIHOP ENODATA ENOLINK ENOSR ENOSTR EPROTO ETIME ENOTRECOVERABLE
    EOWNERDEAD ENOTSUP
}

cfg_if::cfg_if! {
    if #[cfg(target_vendor = "apple")] {
        os_errnos! {
            EPROCLIM EBADRPC ERPCMISMATCH EPROGUNAVAIL EPROGMISMATCH EPROCUNAVAIL EFTYPE EAUTH
            ENEEDAUTH EPWROFF EDEVERR EBADEXEC EBADARCH ESHLIBVERS EBADMACHO ENOATTR ENOPOLICY
            EQFULL
        }
    } else {
        os_errnos! {
            ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG EUNATCH ENOCSI EL2HLT EBADE EBADR EXFULL ENOANO
            EBADRQC EBADSLT EBFONT ENONET ENOPKG EADV ESRMNT ECOMM EDOTDOT ENOTUNIQ EBADFD EREMCHG
            ELIBACC ELIBBAD ELIBSCN ELIBMAX ELIBEXEC ERESTART ESTRPIPE EUCLEAN ENOTNAM ENAVAIL
            EISNAM EREMOTEIO ENOMEDIUM EMEDIUMTYPE ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED
            ERFKILL EHWPOISON
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl core::error::Error for Errno {}

/// A result of a Mach call that is not `KERN_SUCCESS`.
///
/// May be used in every context. Source: Darwin's `mach/kern_return.h`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct KernReturn(c_int);

impl KernReturn {
    /// The Mach error of that number.
    pub const fn new(number: c_int) -> KernReturn {
        KernReturn(number)
    }

    /// The number, as in `mach/kern_return.h`.
    pub const fn number(self) -> c_int {
        self.0
    }
}

impl fmt::Display for KernReturn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kern_return_t {}", self.0)
    }
}

impl core::error::Error for KernReturn {}
