// error: nosplit: a row ends in [HOW IT FAILS; in CONTEXT...] where HOW IT FAILS is one of:

nosplit::calls! {
    pub unsafe fn close(fd: i32) -> i32 = libc::close [fails with -2; in user];
}

fn main() {}
