//! What a call costs: bytes of the small stack, and time over a direct call.

use crate::contexts::{Context, attached, on_g, run};
use crate::exercises::Exercise;
use crate::trial::{Arena, BIG, Job, PATIENCE, in_child};
use std::ffi::c_void;
use std::time::{Duration, Instant};

/// A wrapper's own use of the stack of a G, in bytes: from SP of the frame that calls it, as it is
/// before the call instruction, down to the lowest byte that is written until it has returned. The
/// return address and everything that the wrapper calls on that stack are in it; the C function, on
/// the system stack, is not. The most of all cases, each seen against two paints; `None` if one of
/// them failed.
pub fn stack(arena: &Arena, exercise: &'static Exercise) -> Option<usize> {
    let mut most = None;
    for case in exercise.cases {
        for paint in [0xa5, 0x5a] {
            let trial = run(arena, Context::User, exercise, case, paint);
            if trial.failure.is_some() {
                return None;
            }
            most = most.max(trial.stack);
        }
    }
    most
}

/// Times of each loop that are compared by their medians.
const ROUNDS: usize = 51;

/// Nanoseconds of a call by the wrapper, less those of a direct call of the same C function, both
/// on the stack of a G that has room for it: the difference of the medians of interleaved rounds.
pub fn time(arena: &Arena, exercise: &'static Exercise) -> Option<f64> {
    let repeat = exercise.repeat.as_ref()?;
    let job = arena.job(0, Context::User, exercise, &exercise.cases[0]);
    // SAFETY: a good job, of this arena; the child stores its result in it.
    unsafe {
        in_child(job, PATIENCE, || {
            attached(Some(arena.signal_stack()));
            (repeat.prepare)(&mut (*job).slot);
            on_g(job, BIG, rounds);
            (*job).end(Ok(()));
        });
        (*job)
            .failure()
            .is_none()
            .then_some((*job).slot.notes[0] as isize as f64 / 1000.0)
    }
}

unsafe extern "C" fn rounds(job: *mut c_void) {
    // SAFETY: the job of `time`, whose exercise can be repeated.
    unsafe {
        let job: *mut Job = job.cast();
        let Some(repeat) = (*job).exercise().repeat.as_ref() else {
            return;
        };
        let slot = &raw mut (*job).slot;
        let timed = |f: unsafe extern "C" fn(_, _), times| {
            let start = Instant::now();
            f(slot, times);
            start.elapsed()
        };
        let mut times = 64;
        while timed(repeat.direct, times) < Duration::from_micros(50) {
            times *= 2;
        }
        let mut rounds = [[Duration::ZERO; ROUNDS]; 2];
        let [wrapper, direct] = &mut rounds;
        for (wrapper, direct) in wrapper.iter_mut().zip(direct) {
            *wrapper = timed(repeat.wrapper, times);
            *direct = timed(repeat.direct, times);
        }
        let [wrapper, direct] = rounds.map(|mut all| {
            all.sort_unstable();
            all[ROUNDS / 2].as_nanos() as f64 / times as f64
        });
        // A note is a word: picoseconds.
        (*slot).notes[0] = ((wrapper - direct) * 1000.0) as isize as usize;
    }
}
