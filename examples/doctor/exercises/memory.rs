//! Pages and the heap.

use super::exercise::{fails, works};
use super::file::{own_file, pipe, put, take};
use super::{Exercise, Slot};
use nosplit::{Errno, calls};
use std::ptr::null_mut;

const RW: usize = (libc::PROT_READ | libc::PROT_WRITE) as usize;
const ANON: usize = (libc::MAP_PRIVATE | libc::MAP_ANON) as usize;
const NO_FD: usize = -1isize as usize;

fn page() -> usize {
    // SAFETY: asks for a number.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// A fresh page, filled with ones.
fn fresh() -> usize {
    // SAFETY: fresh memory.
    unsafe {
        let map = libc::mmap(null_mut(), page(), RW as _, ANON as _, -1, 0);
        assert_ne!(map, libc::MAP_FAILED);
        map.cast::<u8>().write_bytes(1, page());
        map as usize
    }
}

/// Can the kernel read a byte there? It says EFAULT where we would die.
fn readable(address: usize) -> bool {
    put(pipe()[1], address, 1) == 1
}

/// Can the kernel write a byte there?
fn writable(address: usize) -> bool {
    let [from, to] = pipe();
    put(to, c"x".as_ptr() as usize, 1) == 1 && take(from, address, 1) == 1
}

/// Passes a fresh page, and what comes after its size.
fn pass_page<const N: usize>(s: &mut Slot, rest: [usize; N]) {
    s.pass([fresh(), page()]);
    s.args[2..2 + N].copy_from_slice(&rest);
}

pub static EXERCISES: &[Exercise] = &[
    Exercise {
        row: &calls::mmap::ROW,
        calls: ways!(mmap 0 1 2 3 4 5),
        cases: &[
            works(
                "gives memory that is empty and can be used",
                |s| s.pass([0, 2 * page(), RW, ANON, NO_FD, 0]),
                |_, map| {
                    let map = map.map_err(|e| format!("{e}"))?;
                    for at in [map, map + 2 * page() - 1] {
                        ensure!(readable(at) && writable(at), "not at {at:#x}");
                    }
                    // SAFETY: it can be read.
                    let second = unsafe { *((map + 1) as *const u8) };
                    ensure!(second == 0, "it holds {second}");
                    Ok(())
                },
            ),
            works(
                "shows a file from its offset on",
                |s| {
                    let mut content = vec![b'a'; 2 * page()];
                    content[page()..].fill(b'b');
                    let fd = own_file(s, &content);
                    let private = libc::MAP_PRIVATE as usize;
                    s.pass([0, page(), libc::PROT_READ as usize, private, fd, page()]);
                },
                |_, map| {
                    let map = map.map_err(|e| format!("{e}"))?;
                    ensure!(readable(map) && !writable(map), "wrong protection");
                    // SAFETY: it can be read.
                    let first = unsafe { *(map as *const u8) };
                    ensure!(first == b'b', "byte {first} instead of {}", b'b');
                    Ok(())
                },
            ),
            fails(Errno::EINVAL, "of nothing", |s| {
                s.pass([0, 0, RW, ANON, NO_FD, 0])
            }),
        ],
        repeat: None,
    },
    Exercise {
        row: &calls::munmap::ROW,
        calls: ways!(munmap 0 1),
        cases: &[
            works(
                "takes the memory away",
                |s| pass_page(s, []),
                |s, result| {
                    ensure!(result == Ok(0), "{result:?}");
                    ensure!(!readable(s.args[0]), "it is still there");
                    Ok(())
                },
            ),
            fails(Errno::EINVAL, "at an unaligned address", |s| {
                s.pass([1, page()])
            }),
        ],
        repeat: None,
    },
    Exercise {
        row: &calls::mprotect::ROW,
        calls: ways!(mprotect 0 1 2),
        cases: &[
            works(
                "to PROT_READ keeps writers out",
                |s| pass_page(s, [libc::PROT_READ as usize]),
                |s, result| {
                    ensure!(result == Ok(0), "{result:?}");
                    ensure!(readable(s.args[0]), "it cannot be read");
                    ensure!(!writable(s.args[0]), "it can be written");
                    Ok(())
                },
            ),
            fails(Errno::EINVAL, "at an unaligned address", |s| {
                s.pass([1, page(), RW]);
            }),
        ],
        repeat: repeat!(libc::mprotect, mprotect 0 1 2, |s| pass_page(s, [RW])),
    },
    Exercise {
        row: &calls::madvise::ROW,
        calls: ways!(madvise 0 1 2),
        cases: &[
            works(
                "of MADV_DONTNEED empties a page",
                |s| pass_page(s, [libc::MADV_DONTNEED as usize]),
                |s, result| {
                    ensure!(result == Ok(0), "{result:?}");
                    ensure!(writable(s.args[0]), "it cannot be used any more");
                    // SAFETY: it can be read.
                    let second = unsafe { *((s.args[0] + 1) as *const u8) };
                    // Elsewhere the advice need not be taken.
                    ensure!(
                        second == 0 || cfg!(not(target_os = "linux")),
                        "it holds {second}"
                    );
                    Ok(())
                },
            ),
            // The kernel looks at one first, qemu-user at the other.
            fails(
                Errno::EINVAL,
                "of nothing known, at an unaligned address",
                |s| s.pass([1, page(), 9999]),
            ),
        ],
        repeat: repeat!(libc::madvise, madvise 0 1 2, |s| {
            pass_page(s, [libc::MADV_NORMAL as usize]);
        }),
    },
    Exercise {
        row: &calls::mlock::ROW,
        calls: ways!(mlock 0 1),
        cases: &[
            works(
                "does what a direct call does",
                |s| pass_page(s, []),
                |_, result| {
                    // A limit may forbid it, to both alike.
                    // SAFETY: a fresh page.
                    let direct = match unsafe { libc::mlock(fresh() as *const _, page()) } {
                        0 => Ok(0),
                        _ => Err(std::io::Error::last_os_error().raw_os_error()),
                    };
                    let result = result.map_err(|e| Some(e.number()));
                    ensure!(result == direct, "{result:?} instead of {direct:?}");
                    Ok(())
                },
            ),
            fails(Errno::ENOMEM, "of memory that is not there", |s| {
                pass_page(s, []);
                // SAFETY: nobody uses it.
                assert_eq!(unsafe { libc::munmap(s.args[0] as *mut _, page()) }, 0);
            }),
        ],
        repeat: repeat!(libc::mlock, mlock 0 1, |s| pass_page(s, [])),
    },
    Exercise {
        row: &calls::malloc::ROW,
        calls: ways!(malloc 0),
        cases: &[
            works(
                "gives memory for every type of C",
                |s| s.pass([1000]),
                |_, p| {
                    let p = p.map_err(|e| format!("{e}"))?;
                    let aligned = p.is_multiple_of(align_of::<u64>().max(2 * size_of::<usize>()));
                    ensure!(p != 0 && aligned, "{p:#x} is not aligned");
                    ensure!(writable(p) && writable(p + 999), "it cannot be used");
                    // SAFETY: malloc gave it.
                    unsafe { libc::free(p as *mut _) };
                    Ok(())
                },
            ),
            fails(Errno::ENOMEM, "of more than there is", |s| {
                s.pass([usize::MAX / 4 * 3]);
            }),
        ],
        repeat: None,
    },
    Exercise {
        row: &calls::free::ROW,
        calls: ways!(free 0),
        cases: &[works(
            "gives a big block back to the kernel",
            // SAFETY: asks for memory.
            |s| s.pass([unsafe { libc::malloc(64 << 20) } as usize]),
            |s, _| {
                // Elsewhere libc may keep it.
                let kept = readable(s.args[0]) && cfg!(target_os = "linux");
                ensure!(!kept, "it is still there");
                Ok(())
            },
        )],
        repeat: repeat!(libc::free, free 0, |s| s.pass([0])),
    },
];
