//! The places to walk from, and the way there: on a thread, on a stack above or below the thread's own
//! in memory, in a G that was entered before, from another frame.
#![allow(clippy::too_many_arguments, reason = "as many as a row may have")]

use crate::child::this_program;
use crate::registers::with_marks;
use crate::support::{Stack, attached, page};
use crate::walk::{self, Walk, walks_from_here};
use nosplit::os::{Interrupted, SignalStack, ThreadOptions, install, newosproc};
use nosplit::{G, M, Status, arch, calls, getg, gogo, gosave, gostartcallfn, mcall, systemstack};
use std::any::Any;
use std::env;
use std::ffi::{c_int, c_long, c_void};
use std::hint::black_box;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{null_mut, without_provenance_mut};

/// A function, by its address and by the name that gdb gives its frame.
#[derive(Clone, Debug)]
pub struct Function {
    pub address: usize,
    pub name: &'static str,
}

/// What gdb calls a frame that switches stacks: that is what the unwind tables say it is.
pub const SWITCH: &str = "<signal handler called>";

macro_rules! functions {
    ($($path:path $(as $name:expr)?),* $(,)?) => {
        vec![$(Function {
            address: $path as *const () as usize,
            name: [$($name,)? stringify!($path)][0],
        }),*]
    };
}

/// Somewhere that a G can get to.
pub struct Place {
    pub name: &'static str,
    /// What the G runs.
    run: fn(),
    /// The functions on the way, from the one that walks.
    way: Vec<Function>,
    /// Does all that is on the way keep frame pointers, if Rust does? libc need not.
    pub frame_pointers: bool,
    /// Is the G parked there? Then the way leads past its stack.
    parked: bool,
}

/// Every place.
pub fn places() -> Vec<Place> {
    vec![
        Place {
            name: "a callback from libc",
            run: sorts,
            way: functions![compare, arch::checked_asmcgocall as SWITCH, sorts],
            frame_pointers: false,
            parked: false,
        },
        Place {
            name: "a function behind a trampoline that has a frame",
            run: passes_twelve_words,
            way: functions![
                takes_twelve_words,
                twelve_words::trampoline as "trampoline",
                arch::checked_asmcgocall as SWITCH,
                passes_twelve_words,
            ],
            frame_pointers: true,
            parked: false,
        },
        Place {
            name: "systemstack",
            run: moves_to_the_system_stack,
            way: functions![
                on_the_system_stack,
                arch::asmcgocall as SWITCH,
                moves_to_the_system_stack
            ],
            frame_pointers: true,
            parked: false,
        },
        Place {
            name: "a handler that interrupted libc",
            run: raises_on_the_system_stack,
            way: functions![
                handler,
                arch::sigtramp as "sigtramp",
                arch::asmcgocall_i32 as SWITCH,
                raises_on_the_system_stack,
            ],
            frame_pointers: false,
            parked: false,
        },
        Place {
            name: "a handler that interrupted the stack of the G",
            run: raises_on_its_own_stack,
            way: functions![handler, arch::sigtramp as "sigtramp", raises_on_its_own_stack],
            frame_pointers: false,
            parked: false,
        },
        Place {
            name: "gosave",
            run: saves,
            way: functions![saved, arch::gosave as "gosave", saves],
            frame_pointers: true,
            parked: false,
        },
        Place {
            name: "mcall",
            run: parks,
            way: functions![parked, arch::mcall as "mcall"],
            frame_pointers: true,
            parked: true,
        },
    ]
}

/// On which thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thread {
    Main,
    Other,
}

/// Where the stack of the G lies, seen from the stack of the thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Below,
    Above,
}

/// Every thread and side.
pub const SITUATIONS: [(Thread, Side); 4] = [
    (Thread::Main, Side::Below),
    (Thread::Main, Side::Above),
    (Thread::Other, Side::Below),
    (Thread::Other, Side::Above),
];

impl Place {
    /// The functions that a walk must meet there, in this order, from the one that walks to the first
    /// one of the thread.
    pub fn way(&self, thread: Thread) -> Vec<Function> {
        let mut way = self.way.clone();
        if !self.parked {
            way.extend(
                functions![with_marks, entry, arch::goentry as SWITCH, arch::landing as "landing"],
            );
        }
        way.extend(functions![schedules, with_marks, schedules_again]);
        way.extend(match thread {
            Thread::Main => functions![c_main as "main"],
            Thread::Other => functions![start, arch::mstart_stub as "mstart_stub"],
        });
        way
    }

