//! A shared library that uses the crate, to be loaded at run time.

mod common;

/// Returns 0 if all went well.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_run() -> i32 {
    common::run().map_or(1, |()| 0)
}
