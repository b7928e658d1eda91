//! Which instructions there are, and which of them a signal hit.

use crate::rows;
use crate::watch::{At, Failure, Run, TRAMPOLINE_MAX};
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, Register};
use nosplit::arch;
use std::sync::atomic::Ordering::Relaxed;

/// A piece of code and its instructions.
pub struct Piece {
    pub name: &'static str,
    pub start: usize,
    pub instructions: Vec<Instruction>,
}

macro_rules! pieces {
    ($($name:ident)+) => {
        vec![$((stringify!($name), arch::$name as *const () as usize)),+]
    };
}

/// Every entry of the section, in the order of memory, without the padding between them.
pub fn entries() -> Vec<Piece> {
    let mut starts = pieces! {
        asmcgocall asmcgocall_i32 asmcgocall_word asmcgocall_null
        asmcgocall_ambiguous_i32 asmcgocall_ambiguous_word asmcgocall_ambiguous_null
        checked_asmcgocall checked_asmcgocall_i32 checked_asmcgocall_word checked_asmcgocall_null
        checked_asmcgocall_ambiguous_i32 checked_asmcgocall_ambiguous_word
        checked_asmcgocall_ambiguous_null
        asmcgocall_no_g asmcgocall_no_g_i32 asmcgocall_no_g_word asmcgocall_no_g_null
        asmcgocall_no_g_ambiguous_i32 asmcgocall_no_g_ambiguous_word asmcgocall_no_g_ambiguous_null
        gogo mcall gosave goentry landing sigtramp mstart_stub
        getg setg shadow_stack_pointer stack_pointer
    };
    starts.sort_by_key(|&(_, start)| start);
    let (start, end) = arch::entry_bounds();
    // No code of the section goes unnamed.
    assert_eq!(starts.first().map(|&(_, first)| first), Some(start));
    let ends = starts.iter().skip(1).map(|&(_, start)| start).chain([end]);
    let pieces: Vec<Piece> = starts
        .iter()
        .zip(ends)
        .map(|(&(name, start), end)| {
            let mut instructions = decode(start, end);
            while instructions.last().is_some_and(is_padding) {
                instructions.pop();
            }
            Piece {
                name,
                start,
                instructions,
            }
        })
        .collect();
    for piece in &pieces {
        let ends = piece.instructions.last().is_some_and(leaves);
        assert!(ends, "{} runs into its neighbour", piece.name);
    }
    pieces
}

/// The trampolines of the rows, each up to its return or its jump.
pub fn trampolines() -> Vec<Piece> {
    rows::ALL
        .iter()
        .map(|stepped| {
            let start = stepped.row.trampoline as *const () as usize;
            let mut instructions = decode(start, start + TRAMPOLINE_MAX);
            let length = instructions.iter().position(leaves).map_or(0, |at| at + 1);
            assert_ne!(length, 0, "{} has no end", stepped.row.name);
            instructions.truncate(length);
            Piece {
                name: stepped.row.name,
                start,
                instructions,
            }
        })
        .collect()
}

fn decode(start: usize, end: usize) -> Vec<Instruction> {
    // SAFETY: code of this program, or what lies behind it in the same mapping.
    let bytes = unsafe { std::slice::from_raw_parts(start as *const u8, end - start) };
    Decoder::with_ip(64, bytes, start as u64, DecoderOptions::NONE)
        .into_iter()
        .collect()
}

/// Does nothing run on behind it?
fn leaves(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Ret | Mnemonic::Jmp | Mnemonic::Ud2
    )
}

fn is_padding(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3)
}

/// An instruction that nothing executes, and why.
fn never_runs(piece: &Piece, n: usize) -> Option<&'static str> {
    let code = |at: usize| {
        piece
            .instructions
            .get(at)
            .map_or(Code::INVALID, Instruction::code)
    };
    let checked = piece.name.starts_with("checked_");
    if piece.name == "landing" {
        return Some("landing is an address for unwinders");
    }
    if piece.name == "goentry" && n == 0 {
        return Some("goentry's first instruction is for unwinders");
    }
    if code(n) == Code::Ud2 {
        return Some("ud2 behind what does not return");
    }
    // refuse_in_handler: mov rdi, rdx; call fatal::in_handler; ud2.
    let calls = |at: usize| code(at) == Code::Call_rel32_64 && code(at + 1) == Code::Ud2;
    let loads = |at: usize| {
        piece.instructions.get(at).is_some_and(|i| {
            i.mnemonic() == Mnemonic::Mov
                && i.op0_register() == Register::RDI
                && i.op1_register() == Register::RDX
        })
    };
    if checked && (calls(n) || loads(n) && calls(n + 1)) {
        return Some("a checked row in a handler aborts");
    }
    None
}

