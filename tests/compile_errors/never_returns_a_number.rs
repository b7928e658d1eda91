// error: what_never_returns_has_no_result

nosplit::calls! {
    pub fn getpid() -> i32 = libc::getpid [never returns; in user system no_g];
}

fn main() {}
