// error: E0308

nosplit::calls! {
    pub unsafe fn close(fd: i32) -> i64 = libc::close [fails with -1; in user];
}

fn main() {}
