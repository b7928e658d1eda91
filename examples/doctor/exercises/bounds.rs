//! Where this thread's stack is, as each system tells it.

use super::Exercise;
use super::exercise::works;
use nosplit::calls;

fn this_thread() -> usize {
    // SAFETY: asks only.
    unsafe { libc::pthread_self() as usize }
}

#[cfg(target_vendor = "apple")]
pub static EXERCISES: &[Exercise] = &[
    Exercise {
        row: &calls::pthread_get_stackaddr_np::ROW,
        calls: ways!(pthread_get_stackaddr_np 0),
        cases: &[works(
            "is just above this thread's stack",
            |s| s.pass([this_thread()]),
            |s, hi| {
                // SAFETY: asks only.
                let size = unsafe { libc::pthread_get_stacksize_np(s.args[0] as _) };
                let hi = hi.map_err(|e| format!("{e}"))?;
                let here = (&raw const size) as usize;
                ensure!(
                    (hi - size..hi).contains(&here),
                    "{hi:#x}, and we are at {here:#x}"
                );
                Ok(())
            },
        )],
        repeat: repeat!(libc::pthread_get_stackaddr_np, pthread_get_stackaddr_np 0, |s| {
            s.pass([this_thread()]);
        }),
    },
    Exercise {
        row: &calls::pthread_get_stacksize_np::ROW,
        calls: ways!(pthread_get_stacksize_np 0),
        cases: &[works(
            "is the size of this thread's stack",
            |s| s.pass([this_thread()]),
            |s, size| {
                // SAFETY: asks only.
                let hi = unsafe { libc::pthread_get_stackaddr_np(s.args[0] as _) } as usize;
                let size = size.map_err(|e| format!("{e}"))?;
                let here = (&raw const size) as usize;
                ensure!(
                    (hi - size..hi).contains(&here),
                    "{size}, and we are {} in",
                    hi - here
                );
                Ok(())
            },
        )],
        repeat: repeat!(libc::pthread_get_stacksize_np, pthread_get_stacksize_np 0, |s| {
            s.pass([this_thread()]);
        }),
    },
];

#[cfg(not(target_vendor = "apple"))]
pub static EXERCISES: &[Exercise] = &[
    Exercise {
        row: &calls::pthread_getattr_np::ROW,
        calls: ways!(pthread_getattr_np 0 1),
        cases: &[works(
            "describes this thread's stack",
            |s| s.pass([this_thread(), s.place(0)]),
            |s, result| {
                ensure!(result == Ok(0), "{result:?}");
                let (mut lo, mut size) = (std::ptr::null_mut(), 0);
                // SAFETY: the call made attributes.
                unsafe { libc::pthread_attr_getstack(s.at(0), &mut lo, &mut size) };
                let here = (&raw const size) as usize;
                let lo = lo as usize;
                ensure!(
                    (lo..lo + size).contains(&here),
                    "{lo:#x}, and we are at {here:#x}"
                );
                Ok(())
            },
        )],
        repeat: None,
    },
    Exercise {
        row: &calls::pthread_attr_getstack::ROW,
        calls: ways!(pthread_attr_getstack 0 1 2),
        cases: &[works(
            "tells what was set",
            |s| {
                // SAFETY: place 0 has room.
                assert_eq!(unsafe { libc::pthread_attr_init(s.at(0)) }, 0);
                let memory = vec![0u128; 1 << 14].leak();
                // SAFETY: memory that is never freed.
                let status = unsafe {
                    libc::pthread_attr_setstack(s.at(0), memory.as_mut_ptr().cast(), 1 << 18)
                };
                assert_eq!(status, 0);
                s.notes[0] = memory.as_ptr() as usize;
                s.pass([s.place(0), s.place(1), s.place(2)]);
            },
            |s, result| {
                ensure!(result == Ok(0), "{result:?}");
                // SAFETY: stored by the call.
                let (lo, size) = unsafe { (*s.at::<usize>(1), *s.at::<usize>(2)) };
                ensure!(
                    (lo, size) == (s.notes[0], 1 << 18),
                    "{size} bytes from {lo:#x}"
                );
                Ok(())
            },
        )],
        repeat: repeat!(libc::pthread_attr_getstack, pthread_attr_getstack 0 1 2, |s| {
            // SAFETY: place 0 has room.
            assert_eq!(unsafe { libc::pthread_attr_init(s.at(0)) }, 0);
            s.pass([s.place(0), s.place(1), s.place(2)]);
        }),
    },
];
