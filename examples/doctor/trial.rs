//! A trial, in memory and in time: its record, its stacks, and the child process that it runs in.
//!
//! Every trial has a child process of its own, so that a row that dies, hangs, or ends the process
//! as it should, is a line of the report. What it finds it leaves in memory shared with the parent.

use crate::contexts::Context;
use crate::exercises::{Case, Ending, Exercise, Expect, Slot, Verdict};
use nosplit::G;
use nosplit::os::SignalStack;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

/// Bytes of a goroutine's stack.
pub const SMALL: usize = 2048;
/// Bytes of a stack that has room for C, and for what the kernel pushes at a signal.
pub const BIG: usize = 256 << 10;

/// A trial, in memory that parent and child share.
#[repr(C)]
pub struct Job {
    pub slot: Slot,
    exercise: &'static Exercise,
    case: &'static Case,
    context: Context,
    pub arena: *const Arena,
    /// What the stack of the G was filled with.
    pub paint: u8,
    /// The lowest byte of it that was written since; 0 until somebody has looked.
    lowest: usize,
    state: State,
    message: [u8; 512],
    length: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Begun,
    Ended,
}

/// Memory for trials: a stack for a G, a signal stack, a G, jobs. Shared with child processes.
///
/// ```text
///   guard page | stack of a G | guard page | signal stack | G | jobs
/// ```
pub struct Arena {
    map: *mut c_void,
    page: usize,
}

