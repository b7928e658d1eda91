//! Calls a C function many times by a row, for callgrind to count: `count ROW PATH TIMES`.
//!
//! PATH is `direct` (no row at all), `g` (on a G: the switch), `g0` (on the system stack of an
//! attached thread), `none` (on a thread without g) or `no_g` (by asmcgocall_no_g). Without arguments
//! it lists the rows: name, arguments, those of them on the stack.

#![allow(
    clippy::too_many_arguments,
    reason = "the rows with many are what this is for"
)]

use nosplit::{G, M, calls, gogo, gostartcallfn, os};
use std::ffi::{c_int, c_void};
use std::hint::black_box;

/// A row, and how to call it once: directly, by the wrapper, by asmcgocall_no_g.
struct Victim {
    row: nosplit::Row,
    direct: fn(),
    wrapper: fn(),
    no_g: fn(),
}

macro_rules! victims {
    ($($name:ident($($arg:ident: $t:ty = $value:expr),*) -> $r:ty = $result:expr, [$($how:tt)+];)+) => {
        mod c {
            use super::*;
            $(
                #[inline(never)]
                pub extern "C" fn $name($($arg: $t),*) -> $r {
                    $(black_box($arg);)*
                    $result
                }
            )+
        }

        calls! {$(
            fn $name($($arg: $t),*) -> $r = c::$name [$($how)+];
        )+}

        const VICTIMS: &[Victim] = &[$(
            Victim {
                row: $name::ROW,
                direct: || {
                    black_box(c::$name($(black_box($value)),*));
                },
                wrapper: || {
                    let _ = black_box($name($(black_box($value)),*));
                },
                // SAFETY: the C function needs next to no stack.
                no_g: || unsafe {
                    let _ = black_box($name::no_g($(black_box($value)),*));
                },
            },
        )+];
    };
}

victims! {
    plain_1(a: usize = 1) -> isize = 1, [never fails; in user system signal no_g];
    errno_1(a: usize = 1) -> c_int = 0, [returns errno; in user system signal no_g];
    i32_1(a: c_int = 1) -> c_int = 1, [fails with -1; in user system signal no_g];
    word_3(a: c_int = 1, b: usize = 2, c: usize = 3) -> isize = 1,
        [fails with -1; in user system signal no_g];
    word_6(a: usize = 1, b: usize = 2, c: c_int = 3, d: c_int = 4, e: c_int = 5, f: i64 = 6) -> isize = 1,
        [fails with -1; in user system signal no_g];
    word_checked_3(a: c_int = 1, b: usize = 2, c: usize = 3) -> isize = 1,
        [fails with -1; in user system no_g];
    null_1(a: usize = 1) -> *mut c_void = 16 as *mut c_void,
        [fails with NULL; in user system signal no_g];
    floats_2(a: f64 = 1.0, b: f32 = 2.0) -> f64 = 1.0, [never fails; in user system signal no_g];
    plain_7(a: usize = 1, b: usize = 2, c: usize = 3, d: usize = 4, e: usize = 5, f: usize = 6, g: usize = 7)
        -> isize = 1, [never fails; in user system signal no_g];
    word_7(a: usize = 1, b: usize = 2, c: usize = 3, d: usize = 4, e: usize = 5, f: usize = 6, g: usize = 7)
        -> isize = 1, [fails with -1; in user system signal no_g];
    i32_10(a: usize = 1, b: usize = 2, c: usize = 3, d: usize = 4, e: usize = 5, f: usize = 6, g: usize = 7,
        h: usize = 8, i: usize = 9, j: usize = 10) -> c_int = 1, [fails with -1; in user system signal no_g];
    word_12(a: usize = 1, b: usize = 2, c: usize = 3, d: usize = 4, e: usize = 5, f: usize = 6, g: usize = 7,
        h: usize = 8, i: usize = 9, j: usize = 10, k: c_int = 11, l: usize = 12) -> isize = 1,
        [fails with -1; in user system signal no_g];
}

/// What a G runs.
struct Job {
    call: fn(),
    times: u32,
}

unsafe extern "C" fn goroutine(job: *mut c_void) {
    // SAFETY: main passes a Job.
    unsafe { &*job.cast::<Job>() }.run();
}

impl Job {
    fn run(&self) {
        for _ in 0..self.times {
            (self.call)();
        }
    }
}

fn main() -> Result<(), nosplit::Errno> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [row, path, times] = &words[..] else {
        for victim in VICTIMS {
            let plan = victim.row.plan;
            println!(
                "{} {} {}",
                victim.row.name,
                plan.count(),
                plan.placement().stack / 8
            );
        }
        return Ok(());
    };
    let victim = VICTIMS.iter().find(|victim| victim.row.name == row);
    let victim = victim.expect("a row");
    let mut job = Job {
        call: match path.as_str() {
            "direct" => victim.direct,
            "no_g" => victim.no_g,
            _ => victim.wrapper,
        },
        times: times.parse().expect("a number"),
    };

    let mut stack = vec![0u128; 1 << 10];
    let m = Box::new(M::new());
    let g = G::new();
    if path != "none" {
        // SAFETY: the M outlives the thread's attachment.
        unsafe { os::attach((&raw const *m).cast_mut(), None)? };
    }
    match path.as_str() {
        "g0" | "none" => job.run(),
        "direct" | "g" | "no_g" => {
            // SAFETY: the stack, the G and the job outlive the goroutine, which ends in gogo.
            unsafe {
                g.init(stack.as_mut_ptr().cast(), 16 * stack.len());
                gostartcallfn(&g, goroutine, (&raw mut job).cast());
                gogo((&raw const g).cast_mut());
            }
        }
        _ => panic!("no such path: {path}"),
    }
    if path != "none" {
        os::detach()?;
    }
    Ok(())
}
