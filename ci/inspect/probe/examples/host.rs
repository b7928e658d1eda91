//! A program that does not use the crate, and loads a shared library that does: `host LIBRARY`.

use std::ffi::{CStr, CString, c_char};

/// Runs the plug-in on this thread, and once more on another, which was there before it.
fn main() {
    let library = std::env::args().nth(1).expect("host LIBRARY");
    let library = CString::new(library).expect("a path");
    let (wake, woken) = std::sync::mpsc::channel::<extern "C" fn() -> i32>();
    let thread = std::thread::spawn(move || woken.recv().map(|run| run()));
    // SAFETY: the plug-in has this function.
    let run = unsafe {
        let handle = libc::dlopen(library.as_ptr(), libc::RTLD_NOW);
        assert!(!handle.is_null(), "{:?}", text(libc::dlerror()));
        let symbol = libc::dlsym(handle, c"plugin_run".as_ptr());
        assert!(!symbol.is_null(), "{:?}", text(libc::dlerror()));
        std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> i32>(symbol)
    };
    assert_eq!(run(), 0);
    wake.send(run).expect("the thread waits");
    assert_eq!(thread.join().expect("the thread ends"), Ok(0));
}

/// # Safety
///
/// `text` must be a C string.
unsafe fn text<'a>(text: *const c_char) -> &'a CStr {
    // SAFETY: the caller's word.
    unsafe { CStr::from_ptr(text) }
}