impl Arena {
    pub fn new() -> Arena {
        // SAFETY: fresh memory, of which the guards are a part.
        unsafe {
            let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
            let arena = |map| Arena { map, page };
            let map = libc::mmap(
                null_mut(),
                arena(null_mut()).size(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANON,
                -1,
                0,
            );
            assert_ne!(map, libc::MAP_FAILED);
            let arena = arena(map);
            for guard in [0, page + BIG] {
                assert_eq!(libc::mprotect(arena.at(guard), page, libc::PROT_NONE), 0);
            }
            arena
        }
    }

    fn at(&self, offset: usize) -> *mut c_void {
        self.map.wrapping_byte_add(offset)
    }

    fn size(&self) -> usize {
        2 * self.page + 2 * BIG + self.page + (4 * size_of::<Job>()).next_multiple_of(self.page)
    }

    /// The lowest address of the stack for a G: the guard page ends there.
    pub fn lo(&self) -> *mut c_void {
        self.at(self.page)
    }

    /// The signal stack, of 256 KiB.
    pub fn signal_stack(&self) -> SignalStack {
        SignalStack {
            lo: self.at(2 * self.page + BIG),
            size: BIG,
        }
    }

    /// A G, alone on its page.
    pub fn g(&self) -> *mut G {
        self.at(2 * self.page + 2 * BIG).cast()
    }

    /// The job of that number, below 4, made anew.
    pub fn job(
        &self,
        i: usize,
        context: Context,
        exercise: &'static Exercise,
        case: &'static Case,
    ) -> *mut Job {
        let job: *mut Job = self
            .at(3 * self.page + 2 * BIG)
            .cast::<Job>()
            .wrapping_add(i);
        // SAFETY: there is room for 4; zero is a value of what is not set here.
        unsafe {
            job.write_bytes(0, 1);
            (&raw mut (*job).exercise).write(exercise);
            (&raw mut (*job).case).write(case);
            (&raw mut (*job).context).write(context);
            (&raw mut (*job).arena).write(self);
            (&raw mut (*job).state).write(State::Begun);
            (*job).slot.function = match context {
                Context::Entry => (exercise.calls.no_g)(),
                _ => (exercise.calls.wrapper)(),
            };
        }
        job
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`.
        unsafe { assert_eq!(libc::munmap(self.map, self.size()), 0) };
    }
}

impl Job {
    /// What it tries.
    pub fn exercise(&self) -> &'static Exercise {
        self.exercise
    }

    /// Sets the arguments.
    pub fn prepare(&mut self) {
        (self.case.prepare)(&mut self.slot);
    }

    /// Makes the one call, on a stack that may be small.
    ///
    /// # Safety
    ///
    /// The arguments must be set.
    #[inline(always)]
    pub unsafe fn call(&mut self) {
        // SAFETY: the caller's word.
        unsafe { (self.exercise.calls.call)(&mut self.slot) };
    }

    /// Was the call made?
    pub fn called(&self) -> bool {
        self.slot.sp != 0
    }

    /// Finds the lowest byte of the painted stack that has changed.
    pub fn look(&mut self) {
        // SAFETY: the arena's stack, of which nobody writes this part now.
        unsafe {
            let lo = (*self.arena).lo().cast::<u8>();
            let clean = (0..SMALL).take_while(|&i| lo.add(i).read_volatile() == self.paint);
            self.lowest = lo as usize + clean.count();
        }
    }

    /// Bytes from SP at the call down to the lowest one written.
    pub fn stack(&mut self) -> Option<usize> {
        if !matches!(self.context, Context::User | Context::Fork) || !self.called() {
            return None;
        }
        if self.lowest == 0 {
            // The call has not returned.
            self.look();
        }
        self.slot.sp.checked_sub(self.lowest)
    }

    /// Judges what the call did.
    pub fn judge(&mut self) {
        // SAFETY: the call has been made.
        let outcome = unsafe { (self.exercise.calls.outcome)(&self.slot) };
        let verdict = self.in_place().and_then(|()| match &self.case.expect {
            Expect::Works(check) => check(&mut self.slot, outcome),
            Expect::Fails(errno) if outcome == Err(*errno) => Ok(()),
            Expect::Fails(errno) => Err(format!("{outcome:?} instead of {errno}")),
            Expect::Ends(_) => Err("it returned".into()),
        });
        self.end(verdict);
    }

    /// Was the call made where this context is?
    fn in_place(&self) -> Verdict {
        // SAFETY: the arena outlives its jobs.
        let arena = unsafe { &*self.arena };
        let lo = arena.lo() as usize;
        let signal = arena.signal_stack();
        let on_g = (lo..lo + self.context.stack_size()).contains(&self.slot.sp);
        let on_gsignal =
            (signal.lo as usize..signal.lo as usize + signal.size).contains(&self.slot.sp);
        let here = match self.context {
            Context::User | Context::SignalOnG | Context::Fork => on_g,
            Context::Signal => on_gsignal,
            _ => self.called() && !on_g && !on_gsignal,
        };
        if here {
            Ok(())
        } else {
            Err(format!(
                "the trial missed its context: sp {:#x}",
                self.slot.sp
            ))
        }
    }

    /// Leaves the verdict for the parent; the first failure stands.
    pub fn end(&mut self, verdict: Verdict) {
        self.state = State::Ended;
        if let (Err(why), 0) = (verdict, self.length) {
            let cut = why.floor_char_boundary(self.message.len());
            self.message[..cut].copy_from_slice(&why.as_bytes()[..cut]);
            self.length = cut;
        }
    }

    /// Why it failed, if it did.
    pub fn failure(&self) -> Option<String> {
        if self.state == State::Begun {
            return Some("it did not come to an end".into());
        }
        let why = String::from_utf8_lossy(&self.message[..self.length]);
        (self.length > 0).then(|| why.into_owned())
    }
}

/// How long a trial may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `body` in a child process, and leaves in the job how that ended, unless the body came back
/// with a verdict.
///
/// # Safety
///
/// The job must be good.
pub unsafe fn in_child(job: *mut Job, patience: Duration, body: impl FnOnce()) {
    let ending = supervise(patience, body);
    // SAFETY: the caller's word; the child has ended.
    let job = unsafe { &mut *job };
    let verdict = match (ending, &job.case.expect) {
        (Ending::Exited(0), _) if job.state == State::Ended => return,
        (Ending::TimedOut, _) => Err("timed out".into()),
        (_, Expect::Ends(check)) => job.in_place().and_then(|()| check(&mut job.slot, ending)),
        (ending, _) => Err(format!("the process ended: {ending:?}")),
    };
    job.end(verdict);
}

/// Runs `body` in a child process, which status 0 ends when it comes back.
fn supervise(patience: Duration, body: impl FnOnce()) -> Ending {
    let mut ends = [0; 2];
    // SAFETY: there is room for two. The child runs the body and nothing that the parent left.
    unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        let child = libc::fork();
        assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
        if child == 0 {
            libc::close(ends[0]);
            body();
            libc::_exit(0);
        }
        // The pipe ends when the child does: nothing is written to it.
        libc::close(ends[1]);
        let start = Instant::now();
        let mut status = 0;
        let ending = loop {
            let mut waits = libc::pollfd {
                fd: ends[0],
                events: libc::POLLIN,
                revents: 0,
            };
            libc::poll(&mut waits, 1, 50);
            if libc::waitpid(child, &mut status, libc::WNOHANG) == child {
                break if libc::WIFSIGNALED(status) {
                    Ending::Killed(libc::WTERMSIG(status))
                } else {
                    Ending::Exited(libc::WEXITSTATUS(status))
                };
            }
            if start.elapsed() > patience {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, &mut status, 0);
                break Ending::TimedOut;
            }
        };
        libc::close(ends[0]);
        ending
    }
}
