//! A call that fails says so, with libc's own number, wherever it is made.

#[path = "support/signals.rs"]
mod signals;
mod support;

use nosplit::{Errno, KernReturn, calls, systemstack};
use signals::{in_handler, with_signal_stack, without_signal_stack};
use std::ffi::{c_int, c_void};
use std::ptr::{null, null_mut, without_provenance, without_provenance_mut};
use support::{Stack, attached, attached_without_signal_stack, on_g};

/// More memory than an address space has.
const HUGE: usize = (usize::MAX / 8 * 7) & !0xffff;

/// A failing call, and the error that it must fail with.
struct Case {
    what: &'static str,
    number: c_int,
    name: &'static str,
    call: fn() -> Result<(), Errno>,
}

macro_rules! cases {
    ($($what:literal => $errno:ident: $call:expr;)+) => {
        &[$(Case {
            what: $what,
            number: libc::$errno,
            name: stringify!($errno),
            // SAFETY: the call fails.
            #[allow(unused_unsafe, reason = "some rows are safe")]
            call: || unsafe { $call }.map(drop),
        }),+]
    };
}

/// These may be called in every context.
const ANYWHERE: &[Case] = cases! {
    "close of no descriptor" => EBADF: calls::close(-1);
    "write to no descriptor" => EBADF: calls::write(-1, c"x".as_ptr().cast(), 1);
    "read into nowhere" => EFAULT: {
        let zero = calls::open(c"/dev/zero".as_ptr(), libc::O_RDONLY, 0)?;
        let result = calls::read(zero, without_provenance_mut(1), 16);
        calls::close(zero)?;
        result
    };
    "open of no file" => ENOENT: calls::open(c"/nowhere/to/be/found".as_ptr(), libc::O_RDONLY, 0);
    "open of a directory, to write" => EISDIR: calls::open(c"/".as_ptr(), libc::O_WRONLY, 0);
    "mmap of more than there is" => ENOMEM:
        calls::mmap(null_mut(), HUGE, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANON, -1, 0);
    "mmap of nothing" => EINVAL:
        calls::mmap(null_mut(), 0, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANON, -1, 0);
    "munmap of an odd address" => EINVAL: calls::munmap(without_provenance_mut(1), 4096);
    "mlock of what is not mapped" => ENOMEM: calls::mlock(without_provenance(4096), 4096);
    "a signal that does not exist" => EINVAL: calls::raise(999);
    "a handler for no signal" => EINVAL: calls::sigaction(999, null(), null_mut());
    "no such change of the mask" => EINVAL: calls::pthread_sigmask(999, &std::mem::zeroed(), null_mut());
    "kill of nobody" => ESRCH: calls::kill(i32::MAX - 1, 0);
    "no such clock" => EINVAL: calls::clock_gettime(9999 as _, &mut std::mem::zeroed());
};

/// These may not be called in handlers.
const NOT_IN_HANDLERS: &[Case] = cases! {
    "malloc of more than there is" => ENOMEM: calls::malloc(HUGE);
    "join of oneself" => EDEADLK: calls::pthread_join(calls::pthread_self(), null_mut());
    "a stack too small for a thread" => EINVAL: {
        let mut attributes = std::mem::zeroed();
        calls::pthread_attr_init(&mut attributes)?;
        let result = calls::pthread_attr_setstacksize(&mut attributes, 1);
        calls::pthread_attr_destroy(&mut attributes)?;
        result
    };
};

/// Makes every call, and only then says what went wrong: a small stack is no place for that.
fn check(place: &str, cases: &[Case], here: impl FnOnce(&mut dyn FnMut())) {
    let mut results = [Ok(()); 32];
    here(&mut || {
        for (result, case) in results.iter_mut().zip(cases) {
            *result = (case.call)();
        }
    });
    for (result, case) in results.into_iter().zip(cases) {
        let errno = Errno::new(case.number);
        assert_eq!(result, Err(errno), "{} {place}", case.what);
        assert_eq!(errno.name(), Some(case.name));
        assert_eq!(
            errno.to_string(),
            format!("{} ({})", case.name, case.number)
        );
    }
}