    /// The marks that the unwind tables must give back there.
    pub fn marks(&self) -> &'static [usize] {
        if self.parked {
            &[SYSTEM_MARK]
        } else {
            &[USER_MARK, SYSTEM_MARK]
        }
    }
}

/// What registers are marked with on the stack of the G, and on the system stack before gogo.
const USER_MARK: usize = 0x1000;
const SYSTEM_MARK: usize = 0x2000;

unsafe extern "C" {
    /// What the C library calls, and rustc makes: it calls Rust's.
    #[link_name = "main"]
    fn c_main();
}

/// Goes to a place, walks there, and comes back. Must be called on the main thread.
pub fn visit(place: &Place, thread: Thread, side: Side) -> Walk {
    match thread {
        Thread::Main => attached(|m| enter(m, place, side)),
        Thread::Other => on_a_thread(place, side).unwrap_or_else(|panic| resume_unwind(panic)),
    }
    walk::last()
}

/// A new thread of the layer, and what it shall do.
#[repr(C)]
struct Visitor<'a> {
    m: M,
    place: &'a Place,
    side: Side,
    result: Result<(), Box<dyn Any + Send>>,
}

fn on_a_thread(place: &Place, side: Side) -> Result<(), Box<dyn Any + Send>> {
    let signal_stack = Stack::new(64 << 10);
    let options = ThreadOptions {
        signal_stack: Some(SignalStack {
            lo: signal_stack.lo(),
            size: signal_stack.size(),
        }),
        ..ThreadOptions::default()
    };
    let mut visitor = Visitor {
        m: M::new(),
        place,
        side,
        result: Ok(()),
    };
    // SAFETY: the visitor and the signal stack live until the thread has been joined.
    unsafe {
        let thread = newosproc((&raw mut visitor).cast(), start, options).expect("newosproc");
        calls::pthread_join(thread, null_mut()).expect("pthread_join");
    }
    visitor.result
}

