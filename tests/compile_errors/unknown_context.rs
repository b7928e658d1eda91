// error: nosplit: `kernel` is no context: user, system, signal, fork, no_g

nosplit::calls! {
    pub unsafe fn close(fd: i32) -> i32 = libc::close [fails with -1; in user kernel];
}

fn main() {}
