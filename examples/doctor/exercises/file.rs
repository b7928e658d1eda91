//! Descriptors.

use super::Exercise;
use super::exercise::{fails, works};
use nosplit::{Errno, calls};
use std::ffi::{CStr, c_int};
use std::os::unix::ffi::OsStrExt;

/// What no descriptor is.
const BAD: usize = -1isize as usize;

/// The two ends of a pipe, as words: read, write.
pub fn pipe() -> [usize; 2] {
    let mut ends = [0 as c_int; 2];
    // SAFETY: there is room for two.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    ends.map(|fd| fd as usize)
}

/// Writes to a descriptor without the layer; -1 if that fails.
pub fn put(fd: usize, from: usize, n: usize) -> isize {
    // SAFETY: the kernel refuses what it cannot read.
    unsafe { libc::write(fd as c_int, from as *const _, n) }
}

/// Reads from a descriptor without the layer; -1 if that fails.
pub fn take(fd: usize, to: usize, n: usize) -> isize {
    // SAFETY: the kernel refuses what it cannot write.
    unsafe { libc::read(fd as c_int, to as *mut _, n) }
}

fn opened(path: &CStr) -> usize {
    // SAFETY: a C string.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDWR) };
    assert!(fd >= 0, "{path:?}");
    fd as usize
}

/// Stores a path of this process's own in place 0, as a C string. No file is there.
fn own_path(s: &mut super::Slot) -> usize {
    let path = std::env::temp_dir().join(format!("nosplit-{}", std::process::id()));
    let bytes = path.as_os_str().as_bytes();
    assert!(bytes.len() < 256, "the name of the temporary directory");
    // SAFETY: place 0 has room for them, and for a zero.
    unsafe {
        let to: *mut u8 = s.at(0);
        to.copy_from(bytes.as_ptr(), bytes.len());
        to.add(bytes.len()).write(0);
        // Left by a process that died.
        libc::unlink(to.cast());
    }
    s.place(0)
}

/// A descriptor of an unlinked file of that mode and content.
pub fn own_file(s: &mut super::Slot, content: &[u8]) -> usize {
    let path = own_path(s) as *const _;
    // SAFETY: a C string, and a good buffer.
    unsafe {
        let fd = libc::open(path, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, 0o600);
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        libc::unlink(path);
        let n = libc::write(fd, content.as_ptr().cast(), content.len());
        assert_eq!(n, content.len() as isize);
        fd as usize
    }
}

pub static EXERCISES: &[Exercise] = &[
    Exercise {
        row: &calls::open::ROW,
        calls: ways!(open 0 1 2),
        cases: &[
            works(
                "creates a file of the mode that it is given",
                |s| {
                    let path = own_path(s);
                    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
                    s.pass([path, flags as usize, 0o400]);
                },
                |s, fd| {
                    let fd = fd.map_err(|e| format!("{e}"))?;
                    // SAFETY: a struct of integers, and the path that was opened.
                    let (status, mode) = unsafe {
                        let mut stat: libc::stat = std::mem::zeroed();
                        let status = libc::fstat(fd as c_int, &mut stat);
                        libc::unlink(s.at(0));
                        (status, stat.st_mode & 0o7777)
                    };
                    ensure!(status == 0, "its descriptor {fd} is none");
                    ensure!(mode == 0o400, "mode {mode:o} instead of 400");
                    let written = put(fd, s.place(0), 4);
                    ensure!(written == 4, "O_RDWR, and nothing can be written");
                    Ok(())
                },
            ),
            fails(Errno::ENOENT, "of a file that does not exist", |s| {
                let path = own_path(s);
                s.pass([path, libc::O_RDONLY as usize, 0]);
            }),
        ],
        repeat: None,
    },
    Exercise {
        row: &calls::close::ROW,
        calls: ways!(close 0),
        cases: &[
            works(
                "of the end that writes ends a pipe",
                |s| {
                    s.notes[..2].copy_from_slice(&pipe());
                    s.pass([s.notes[1]]);
                },
                |s, result| {
                    ensure!(result == Ok(0), "{result:?}");
                    // SAFETY: asks only.
                    let flags = unsafe { libc::fcntl(s.args[0] as c_int, libc::F_GETFD) };
                    ensure!(flags == -1, "the descriptor is still open");
                    let n = take(s.notes[0], s.place(0), 1);
                    ensure!(n == 0, "read from the other end: {n} instead of 0");
                    Ok(())
                },
            ),
            fails(Errno::EBADF, "of no descriptor", |s| s.pass([BAD])),
        ],
        repeat: None,
    },
    Exercise {
        row: &calls::read::ROW,
        calls: ways!(read 0 1 2),
        cases: &[
            works(
                "takes what is in a pipe",
                |s| {
                    let [from, to] = pipe();
                    assert_eq!(put(to, c"nosplit".as_ptr() as usize, 7), 7);
                    s.pass([from, s.place(0), 100]);
                },
                |s, n| {
                    ensure!(n == Ok(7), "{n:?} instead of 7");
                    // SAFETY: bytes.
                    let bytes = unsafe { *s.at::<[u8; 8]>(0) };
                    ensure!(&bytes == b"nosplit\0", "{bytes:?} instead of `nosplit`");
                    Ok(())
                },
            ),
            fails(Errno::EBADF, "of no descriptor", |s| {
                s.pass([BAD, s.place(0), 1]);
            }),
        ],
        repeat: repeat!(libc::read, read 0 1 2, |s| {
            s.pass([opened(c"/dev/zero"), s.place(0), 1]);
        }),
    },
    Exercise {
        row: &calls::write::ROW,
        calls: ways!(write 0 1 2),
        cases: &[
            works(
                "arrives at the other end of a pipe",
                |s| {
                    s.notes[..2].copy_from_slice(&pipe());
                    s.pass([s.notes[1], c"nosplit".as_ptr() as usize, 7]);
                },
                |s, n| {
                    ensure!(n == Ok(7), "{n:?} instead of 7");
                    let n = take(s.notes[0], s.place(0), 100);
                    // SAFETY: bytes.
                    let bytes = unsafe { *s.at::<[u8; 8]>(0) };
                    ensure!(n == 7 && &bytes == b"nosplit\0", "{n} bytes: {bytes:?}");
                    Ok(())
                },
            ),
            fails(Errno::EBADF, "to no descriptor", |s| {
                s.pass([BAD, s.place(0), 1]);
            }),
        ],
        repeat: repeat!(libc::write, write 0 1 2, |s| {
            s.pass([opened(c"/dev/null"), s.place(0), 1]);
        }),
    },
];
