//! What the switch promises: where code runs, what is published, and that a G can be parked.

mod support;

use nosplit::{
    G, Status, asmcgocall, asmcgocall_no_g, calls, getg, gogo, gosave, gostartcallfn, in_entries,
    mcall, systemstack,
};
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::ptr::null_mut;
use support::{Stack, attached, on_g};

/// An address in the frame of whoever asks.
#[inline(never)]
fn here() -> usize {
    let local = 0u8;
    black_box(&raw const local) as usize
}

unsafe extern "C" fn store_here(place: *mut c_void) -> c_int {
    // SAFETY: the tests pass a usize.
    unsafe { *place.cast::<usize>() = here() };
    42
}

nosplit::calls! {
    /// Stores an address of the stack that it runs on.
    unsafe fn probe(place: *mut c_void) -> c_int = store_here [never fails; in user system signal no_g];
}

#[test]
fn asmcgocall_leaves_the_stack_of_a_g_and_no_other() {
    // No g: it stays.
    let mut place = 0usize;
    // SAFETY: store_here takes a usize.
    let result = unsafe { asmcgocall(store_here, (&raw mut place).cast()) };
    assert_eq!(result, 42);
    assert!(place.abs_diff(here()) < 64 << 10);

    attached(|m| {
        // SAFETY: the M is this thread's.
        let (lo, hi) = unsafe { (*m.g0()).stack() };
        let stack = Stack::new(16 << 10);
        let mut places = [0usize; 5];
        // SAFETY: as above; probe likewise.
        unsafe { asmcgocall(store_here, (&raw mut places[0]).cast()) };
        on_g(&stack, || unsafe {
            places[1] = here();
            asmcgocall(store_here, (&raw mut places[2]).cast());
            asmcgocall_no_g(store_here, (&raw mut places[3]).cast());
            probe((&raw mut places[4]).cast());
        });
        assert!((lo..hi).contains(&places[0]), "on g0 it stays");
        assert!(stack.contains(places[1]), "the G runs on its stack");
        assert!(
            (lo..hi).contains(&places[2]),
            "from a G it goes to the system stack"
        );
        assert!(stack.contains(places[3]), "without g it stays");
        assert!(
            (lo..hi).contains(&places[4]),
            "a row goes to the system stack"
        );
    });
}

#[test]
fn systemstack_returns_what_its_function_returns_and_nests() {
    attached(|_| {
        let stack = Stack::new(16 << 10);
        let greeting = String::from("moved in");
        let (inner, outer, text) = on_g(&stack, || {
            systemstack(move || {
                let inner = systemstack(here);
                (inner, here(), greeting + " and out")
            })
        });
        assert_eq!(text, "moved in and out");
        assert!(!stack.contains(outer) && !stack.contains(inner));
        assert!(inner < outer, "nested, it stays below");
    });
}

#[test]
fn the_outermost_call_is_recorded_while_it_runs() {
    unsafe extern "C" fn look(found: *mut c_void) -> c_int {
        // SAFETY: the test passes three words; g is the G that called.
        unsafe {
            let found = found.cast::<[usize; 3]>();
            let record = (*getg()).record();
            (*found)[0] = record;
            (*found)[1] = *(record as *const usize).add(1);
            // A nested call does not move it.
            (*found)[2] = systemstack(|| (*getg()).record());
        }
        0
    }

    attached(|_| {
        let stack = Stack::new(16 << 10);
        let mut found = [0usize; 3];
        // SAFETY: three words.
        on_g(&stack, || unsafe {
            asmcgocall(look, (&raw mut found).cast())
        });
        assert!(
            stack.contains(found[0]),
            "asmcgocall's frame is on the G's stack"
        );
        assert!(
            found[1] != 0 && !in_entries(found[1]),
            "beside it lies the caller's PC"
        );
        assert_eq!(found[0], found[2]);
    });
}

