//! The switch: asmcgocall and systemstack, gogo and mcall, enter and leave.
//!
//! The transitions themselves are assembly (`trampolines/`); here stand the rules that they rely on,
//! each of which aborts in one line when it is broken.

use crate::arch::{self, Trampoline};
use crate::fatal::fatal;
use crate::g::{G, M, Status};
use crate::tls::getg;
use core::ffi::{c_int, c_void};
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::null_mut;
use core::sync::atomic::Ordering;

/// Runs `f(arg)` on the system stack of this thread, from wherever it is called.
///
/// It switches only if SP lies within the stack of the current G, or of a G that resumed it: on g0,
/// on a signal stack, on a foreign stack and on a thread without g, `f` runs where it is.
///
/// May be called in every context. Source: Go's `runtime.asmcgocall`.
///
/// # Safety
///
/// `f` must be callable with `arg`, must return, and must not unwind.
#[inline]
pub unsafe fn asmcgocall(f: unsafe extern "C" fn(*mut c_void) -> c_int, arg: *mut c_void) -> c_int {
    // SAFETY: the plain entry hands on the pointer and leaves the result where it is.
    unsafe {
        let entry: unsafe extern "C" fn(*mut c_void, Trampoline, *const c_void) -> c_int =
            core::mem::transmute(arch::asmcgocall as *const ());
        let f: Trampoline = core::mem::transmute(f as *const ());
        entry(arg, f, core::ptr::null())
    }
}

/// Runs `f(arg)` on the caller's stack, which it aligns, without ever reading TLS.
///
/// For code that runs before a thread has TLS. May be called in every context.
/// Source: Go's `runtime.asmcgocall_no_g`.
///
/// # Safety
///
/// As [`asmcgocall`]; and the stack must have room for `f`.
#[inline]
pub unsafe fn asmcgocall_no_g(
    f: unsafe extern "C" fn(*mut c_void) -> c_int,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        let entry: unsafe extern "C" fn(*mut c_void, Trampoline) -> c_int =
            core::mem::transmute(arch::asmcgocall_no_g as *const ());
        let f: Trampoline = core::mem::transmute(f as *const ());
        entry(arg, f)
    }
}

/// Runs a Rust function on the system stack of this thread, and returns its result.
///
/// By the rule of [`asmcgocall`]; may be called in every context, and nested. A panic in `f` prints
/// its message and aborts: it cannot cross the switch. Source: Go's `runtime.systemstack`.
#[inline]
pub fn systemstack<F: FnOnce() -> R, R>(f: F) -> R {
    struct Call<F, R> {
        f: ManuallyDrop<F>,
        result: MaybeUninit<R>,
    }

    // `extern "C"` makes a panic abort here.
    unsafe extern "C" fn run<F: FnOnce() -> R, R>(call: *mut c_void) {
        // SAFETY: systemstack passes its own Call, and calls once.
        unsafe {
            let call = &mut *call.cast::<Call<F, R>>();
            call.result.write(ManuallyDrop::take(&mut call.f)());
        }
    }

    let mut call: Call<F, R> = Call {
        f: ManuallyDrop::new(f),
        result: MaybeUninit::uninit(),
    };
    // SAFETY: `run` takes the closure and writes the result before it returns.
    unsafe {
        arch::asmcgocall((&raw mut call).cast(), run::<F, R>, core::ptr::null());
        call.result.assume_init()
    }
}

/// Makes `g` ready to run `entry(arg)` when [`gogo`] enters it: on its own stack, from its top.
///
/// When `entry` returns the G ends, and gogo returns; a panic in it prints its message and aborts, for
/// which Rust's std wants some 24 KiB of the stack: on a smaller one the guard page ends the process.
/// A G that has no stack, or a stack of less than [`STACK_MIN`](arch::STACK_MIN) bytes, or that
/// runs, aborts in one line. Contexts: user, system, no g. Source: Go's `runtime.gostartcallfn`.
///
/// # Safety
///
/// `entry` must be callable with `arg`, on whichever thread enters the G.
pub unsafe fn gostartcallfn(g: &G, entry: unsafe extern "C" fn(*mut c_void), arg: *mut c_void) {
    let (lo, hi) = g.stack();
    match g.status() {
        Status::New => fatal("gostartcallfn", "the G has no stack", None),
        Status::Running | Status::Entered => fatal("gostartcallfn", "the G is running", None),
        Status::Ready => fatal("gostartcallfn", "the G has something to run already", None),
        Status::Idle | Status::Dead => {}
    }
    if hi - lo < arch::STACK_MIN {
        fatal(
            "gostartcallfn",
            "the stack is too small for a first frame",
            None,
        );
    }
    // SAFETY: G::init was promised the memory, and nothing runs on it.
    g.sched_sp.set(unsafe { arch::prepare(hi, entry, arg) });
    g.set_status(Status::Ready);
}

