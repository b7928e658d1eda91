// error: E0308

nosplit::calls! {
    pub fn getpid() -> ! = libc::getpid [never returns; in user];
}

fn main() {}