/// Prints what was hit, and returns what should have been and was not.
pub fn report(run: &Run) -> Vec<String> {
    let mut missing = Vec::new();
    let mut exempt = 0;
    let (start, end) = arch::entry_bounds();
    let mut of_the_layer = 0u64;
    println!(
        "{:36} {:>12} {:>6} {:>8} {:>8}",
        "entry", "instructions", "hit", "min", "max"
    );
    let mut boundaries = vec![false; end - start];
    for piece in entries() {
        let mut hits = Vec::new();
        for (n, instruction) in piece.instructions.iter().enumerate() {
            let offset = instruction.ip() as usize - start;
            boundaries[offset] = true;
            let count = run.hits[offset].load(Relaxed);
            of_the_layer += u64::from(count);
            match never_runs(&piece, n) {
                Some(why) => {
                    exempt += 1;
                    if count != 0 {
                        missing.push(format!(
                            "{} was hit: {why}",
                            locate(instruction.ip() as usize)
                        ));
                    }
                }
                None if count == 0 => missing.push(format!(
                    "{} ({:?}) was never hit",
                    locate(instruction.ip() as usize),
                    instruction.code()
                )),
                None => hits.push(count),
            }
        }
        line(&piece, &hits);
    }
    for (offset, count) in run.hits.iter().enumerate() {
        if count.load(Relaxed) != 0 && !boundaries.get(offset).is_some_and(|&is| is) {
            missing.push(format!(
                "{} was hit, and is no instruction",
                locate(start + offset)
            ));
        }
    }
    // landing's 2; goentry's nop; ud2 of mcall and goentry; 3 in each of 7 checked entries.
    if exempt != 2 + 1 + 2 + 7 * 3 {
        missing.push(format!("{exempt} instructions are exempt, not 26"));
    }
    println!(
        "{:36} {:>12} {:>6} {:>8} {:>8}",
        "trampoline", "instructions", "hit", "min", "max"
    );
    for (n, piece) in trampolines().iter().enumerate() {
        let mut hits = Vec::new();
        for instruction in &piece.instructions {
            let count = run.row_hits[n][instruction.ip() as usize - piece.start].load(Relaxed);
            of_the_layer += u64::from(count);
            if count == 0 {
                missing.push(format!(
                    "{}::trampoline+{:#x} was never hit",
                    piece.name,
                    instruction.ip() as usize - piece.start
                ));
            } else {
                hits.push(count);
            }
        }
        line(piece, &hits);
        if run.arrivals[n].load(Relaxed) == 0 {
            missing.push(format!(
                "{}: the C function was never seen to start",
                piece.name
            ));
        }
    }
    let [user, system, signal] = run.places.each_ref().map(|count| count.load(Relaxed));
    println!(
        "{} signals: {of_the_layer} in entries and trampolines; on a G's stack {user}, on the system \
         stack {system}, on the signal stack {signal}; {} calls of the handler switched, {} stayed",
        run.signals(),
        run.switched.load(Relaxed),
        run.stayed.load(Relaxed),
    );
    missing
}

fn line(piece: &Piece, hits: &[u32]) {
    println!(
        "{:36} {:>12} {:>6} {:>8} {:>8}",
        piece.name,
        piece.instructions.len(),
        hits.len(),
        hits.iter().min().unwrap_or(&0),
        hits.iter().max().unwrap_or(&0),
    );
}

/// An address as an entry and an offset.
pub fn locate(pc: usize) -> String {
    if !nosplit::in_entries(pc) {
        return format!("{pc:#x}");
    }
    let pieces = entries();
    let piece = pieces.iter().rev().find(|piece| piece.start <= pc);
    piece.map_or_else(
        || format!("{pc:#x}"),
        |piece| format!("{}+{:#x}", piece.name, pc - piece.start),
    )
}

/// A failure as a line.
pub fn describe(failure: &Failure) -> String {
    let at = match failure.at {
        At::Pc(pc) => locate(pc),
        At::Code(code) => code.to_string(),
    };
    format!(
        "{}: at {at}, got {:#x}, want {:#x}",
        failure.rule, failure.got, failure.want
    )
}