#[test]
fn gosave_publishes_every_register_and_frame_of_a_g() {
    unsafe extern "C" fn scan(g: *mut G, found: *mut c_void) {
        // SAFETY: the test passes two words; the G's stack is readable from its SP up.
        unsafe {
            let (lo, hi) = (*g).stack();
            let sp = (*g).sched_sp();
            assert!((lo..hi).contains(&sp));
            let words =
                std::slice::from_raw_parts(sp as *const usize, (hi - sp) / size_of::<usize>());
            let found = found.cast::<usize>();
            *found = words.iter().filter(|&&word| word == *found.add(1)).count();
        }
    }

    attached(|_| {
        let stack = Stack::new(16 << 10);
        let object = Box::new(7u64);
        let address = &raw const *object as usize;
        let mut found = [0usize, address];
        on_g(&stack, || {
            let root = black_box(address as *const u64);
            // SAFETY: two words.
            unsafe { gosave(scan, (&raw mut found).cast()) };
            // The root lives across the call, in a callee-saved register or in the frame.
            assert_eq!(unsafe { *root }, 7);
        });
        assert!(found[0] >= 1, "a collector sees the root");
    });
}

#[test]
fn a_parked_g_goes_on_where_it_was_on_another_thread() {
    struct Walk {
        threads: [libc::pthread_t; 3],
        sum: f64,
    }

    unsafe extern "C" fn park(_: *mut G, _: *mut c_void) {}

    unsafe extern "C" fn walk(w: *mut c_void) {
        // SAFETY: the test passes a Walk.
        let w = unsafe { &mut *w.cast::<Walk>() };
        let mut value = black_box(1.5f64);
        for i in 0..3 {
            w.threads[i] = calls::pthread_self();
            value *= 2.0;
            // SAFETY: `park` does nothing.
            unsafe { mcall(park, null_mut()) };
        }
        w.sum = value;
    }

    let stack = Stack::new(16 << 10);
    let g = G::new();
    let mut w = Walk {
        threads: [0 as libc::pthread_t; 3],
        sum: 0.0,
    };
    // SAFETY: all outlive the G.
    unsafe {
        g.init(stack.lo(), stack.size());
        gostartcallfn(&g, walk, (&raw mut w).cast());
    }
    for round in 0..4 {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // SAFETY: the G is ready, and entered by one thread at a time.
                attached(|_| unsafe { gogo((&raw const g).cast_mut()) });
            });
        });
        let expected = if round < 3 {
            Status::Ready
        } else {
            Status::Dead
        };
        assert_eq!(g.status(), expected);
        assert!(g.m().is_null());
    }
    assert_eq!(w.sum, 12.0);
    assert!(w.threads.iter().all(|&t| t != 0 as libc::pthread_t));
}

#[test]
fn a_dead_g_can_be_started_again() {
    unsafe extern "C" fn count(n: *mut c_void) {
        // SAFETY: the test passes a u32.
        unsafe { *n.cast::<u32>() += 1 };
    }

    attached(|_| {
        let stack = Stack::new(16 << 10);
        let g = G::new();
        let mut n = 0u32;
        // SAFETY: all outlive the G.
        unsafe {
            g.init(stack.lo(), stack.size());
            for _ in 0..1000 {
                gostartcallfn(&g, count, (&raw mut n).cast());
                gogo((&raw const g).cast_mut());
            }
        }
        assert_eq!((n, g.status()), (1000, Status::Dead));
    });
}

#[test]
fn entries_lie_in_one_section() {
    let entry = nosplit::arch::gogo as *const () as usize;
    assert!(in_entries(entry));
    assert!(in_entries(
        nosplit::arch::asmcgocall_word as *const () as usize
    ));
    assert!(in_entries(nosplit::arch::sigtramp as *const () as usize));
    assert!(!in_entries(probe::trampoline as *const () as usize));
    assert!(!in_entries(here as *const () as usize));
}
