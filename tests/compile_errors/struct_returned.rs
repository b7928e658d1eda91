// error: `Pair` cannot be the result of a nosplit row

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Pair(u64, u64);

mod ffi {
    unsafe extern "C" {
        pub fn returned() -> super::Pair;
    }
}

nosplit::calls! {
    pub unsafe fn returned() -> Pair = ffi::returned [never fails; in user];
}

fn main() {}
