// error: nosplit: a row takes at most 12 arguments

mod ffi {
    unsafe extern "C" {
        #[rustfmt::skip]
        pub fn many(
            a: u8,
            b: u8,
            c: u8,
            d: u8,
            e: u8,
            f: u8,
            g: u8,
            h: u8,
            i: u8,
            j: u8,
            k: u8,
            l: u8,
            m: u8,
        );
    }
}

nosplit::calls! {
    pub unsafe fn many(
        a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8, j: u8, k: u8, l: u8, m: u8,
    ) = ffi::many [never fails; in user];
}

fn main() {}
