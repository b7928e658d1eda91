//! Instructions, as far as a claim depends on them.

use crate::code::{Function, How};
use anyhow::{Result, bail, ensure};
use iced_x86::{Decoder, DecoderOptions, FastFormatter, FlowControl, Mnemonic, OpKind, Register};

/// One instruction.
pub struct Instruction {
    /// Where it is.
    pub address: u64,
    /// How long.
    pub len: usize,
    /// As text: Intel syntax, or the word of an aarch64 instruction.
    pub text: String,
    /// Where it leads.
    pub flow: Flow,
    /// Bytes that it takes from the stack.
    pub stack: u64,
}

/// Where an instruction leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Flow {
    /// On.
    Next,
    /// Into a function and back.
    Call(Target),
    /// Elsewhere.
    Jump(Target),
    /// Elsewhere, or on.
    Branch(Target),
    /// Back to the caller.
    Return,
    /// Into the kernel: `syscall`, `sysenter`, `int`, `svc`.
    Kernel,
    /// It traps: `ud2`, `brk`, `udf`.
    Trap,
}

/// Where a call or jump goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// To an address in the same object.
    Here(u64),
    /// To a symbol.
    Symbol(String, How),
    /// To what a register or memory holds.
    Pointer,
}

/// The instructions of a function on a target.
pub fn instructions(target: &str, function: &Function) -> Result<Vec<Instruction>> {
    if target.starts_with("aarch64") {
        aarch64(function)
    } else {
        x86(if target.starts_with("x86_64") { 64 } else { 32 }, function)
    }
}

/// The symbol that bytes of a function refer to.
fn symbol(function: &Function, address: u64, len: usize) -> Option<Target> {
    function
        .references
        .iter()
        .find(|reference| (address..address + len as u64).contains(&reference.at))
        .map(|reference| Target::Symbol(reference.to.clone(), reference.how))
}

fn x86(bits: u32, function: &Function) -> Result<Vec<Instruction>> {
    let mut decoder = Decoder::with_ip(
        bits,
        &function.bytes,
        function.address,
        DecoderOptions::NONE,
    );
    let mut formatter = FastFormatter::new();
    let mut all = Vec::new();
    while decoder.can_decode() {
        let i = decoder.decode();
        ensure!(
            !i.is_invalid(),
            "{}: no instruction at {:#x}",
            function.name,
            i.ip()
        );
        let target = || {
            let near = matches!(i.op0_kind(), OpKind::NearBranch32 | OpKind::NearBranch64);
            let here = near.then(|| Target::Here(i.near_branch_target()));
            symbol(function, i.ip(), i.len())
                .or(here)
                .unwrap_or(Target::Pointer)
        };
        let flow = match (i.mnemonic(), i.flow_control()) {
            // How i386 code finds out where it is: a call of the next instruction, which pops.
            (Mnemonic::Call, _) if target() == Target::Here(i.next_ip()) => Flow::Next,
            (Mnemonic::Syscall | Mnemonic::Sysenter, _) => Flow::Kernel,
            (_, FlowControl::Interrupt) => Flow::Kernel,
            (_, FlowControl::Call | FlowControl::IndirectCall) => Flow::Call(target()),
            (_, FlowControl::UnconditionalBranch | FlowControl::IndirectBranch) => {
                Flow::Jump(target())
            }
            (_, FlowControl::ConditionalBranch) => Flow::Branch(target()),
            (_, FlowControl::Return) => Flow::Return,
            (_, FlowControl::Exception) => Flow::Trap,
            _ => Flow::Next,
        };
        let stack = match i.mnemonic() {
            Mnemonic::Push => u64::from(bits / 8),
            Mnemonic::Sub
                if matches!(i.op0_register(), Register::RSP | Register::ESP)
                    && i.op1_kind() != OpKind::Register =>
            {
                i.immediate(1)
            }
            _ => 0,
        };
        let mut text = String::new();
        formatter.format(&i, &mut text);
        all.push(Instruction {
            address: i.ip(),
            len: i.len(),
            text,
            flow,
            stack,
        });
    }
    Ok(all)
}

/// An aarch64 instruction is one word, and those that matter here are told by a mask.
fn aarch64(function: &Function) -> Result<Vec<Instruction>> {
    let (words, rest) = function.bytes.as_chunks::<4>();
    ensure!(rest.is_empty(), "{} ends within a word", function.name);
    let mut all = Vec::new();
    for (n, word) in words.iter().enumerate() {
        let address = function.address + 4 * n as u64;
        let word = u32::from_le_bytes(*word);
        // A signed count of words, `bits` long from bit `low`.
        let target = |low: u32, bits: u32| {
            let offset = ((word << (32 - low - bits)) as i32 >> (32 - bits)) as i64 * 4;
            symbol(function, address, 4)
                .unwrap_or(Target::Here(address.wrapping_add_signed(offset)))
        };
        let flow = if word & 0xfc00_0000 == 0x9400_0000 {
            Flow::Call(target(0, 26)) // bl
        } else if word & 0xfc00_0000 == 0x1400_0000 {
            Flow::Jump(target(0, 26)) // b
        } else if word & 0xff00_0000 == 0x5400_0000 || word & 0x7e00_0000 == 0x3400_0000 {
            Flow::Branch(target(5, 19)) // b.cond, cbz, cbnz
        } else if word & 0x7e00_0000 == 0x3600_0000 {
            Flow::Branch(target(5, 14)) // tbz, tbnz
        } else if word & 0xffff_fc1f == 0xd63f_0000 {
            Flow::Call(Target::Pointer) // blr
        } else if word & 0xffff_fc1f == 0xd61f_0000 {
            Flow::Jump(Target::Pointer) // br
        } else if word & 0xffff_fc1f == 0xd65f_0000 {
            Flow::Return // ret
        } else if word & 0xffe0_001c == 0xd400_0000 && word & 3 != 0 {
            Flow::Kernel // svc, hvc, smc
        } else if word & 0xffe0_001f == 0xd420_0000 || word & 0xffff_0000 == 0 {
            Flow::Trap // brk, udf
        } else {
            Flow::Next
        };
        // sub sp, sp, #imm{, lsl #12}; stp .., [sp, #imm]!; str .., [sp, #imm]!
        let stack = if word & 0xff80_03ff == 0xd100_03ff {
            u64::from(word >> 10 & 0xfff) << (12 * (word >> 22 & 1))
        } else if word & 0xffc0_03e0 == 0xa980_03e0 || word & 0xffc0_03e0 == 0x6d80_03e0 {
            u64::from(((word << 10) as i32 >> 25).unsigned_abs()) * 8
        } else if word & 0xffe0_0fe0 == 0xf800_0fe0 {
            u64::from(((word << 11) as i32 >> 23).unsigned_abs())
        } else {
            0
        };
        all.push(Instruction {
            address,
            len: 4,
            text: format!("{word:08x}"),
            flow,
            stack,
        });
    }
    Ok(all)
}

/// How many instructions a function executes if no condition branches: the fast path of the entries.
pub fn straight_on(instructions: &[Instruction]) -> Result<usize> {
    let mut count = 0;
    let mut next = instructions.first();
    while let Some(i) = next {
        count += 1;
        ensure!(count <= instructions.len(), "a loop at {:#x}", i.address);
        let to = match i.flow {
            Flow::Jump(Target::Here(to)) => to,
            Flow::Jump(_) | Flow::Return => return Ok(count),
            _ => i.address + i.len as u64,
        };
        next = instructions.iter().find(|i| i.address == to);
    }
    bail!("{count} instructions, and no end")
}
