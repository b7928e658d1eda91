// error: nosplit: contexts are words out of: user system signal fork no_g

nosplit::calls! {
    pub unsafe fn close(fd: i32) -> i32 = libc::close [fails with -1; in];
}

fn main() {}
