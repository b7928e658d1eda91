//! The runtime's OS backend: threads and signals, on top of the calls.

pub(crate) mod signal;
pub(crate) mod thread;

pub use signal::{Handler, Interrupted, Stack, install};
pub use thread::{SignalStack, ThreadOptions, attach, detach, newosproc, newosproc0};
