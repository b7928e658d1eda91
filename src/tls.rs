//! Where g of a thread lives.
//!
//! ELF: a thread-local variable of the assembly, there from the first instruction of a thread.
//! Darwin: the slot of a pthread key in the thread's direct array, which exists once [`init`] has
//! made the key; before that there is no g.

use crate::g::G;

/// g of this thread: its g0, or the user G that it runs. Null on a thread that is not attached.
///
/// May be called in every context. Source: Go's `runtime.getg`.
#[inline]
pub fn getg() -> *mut G {
    // SAFETY: reads TLS and nothing else.
    unsafe { crate::arch::getg() }
}

cfg_if::cfg_if! {
    if #[cfg(target_vendor = "apple")] {
        use crate::arch::direct_slot;
        use crate::calls;
        use crate::fatal::fatal;
        use core::ffi::c_void;
        use core::ptr::null;
        use core::sync::atomic::{AtomicUsize, Ordering};

        /// Byte offset of our slot in a thread's direct array; 0, which is pthread's own slot, says
        /// that there is none yet. The assembly reads it.
        #[unsafe(export_name = "nosplit_g_slot")]
        static SLOT: AtomicUsize = AtomicUsize::new(0);

        /// Makes the key that holds g, once; later calls do nothing. `attach` calls it.
        ///
        /// The slot is believed only if two values stored by pthread_setspecific show up in it;
        /// otherwise one line and abort. Contexts: user, system, no g; not in a handler.
        /// Source: Go's `tlsinit`; libpthread's `tsd_private.h`.
        pub fn init() {
            if SLOT.load(Ordering::Acquire) != 0 {
                return;
            }
            let mut key: libc::pthread_key_t = 0;
            // SAFETY: the key has somewhere to go, and no destructor.
            if let Err(errno) = unsafe { calls::pthread_key_create(&mut key, None) } {
                fatal("init", "no pthread key for g", Some(errno));
            }
            let slot = key as usize * size_of::<usize>();
            for magic in [0x5350_4c49usize, 0x4e4f_5350] {
                // SAFETY: a key that was just made, and a value that nothing follows.
                if let Err(errno) = unsafe { calls::pthread_setspecific(key, magic as *const c_void) } {
                    fatal("init", "pthread_setspecific on the key of g", Some(errno));
                }
                // SAFETY: a key below PTHREAD_KEYS_MAX lies in the direct array.
                if unsafe { direct_slot(slot) } != magic {
                    fatal("init", "the key of g is not in the thread's direct array", None);
                }
            }
            // SAFETY: as above.
            if let Err(errno) = unsafe { calls::pthread_setspecific(key, null()) } {
                fatal("init", "pthread_setspecific on the key of g", Some(errno));
            }
            // Whoever loses the race gives its key back.
            if SLOT.compare_exchange(0, slot, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: a key that nobody else has seen.
                if let Err(errno) = unsafe { calls::pthread_key_delete(key) } {
                    fatal("init", "pthread_key_delete of a spare key", Some(errno));
                }
            }
        }
    } else {
        /// Nothing to do where TLS is the linker's: there for programs that also run on Darwin.
        pub fn init() {}
    }
}
