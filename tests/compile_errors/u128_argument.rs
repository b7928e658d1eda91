// error: `u128` cannot be an argument of a nosplit row

mod ffi {
    unsafe extern "C" {
        pub fn wide(x: u128) -> i32;
    }
}

nosplit::calls! {
    pub unsafe fn wide(x: u128) -> i32 = ffi::wide [fails with -1; in user];
}

fn main() {}
