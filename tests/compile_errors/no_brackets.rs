// error: nosplit: a row is [pub] [unsafe] fn NAME

nosplit::calls! {
    pub unsafe fn close(fd: i32) -> i32 = libc::close;
}

fn main() {}
