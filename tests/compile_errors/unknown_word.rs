// error: nosplit: contexts are words out of: user system signal fork no_g; and only `; blocks` may follow

nosplit::calls! {
    pub unsafe fn close(fd: i32) -> i32 = libc::close [fails with -1; in user; waits];
}

fn main() {}
