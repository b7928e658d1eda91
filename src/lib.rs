//! nosplit
#![no_std]
