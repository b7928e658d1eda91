//! Every wrapper of nosplit, not inlined: for nosplit-inspect to read what the compiler made of it.
//!
//! This does not compile for a target on which a row of the table is missing here.

#![no_std]

use nosplit::calls;

/// The address of a function.
#[repr(transparent)]
pub struct Address(#[allow(dead_code, reason = "read in the object file")] *const ());

// SAFETY: nobody calls it.
unsafe impl Sync for Address {}

/// Makes two tables: the addresses of each row's wrapper and of its `no_g`, and the names of the rows.
macro_rules! wrappers {
    ($addresses:ident, $names:ident: $($name:ident)+) => {
        #[used]
        #[unsafe(no_mangle)]
        static $addresses: [[Address; 2]; const { $names.len() }] =
            [$([Address(calls::$name as *const ()), Address(calls::$name::no_g as *const ())]),+];
        const $names: &[&str] = &[$(stringify!($name)),+];
    };
}

wrappers! {
    nosplit_probe_wrappers, NAMES:
    open close read write
    mmap munmap mprotect madvise mlock malloc free
    getpid exit _exit abort
    sigaction pthread_sigmask sigaltstack raise kill pthread_kill
    pthread_mutex_init pthread_mutex_lock pthread_mutex_unlock pthread_mutex_destroy
    pthread_cond_init pthread_cond_wait pthread_cond_signal pthread_cond_destroy
    pthread_create pthread_join pthread_self
    pthread_attr_init pthread_attr_destroy
    pthread_attr_setstacksize pthread_attr_getstacksize pthread_attr_setdetachstate
    pthread_key_create pthread_key_delete pthread_setspecific
    usleep clock_gettime
}

#[cfg(target_vendor = "apple")]
wrappers! {
    nosplit_probe_wrappers_of_this_system, NAMES_OF_THIS_SYSTEM:
    pthread_get_stackaddr_np pthread_get_stacksize_np
}

#[cfg(not(target_vendor = "apple"))]
wrappers! {
    nosplit_probe_wrappers_of_this_system, NAMES_OF_THIS_SYSTEM:
    pthread_getattr_np pthread_attr_getstack
}

const _: () = {
    let mut rows = 0;
    let mut family = 0;
    while family < calls::TABLE.len() {
        let mut row = 0;
        while row < calls::TABLE[family].len() {
            let name = calls::TABLE[family][row].name;
            assert!(
                contains(NAMES, name) || contains(NAMES_OF_THIS_SYSTEM, name),
                "a row of nosplit::calls::TABLE is missing above"
            );
            rows += 1;
            row += 1;
        }
        family += 1;
    }
    assert!(
        rows == NAMES.len() + NAMES_OF_THIS_SYSTEM.len(),
        "a wrapper above stands twice, or is in no row of nosplit::calls::TABLE"
    );
};

const fn contains(names: &[&str], name: &str) -> bool {
    let mut i = 0;
    while i < names.len() {
        if equal(names[i].as_bytes(), name.as_bytes()) {
            return true;
        }
        i += 1;
    }
    false
}

const fn equal(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

/// A row of this crate's own: its trampoline is in this object, and not in nosplit's.
pub mod own {
    nosplit::calls! {
        /// The group of this process.
        pub fn getpgrp() -> libc::pid_t = libc::getpgrp [never fails; in user system signal fork no_g];
    }
}