#[test]
fn a_failure_brings_its_errno_from_wherever_the_call_was_made() {
    let everywhere = |place: &str, here: &dyn Fn(&mut dyn FnMut())| {
        for cases in [ANYWHERE, NOT_IN_HANDLERS] {
            check(place, cases, here);
        }
    };
    everywhere("without g", &|call| call());
    attached(|_| {
        let small = Stack::new(4096);
        everywhere("on g0", &|call| call());
        everywhere("on a G of 4 KiB", &|call| on_g(&small, call));
        everywhere("in systemstack", &|call| on_g(&small, || systemstack(call)));
    });
}

#[test]
fn a_failure_brings_its_errno_from_a_handler() {
    let in_handlers = |place: &str, here: &dyn Fn(&mut dyn FnMut())| {
        check(place, ANYWHERE, here);
    };
    let handler = |call: &mut dyn FnMut()| in_handler(libc::SIGUSR1, |_| call());
    with_signal_stack(|| in_handlers("without g", &handler));
    let stack = Stack::new(256 << 10);
    let places = || {
        in_handlers("on g0", &handler);
        in_handlers("on a G", &|call| on_g(&stack, || handler(call)));
        in_handlers("in systemstack", &|call| {
            on_g(&stack, || systemstack(|| handler(call)))
        });
        in_handlers("nested", &|call| {
            in_handler(libc::SIGUSR2, |_| handler(call))
        });
    };
    attached(|_| places());
    without_signal_stack(|| attached_without_signal_stack(|_| places()));
}

/// C functions that return the first argument, and set errno to the second if that is one.
mod c {
    use super::{c_int, c_void};

    const UNTOUCHED: c_int = -1;

    pub fn set_errno(errno: c_int) {
        if errno != UNTOUCHED {
            // SAFETY: errno of this thread.
            unsafe { *nosplit::arch::errno_location() = errno };
        }
    }

    macro_rules! functions {
        ($($name:ident: $t:ty;)+) => {$(
            pub extern "C" fn $name(value: $t, errno: c_int) -> $t {
                set_errno(errno);
                value
            }
        )+};
    }

    functions! {
        int: c_int;
        uint: u32;
        word: isize;
        size: usize;
        wide: i64;
        unsigned_wide: u64;
        pointer: *mut c_void;
        const_pointer: *const c_void;
        double: f64;
    }
}

nosplit::calls! {
    fn int(value: c_int, errno: c_int) -> c_int = c::int [fails with -1; in user system signal no_g];
    fn uint(value: u32, errno: c_int) -> u32 = c::uint [fails with -1; in user system signal no_g];
    fn word(value: isize, errno: c_int) -> isize = c::word [fails with -1; in user system signal no_g];
    fn size(value: usize, errno: c_int) -> usize = c::size [fails with -1; in user system signal no_g];
    fn wide(value: i64, errno: c_int) -> i64 = c::wide [fails with -1; in user system signal no_g];
    fn unsigned_wide(value: u64, errno: c_int) -> u64
        = c::unsigned_wide [fails with -1; in user system signal no_g];
    fn pointer(value: *mut c_void, errno: c_int) -> *mut c_void
        = c::pointer [fails with NULL; in user system signal no_g];
    fn const_pointer(value: *const c_void, errno: c_int) -> *const c_void
        = c::const_pointer [fails with NULL; in user system signal no_g];
    fn map(value: *mut c_void, errno: c_int) -> *mut c_void
        = c::pointer [fails with MAP_FAILED; in user system signal no_g];
    fn perhaps(value: c_int, errno: c_int) -> c_int
        = c::int [fails with -1 if errno; in user system signal no_g];
    fn perhaps_word(value: isize, errno: c_int) -> isize
        = c::word [fails with -1 if errno; in user system signal no_g];
    fn perhaps_wide(value: i64, errno: c_int) -> i64
        = c::wide [fails with -1 if errno; in user system signal no_g];
    fn perhaps_pointer(value: *mut c_void, errno: c_int) -> *mut c_void
        = c::pointer [fails with NULL if errno; in user system signal no_g];
    fn number(value: c_int, errno: c_int) -> c_int = c::int [returns errno; in user system signal no_g];
    fn kern(value: c_int, errno: c_int) -> c_int
        = c::int [returns kern_return_t; in user system signal no_g];
    fn never(value: c_int, errno: c_int) -> c_int = c::int [never fails; in user system signal no_g];
    fn never_double(value: f64, errno: c_int) -> f64
        = c::double [never fails; in user system signal no_g];
}

