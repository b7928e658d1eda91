// error: E0308

nosplit::calls! {
    // R21 and its like: a wrapper that is wider than the function.
    pub unsafe fn close(fd: i32, flags: u32) -> i32 = libc::close [fails with -1; in user];
}

fn main() {}
