// error: `Pair` cannot be an argument of a nosplit row
// error: pass a struct by pointer, as libc does

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Pair(u64, u64);

mod ffi {
    unsafe extern "C" {
        pub fn by_value(pair: super::Pair) -> i32;
    }
}

nosplit::calls! {
    pub unsafe fn by_value(pair: Pair) -> i32 = ffi::by_value [fails with -1; in user];
}

fn main() {}