#[test]
fn each_convention_tests_its_own_value_in_its_own_width() {
    const UNTOUCHED: c_int = -1;
    fn check() {
        let e = libc::EPERM;
        let failed = Errno::EPERM;
        let minus_one_pointer = without_provenance_mut(usize::MAX);

        assert_eq!(int(-1, e), Err(failed));
        for value in [0, 1, -2, c_int::MAX, c_int::MIN] {
            assert_eq!(int(value, e), Ok(value));
        }
        assert_eq!(uint(u32::MAX, e), Err(failed));
        assert_eq!(uint(u32::MAX - 1, e), Ok(u32::MAX - 1));
        assert_eq!(word(-1, e), Err(failed));
        for value in [0, 1, -2, isize::MAX, isize::MIN] {
            assert_eq!(word(value, e), Ok(value));
        }
        assert_eq!(size(usize::MAX, e), Err(failed));
        assert_eq!(size(usize::MAX - 1, e), Ok(usize::MAX - 1));
        assert_eq!(wide(-1, e), Err(failed));
        // R28: half of it is all ones.
        for value in [0, -2, 0xffff_ffff, -1 << 32, i64::MAX, i64::MIN] {
            assert_eq!(wide(value, e), Ok(value));
        }
        assert_eq!(unsigned_wide(u64::MAX, e), Err(failed));
        assert_eq!(unsigned_wide(0xffff_ffff, e), Ok(0xffff_ffff));

        assert_eq!(pointer(null_mut(), e), Err(failed));
        assert_eq!(pointer(minus_one_pointer, e), Ok(minus_one_pointer));
        assert_eq!(const_pointer(null(), e), Err(failed));
        assert_eq!(map(minus_one_pointer, e), Err(failed));
        assert_eq!(map(null_mut(), e), Ok(null_mut()));

        assert_eq!(perhaps(-1, e), Err(failed));
        assert_eq!(perhaps(1, e), Ok(1));
        assert_eq!(perhaps_word(-1, e), Err(failed));
        assert_eq!(perhaps_word(1, e), Ok(1));
        assert_eq!(perhaps_wide(-1, e), Err(failed));
        assert_eq!(perhaps_wide(0xffff_ffff, e), Ok(0xffff_ffff));
        assert_eq!(perhaps_pointer(null_mut(), e), Err(failed));
        assert_eq!(perhaps_pointer(minus_one_pointer, e), Ok(minus_one_pointer));
        // -1 and NULL are right if errno stays as it was, whatever that is.
        c::set_errno(e);
        assert_eq!(perhaps(-1, UNTOUCHED), Ok(-1));
        c::set_errno(e);
        assert_eq!(perhaps_word(-1, UNTOUCHED), Ok(-1));
        c::set_errno(e);
        assert_eq!(perhaps_wide(-1, UNTOUCHED), Ok(-1));
        c::set_errno(e);
        assert_eq!(perhaps_pointer(null_mut(), UNTOUCHED), Ok(null_mut()));

        // R29: the number is the result, and errno something else.
        assert_eq!(number(libc::EINVAL, e), Err(Errno::EINVAL));
        assert_eq!(number(0, e), Ok(()));
        assert_eq!(number(-1, e), Err(Errno::new(-1)));
        assert_eq!(kern(5, e), Err(KernReturn::new(5)));
        assert_eq!(kern(0, e), Ok(()));
        assert_eq!(never(-1, e), -1);
        assert_eq!(never_double(-1.5, e), -1.5);
    }
    check();
    attached(|_| {
        check();
        let stack = Stack::new(256 << 10);
        on_g(&stack, check);
        on_g(&stack, || in_handler(libc::SIGUSR1, |_| check()));
    });
}

