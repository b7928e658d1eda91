//! Clocks and sleep.

use super::Exercise;
use super::exercise::{fails, works};
use nosplit::{Errno, calls};
use std::time::{Duration, Instant};

/// The monotonic clock, in nanoseconds, without the layer.
fn now() -> usize {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: there is room for it.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    nanoseconds(time)
}

/// Wraps around on 32 bits, as all sums here may.
fn nanoseconds(time: libc::timespec) -> usize {
    (time.tv_sec as usize)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.tv_nsec as usize)
}

pub static EXERCISES: &[Exercise] = &[
    Exercise {
        row: &calls::usleep::ROW,
        calls: ways!(usleep 0),
        cases: &[works(
            "takes its time",
            |s| {
                // SAFETY: place 0 has room.
                unsafe { s.at::<Instant>(0).write(Instant::now()) };
                s.pass([2000]);
            },
            |s, result| {
                ensure!(result == Ok(0), "{result:?}");
                // SAFETY: stored by `prepare`.
                let slept = unsafe { *s.at::<Instant>(0) }.elapsed();
                ensure!(
                    slept >= Duration::from_millis(2),
                    "{slept:?} instead of 2 ms"
                );
                Ok(())
            },
        )],
        repeat: None,
    },
    Exercise {
        row: &calls::clock_gettime::ROW,
        calls: ways!(clock_gettime 0 1),
        cases: &[
            works(
                "tells the time",
                |s| {
                    s.notes[0] = now();
                    s.pass([libc::CLOCK_MONOTONIC as usize, s.place(0)]);
                },
                |s, result| {
                    ensure!(result == Ok(0), "{result:?}");
                    // SAFETY: stored by the call.
                    let told = nanoseconds(unsafe { *s.at(0) }).wrapping_sub(s.notes[0]);
                    let passed = now().wrapping_sub(s.notes[0]);
                    ensure!(told <= passed, "{told} ns on, when {passed} ns have passed");
                    Ok(())
                },
            ),
            fails(Errno::EINVAL, "of no clock", |s| s.pass([9999, s.place(0)])),
        ],
        repeat: repeat!(libc::clock_gettime, clock_gettime 0 1, |s| {
            s.pass([libc::CLOCK_MONOTONIC as usize, s.place(0)]);
        }),
    },
];
