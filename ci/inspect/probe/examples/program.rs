//! An executable that uses the crate.

mod common;

fn main() -> Result<(), nosplit::Errno> {
    common::run()
}