/// What a failed call leaves in memory is not the layer's: it neither writes there nor reads.
#[test]
fn a_failed_call_leaves_its_out_parameters_alone() {
    let calls = || {
        let mut buffer = [0x55u8; 16];
        let mut time = libc::timespec {
            tv_sec: 5,
            tv_nsec: 7,
        };
        let mut mask = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: there is room for what the calls might store; all of them fail.
        unsafe {
            assert!(calls::read(-1, buffer.as_mut_ptr().cast(), buffer.len()).is_err());
            assert!(calls::clock_gettime(9999 as _, &mut time).is_err());
            let set = mask.assume_init();
            assert!(calls::pthread_sigmask(999, &set, mask.as_mut_ptr()).is_err());
            let bytes =
                std::slice::from_raw_parts(mask.as_ptr().cast::<u8>(), size_of::<libc::sigset_t>());
            assert!(bytes.iter().all(|&byte| byte == 0));
        }
        assert_eq!(buffer, [0x55; 16]);
        assert_eq!((time.tv_sec, time.tv_nsec), (5, 7));
    };
    calls();
    attached(|_| on_g(&Stack::new(64 << 10), calls));
}

#[test]
fn two_threads_that_fail_at_once_see_each_its_own_errno() {
    const ROUNDS: usize = 20_000;
    fn fail(call: impl Fn() -> Errno + Send, expected: Errno) {
        let wrong = attached(|_| {
            on_g(&Stack::new(16 << 10), || {
                (0..ROUNDS).filter(|_| call() != expected).count()
            })
        });
        assert_eq!(wrong, 0, "{expected}");
    }
    // SAFETY: the calls fail.
    std::thread::scope(|scope| unsafe {
        scope.spawn(|| fail(|| calls::close(-1).unwrap_err(), Errno::EBADF));
        scope.spawn(|| {
            let file = c"/nowhere/to/be/found";
            fail(
                || calls::open(file.as_ptr(), libc::O_RDONLY, 0).unwrap_err(),
                Errno::ENOENT,
            );
        });
        // No system call, so that it is fast: most of its time is spent where errno is set and read.
        scope.spawn(|| fail(|| int(-1, libc::EPERM).unwrap_err(), Errno::EPERM));
    });
}

/// Fails, and is interrupted when it has set errno and not returned yet.
extern "C" fn interrupted_failure(nested: bool) -> c_int {
    fn fail() {
        // SAFETY: it fails.
        assert_eq!(unsafe { calls::close(-1) }, Err(Errno::EBADF));
    }
    c::set_errno(libc::EPERM);
    if nested {
        in_handler(libc::SIGUSR2, |_| {
            c::set_errno(libc::EDOM);
            in_handler(libc::SIGUSR1, |_| fail());
            // SAFETY: errno of this thread.
            assert_eq!(unsafe { *nosplit::arch::errno_location() }, libc::EDOM);
        });
    } else {
        in_handler(libc::SIGUSR1, |_| fail());
    }
    -1
}

nosplit::calls! {
    fn interrupted(nested: bool) -> c_int
        = interrupted_failure [fails with -1; in user system signal no_g];
}

/// R30: between libc's last instruction and the load of errno, a handler ran whose own call failed.
#[test]
fn a_handler_whose_call_fails_does_not_change_the_interrupted_errno() {
    let check = || {
        for nested in [false, true] {
            assert_eq!(interrupted(nested), Err(Errno::EPERM));
        }
    };
    with_signal_stack(check);
    let places = || {
        check();
        on_g(&Stack::new(64 << 10), check);
        on_g(&Stack::new(64 << 10), || systemstack(check));
    };
    attached(|_| places());
    without_signal_stack(|| attached_without_signal_stack(|_| places()));
}

#[test]
fn a_number_that_no_header_lists_is_still_a_number() {
    let odd = Errno::new(9999);
    assert_eq!(odd.number(), 9999);
    assert_eq!(odd.name(), None);
    assert_eq!(odd.to_string(), "errno 9999");
}