/// Enters `g`, on the system stack of an attached thread; returns when it parks or ends.
///
/// It parks by [`mcall`], whose function runs before gogo returns; [`G::status`] tells a G that has
/// ended. May be called from system stacks only, with g0 current: not from a G, not in a handler,
/// not without g. Entering a G that runs, that has nothing to run, or from a wrong place aborts in
/// one line. Source: Go's `runtime.gogo`, which does not return.
///
/// # Safety
///
/// The G must not have been moved since [`G::init`], and whatever its frames hold on to must be
/// usable on this thread.
#[inline]
pub unsafe fn gogo(g: *mut G) {
    let m = current_m("gogo");
    // SAFETY: attached threads have a live M; the caller gives a G.
    unsafe {
        if getg() != (*m).g0() {
            fatal(
                "gogo",
                "called with a G running: park it first, by mcall",
                None,
            );
        }
        refuse_in_handler("gogo", (*m).g0());
        // Taking m is taking the G.
        if (*g)
            .m
            .compare_exchange(null_mut(), m, Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
        {
            fatal("gogo", "the G is entered already", None);
        }
        match (*g).status() {
            Status::Ready => {}
            Status::New => fatal("gogo", "the G has no stack", None),
            Status::Dead => fatal("gogo", "the G has ended", None),
            _ => fatal(
                "gogo",
                "the G has nothing to run: gostartcallfn first",
                None,
            ),
        }
        (*g).set_status(Status::Running);
        (*g).record.set(0);
        arch::gogo(g);
    }
}

/// Parks the current G and runs `f(g, arg)` on the system stack; then its [`gogo`] returns.
///
/// mcall returns when g is entered again, on any thread. By the time `f` runs the G is wholly
/// parked, so `f` may hand it to another M; it runs with g0 current, and must return. A panic in it
/// prints its message and aborts. Contexts: user, in a G that gogo entered; elsewhere one line and
/// abort. Source: Go's `runtime.mcall`, whose function does not return.
///
/// # Safety
///
/// `f` must be callable with the G and `arg`. Whoever enters the G next must do so once.
#[inline]
pub unsafe fn mcall(f: unsafe extern "C" fn(*mut G, *mut c_void), arg: *mut c_void) {
    let g = running_g("mcall");
    // SAFETY: g runs on this thread.
    unsafe {
        (*g).set_status(Status::Ready);
        arch::mcall(f, arg);
    }
}

/// Spills every callee-saved register onto the current stack, publishes SP in the G
/// ([`G::sched_sp`]), and runs `f(g, arg)` there.
///
/// For a garbage collector or a walker: while `f` runs, every root of the G's frames lies in memory
/// between that SP and the top of the stack. Contexts: user. Source: Go's `runtime.gosave`.
///
/// # Safety
///
/// `f` must be callable with the G and `arg`, and must return without parking the G.
#[inline]
pub unsafe fn gosave(f: unsafe extern "C" fn(*mut G, *mut c_void), arg: *mut c_void) {
    let g = running_g("gosave");
    // SAFETY: g runs on this thread.
    unsafe { arch::gosave(f, arg, g) }
}

/// Ends the current G: what [`gostartcallfn`]'s entry returns to.
pub(crate) unsafe extern "C" fn goexit() {
    unsafe extern "C" fn end(g: *mut G, _: *mut c_void) {
        // SAFETY: the G that mcall parked; nobody else has it.
        unsafe { (*g).set_status(Status::Dead) }
    }
    // SAFETY: `end` takes a G.
    unsafe { mcall(end, null_mut()) }
}

/// Bytes of the system stack that [`enter`] leaves to the code that switches to the coroutine.
pub const ENTER_ROOM: usize = 4096;

/// Tells the layer that this thread is about to switch, by other means, to the stack of `g`.
///
/// For runtimes that have their own context switch: call it just before resuming a coroutine whose
/// stack `g` describes, and [`leave`] just after the resume has returned. May be nested: a coroutine
/// that resumes another becomes its parent. From the system stack, calls in the coroutine will use
/// the stack below the caller's frame, after [`ENTER_ROOM`] bytes for the frames of the resume.
///
/// Contexts: user, system, on an attached thread. A G that is entered already, that has no stack or
/// something for gogo to run, or a thread without an M abort in one line.
///
/// # Safety
///
/// The bounds of `g` must be those of the coroutine's stack; and nothing but the resume may happen
/// between enter and leave.
pub unsafe fn enter(g: *mut G) {
    let m = current_m("enter");
    let previous = getg();
    let sp = stack_pointer();
    // SAFETY: attached threads have a live M and a live g; the caller gives a G.
    unsafe {
        if (*g)
            .m
            .compare_exchange(null_mut(), m, Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
        {
            fatal("enter", "the G is entered already", None);
        }
        match (*g).status() {
            Status::Idle | Status::Dead => {}
            Status::New => fatal("enter", "the G has no stack", None),
            _ => fatal("enter", "the G is gogo's: it has something to run", None),
        }
        refuse_in_handler("enter", previous);
        (*g).previous.set(previous);
        // Whose stack this is: the current G's, or that of one that resumed it, where the library can
        // run code on the parent's stack. In systemstack it is the system stack, though a G is current.
        let mut owner = previous;
        while !owner.is_null() && ((*owner).size.get() == 0 || !(*owner).contains(sp)) {
            owner = (*owner).parent.get();
        }
        if owner.is_null() {
            (*g).parent.set(null_mut());
            (*g).system_sp.set((sp - ENTER_ROOM) & !15);
        } else {
            (*g).parent.set(previous);
            (*g).system_sp.set((*owner).system_sp.get());
        }
        (*g).set_status(Status::Entered);
        (*g).record.set(0);
        arch::setg(g);
    }
}

/// Tells the layer that the resume of `g` has returned: the other half of [`enter`].
///
/// Must be the last that was entered; otherwise one line and abort. Contexts: as [`enter`].
///
/// # Safety
///
/// SP must be where it was when `enter` was called.
pub unsafe fn leave(g: *mut G) {
    current_m("leave");
    if getg() != g {
        fatal("leave", "the G is not the current one", None);
    }
    // SAFETY: g is current, so it is live.
    unsafe {
        if (*g).status() != Status::Entered {
            fatal("leave", "the G was not entered by enter", None);
        }
        refuse_in_handler("leave", g);
        arch::setg((*g).previous.get());
        (*g).parent.set(null_mut());
        (*g).set_status(Status::Idle);
        (*g).m.store(null_mut(), Ordering::Release);
    }
}

/// Does this PC lie in an entry of the layer, where a preempting handler must not switch Gs?
///
/// May be called in every context.
pub fn in_entries(pc: usize) -> bool {
    let (start, end) = arch::entry_bounds();
    start <= pc && pc < end
}

/// The M of this thread; a thread without one has broken a rule.
fn current_m(call: &str) -> *mut M {
    let g = getg();
    if g.is_null() {
        fatal(call, "this thread has no M: attach it first", None);
    }
    // SAFETY: g of a thread is live while it is its g.
    let m = unsafe { (*g).m() };
    if m.is_null() {
        fatal(call, "the current G has no M", None);
    }
    m
}

/// The G that gogo entered on this thread, and on whose stack this is called.
fn running_g(call: &str) -> *mut G {
    let g = getg();
    if g.is_null() {
        fatal(call, "this thread has no g: attach it first", None);
    }
    // SAFETY: as above.
    unsafe {
        match (*g).status() {
            Status::Running => {}
            Status::Entered => fatal(
                call,
                "the G was entered by enter: its own library parks it",
                None,
            ),
            _ => fatal(call, "called on a system stack", None),
        }
        if !(*g).contains(stack_pointer()) {
            fatal(call, "called off the stack of the G", None);
        }
        refuse_in_handler(call, g);
    }
    g
}

/// Handlers return; they do not switch.
///
/// # Safety
///
/// `g` must be g of this thread.
unsafe fn refuse_in_handler(call: &str, g: *mut G) {
    // SAFETY: the caller's word.
    if unsafe { (*g).handling.load(Ordering::Relaxed) } != 0 {
        fatal(call, "may not be called in a signal handler", None);
    }
}

fn stack_pointer() -> usize {
    // SAFETY: reads a register.
    unsafe { arch::stack_pointer() }
}
