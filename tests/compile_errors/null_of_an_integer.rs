// error: a nosplit row that returns `i32` cannot fail by this convention
// error: NULL and MAP_FAILED: a pointer

nosplit::calls! {
    pub unsafe fn close(fd: i32) -> i32 = libc::close [fails with NULL; in user];
}

fn main() {}
