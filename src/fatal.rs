//! One line that names the call and the rule, then abort.
//!
//! Whoever gets here has broken a rule of the layer, perhaps on a stack with little room: so there
//! is no formatting, no allocation, and one write.

use crate::errno::Errno;
use crate::table::Row;
use core::ffi::c_int;
use core::mem::MaybeUninit;

/// Prints `nosplit: CALL: RULE (ERRNO)` to descriptor 2 and aborts.
///
/// Works in every context. `rule` reads on from the name of the call.
#[cold]
#[inline(never)]
pub fn fatal(call: &str, rule: &str, errno: Option<Errno>) -> ! {
    // Not initialised: that would be a call of memset, which may be bound only now, on a small stack.
    let mut bytes = [MaybeUninit::uninit(); 240];
    let mut line = Line {
        bytes: &mut bytes,
        len: 0,
    };
    line.push("nosplit: ");
    line.push(call);
    line.push(": ");
    line.push(rule);
    if let Some(errno) = errno {
        line.push(" (");
        match errno.name() {
            Some(name) => line.push(name),
            None => {
                line.push("errno ");
                line.push_number(errno.number());
            }
        }
        line.push(")");
    }
    line.push("\n");
    // SAFETY: the bytes are initialised up to `len`. Nothing can be done about a failing write.
    unsafe {
        let _ = crate::calls::write(2, line.bytes.as_ptr().cast(), line.len);
    }
    crate::calls::abort()
}

/// A row that handlers must not call was called by one; asmcgocall jumps here.
pub(crate) unsafe extern "C" fn in_handler(row: *const Row) -> ! {
    // SAFETY: checked entries are given the row by every wrapper.
    let row = unsafe { &*row };
    fatal(row.name, "may not be called in a signal handler", None)
}

/// A line that is cut, not overrun, when it is too long.
struct Line<'a> {
    bytes: &'a mut [MaybeUninit<u8>; 240],
    len: usize,
}

impl Line<'_> {
    fn push(&mut self, text: &str) {
        for &byte in text.as_bytes() {
            if let Some(place) = self.bytes.get_mut(self.len) {
                place.write(byte);
                self.len += 1;
            }
        }
    }

    fn push_number(&mut self, number: c_int) {
        if number < 0 {
            self.push("-");
        }
        let mut rest = number.unsigned_abs();
        let mut digits = [0u8; 10];
        let mut count = 0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            count += 1;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        for &digit in digits.iter().skip(10 - count) {
            if let Some(place) = self.bytes.get_mut(self.len) {
                place.write(digit);
                self.len += 1;
            }
        }
    }
}