unsafe extern "C" fn start(m: *mut M) {
    // SAFETY: the M is the first field of a Visitor, and nobody else looks at it.
    let visitor = unsafe { &mut *m.cast::<Visitor<'_>>() };
    visitor.result = catch_unwind(AssertUnwindSafe(|| {
        enter(&visitor.m, visitor.place, visitor.side)
    }));
}

/// Has a G park at once, and enters it again from another frame to go to the place: the walk must go
/// on where it was entered last.
fn enter(m: &M, place: &Place, side: Side) {
    // SAFETY: of the thread that this is.
    let (lo, hi) = unsafe { (*m.g0()).stack() };
    let stack = stack_beside(lo, hi, side).expect("make_room has seen to it");
    let g = G::new();
    // SAFETY: the stack, the G and the place outlive the goroutine, which ends below.
    unsafe {
        install(libc::SIGUSR1, handler, 0).expect("install");
        g.init(stack.lo(), stack.size());
        gostartcallfn(&g, entry, (&raw const *place).cast_mut().cast());
    }
    let this = (&raw const g).cast_mut().cast();
    // SAFETY: it is ready, and so it is each time that it has parked.
    unsafe {
        schedules(this);
        schedules_again(this);
        while g.status() == Status::Ready {
            schedules(this);
        }
    }
}

unsafe extern "C" fn schedules(g: *mut c_void) {
    // SAFETY: `enter` has made it ready, on this thread.
    unsafe { gogo(g.cast()) };
    stay_on_the_stack();
}

#[inline(never)]
fn schedules_again(g: *mut c_void) {
    // SAFETY: as above.
    unsafe { with_marks(schedules, g, SYSTEM_MARK) };
    stay_on_the_stack();
}

/// So that the call before it is not made by a jump.
fn stay_on_the_stack() {
    black_box(());
}

/// Starts this program over, where there is no room above the stack of the main thread: the kernel
/// draws its place anew then. In 32 bits it leaves up to 8 MiB, and sometimes none at all.
pub fn make_room() {
    const TRIES: &str = "NOSPLIT_UNWIND_TRIES";
    // SAFETY: of the thread that this is.
    let (lo, hi) = attached(|m| unsafe { (*m.g0()).stack() });
    if stack_beside(lo, hi, Side::Above).is_some() {
        return;
    }
    let tries: u32 = env::var(TRIES).map_or(0, |tries| tries.parse().expect("a number"));
    assert!(
        tries < 20,
        "no room above the main stack: is its place not random?"
    );
    let mut again = this_program();
    again
        .args(env::args_os().skip(1))
        .env(TRIES, (tries + 1).to_string());
    panic!("this program did not start again: {}", again.exec());
}

/// A stack of 64 KiB above or below a thread's.
fn stack_beside(lo: usize, hi: usize, side: Side) -> Option<Stack> {
    const SIZE: usize = 64 << 10;
    // Whatever lies next to it: twice as far away each time.
    (page().ilog2()..usize::BITS - 1)
        .map(|log| 1 << log)
        .find_map(|distance| {
            let hint = match side {
                Side::Below => lo.checked_sub(distance + SIZE)?,
                Side::Above => hi.checked_add(distance)?,
            };
            let stack = Stack::at(without_provenance_mut(hint), SIZE);
            let there = match side {
                Side::Below => stack.hi() as usize <= lo,
                Side::Above => stack.lo() as usize >= hi,
            };
            there.then_some(stack)
        })
}

unsafe extern "C" fn entry(place: *mut c_void) {
    unsafe extern "C" fn nothing(_: *mut G, _: *mut c_void) {}
    // SAFETY: on the G that `enter` made, with the place that it gave.
    unsafe {
        mcall(nothing, null_mut());
        with_marks(runs, place, USER_MARK);
    }
    stay_on_the_stack();
}

unsafe extern "C" fn runs(place: *mut c_void) {
    // SAFETY: as above.
    unsafe { ((*place.cast::<Place>()).run)() };
    stay_on_the_stack();
}

/// Walks, while the current G is under way.
fn walk_here() {
    // SAFETY: g of an attached thread.
    walks_from_here(unsafe { &*getg() });
    stay_on_the_stack();
}

type Compare = unsafe extern "C" fn(*const c_void, *const c_void) -> c_int;

nosplit::calls! {
    unsafe fn sort(base: *mut c_void, count: usize, size: usize, compare: Option<Compare>)
        = libc::qsort [never fails; in user system no_g];

    unsafe fn twelve_words(
        a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long,
        g: c_long, h: c_long, i: c_long, j: c_long, k: c_long, l: c_long,
    ) -> c_long
        = takes_twelve_words [never fails; in user system];
}

fn sorts() {
    let mut words = [2u16, 1];
    // SAFETY: two words, and a function that compares.
    unsafe { sort(words.as_mut_ptr().cast(), 2, 2, Some(compare)) };
    assert_eq!(words, [1, 2]);
}

unsafe extern "C" fn compare(a: *const c_void, b: *const c_void) -> c_int {
    walk_here();
    // SAFETY: qsort passes two of the words.
    unsafe { c_int::from(*a.cast::<u16>()) - c_int::from(*b.cast::<u16>()) }
}

fn passes_twelve_words() {
    // SAFETY: the function takes any words.
    let sum = unsafe { twelve_words(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12) };
    assert_eq!(sum, 78);
}

#[rustfmt::skip]
unsafe extern "C" fn takes_twelve_words(
    a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long,
    g: c_long, h: c_long, i: c_long, j: c_long, k: c_long, l: c_long,
) -> c_long {
    walk_here();
    a + b + c + d + e + f + g + h + i + j + k + l
}

fn moves_to_the_system_stack() {
    systemstack(on_the_system_stack);
    stay_on_the_stack();
}

#[inline(never)]
fn on_the_system_stack() {
    walk_here();
    stay_on_the_stack();
}

fn raises_on_the_system_stack() {
    calls::raise(libc::SIGUSR1).expect("raise");
    stay_on_the_stack();
}

fn raises_on_its_own_stack() {
    // SAFETY: the G has 64 KiB; the handler is `handler`.
    assert_eq!(unsafe { libc::raise(libc::SIGUSR1) }, 0);
}

unsafe extern "C" fn handler(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void, _: &Interrupted) {
    walk_here();
    stay_on_the_stack();
}

fn saves() {
    // SAFETY: on a G; `saved` returns.
    unsafe { gosave(saved, null_mut()) };
    stay_on_the_stack();
}

unsafe extern "C" fn saved(_: *mut G, _: *mut c_void) {
    walk_here();
    stay_on_the_stack();
}

fn parks() {
    // SAFETY: on a G, which `enter` enters again.
    unsafe { mcall(parked, null_mut()) };
    stay_on_the_stack();
}

unsafe extern "C" fn parked(g: *mut G, _: *mut c_void) {
    // SAFETY: mcall passes the G.
    walks_from_here(unsafe { &*g });
    stay_on_the_stack();
}
