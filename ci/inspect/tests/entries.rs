//! The assembly in the objects: where it lies, how it is unwound, what it imports.

use anyhow::Result;
use nosplit_inspect::build::{ELF, MACH_O, objects, targets};
use nosplit_inspect::code::{Function, demangle, functions, parse, plain};
use nosplit_inspect::{assert_none, elf, mach_o};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use std::collections::BTreeSet;

/// Entries with a frame: SP moves behind it.
const FRAMED: [&str; 5] = ["gogo", "mcall", "gosave", "sigtramp", "mstart_stub"];
/// Entries whose frame another has made.
const ADOPTED: [&str; 2] = ["goentry", "landing"];
/// Entries that leave the stack alone.
const LEAVES: [&str; 3] = ["getg", "setg", "stack_pointer"];
/// Likewise, on some targets.
const SPECIAL_LEAVES: [&str; 3] = [
    "direct_slot",
    "shadow_stack_pointer",
    "no_guarded_control_stack",
];
/// What the module of the processor has in Rust.
const RUST: [&str; 3] = ["shadow_stack", "prepare", "interrupted"];

/// The variants of asmcgocall: each of these tests, by each of these ways.
fn asmcgocalls() -> impl Iterator<Item = String> {
    let tests = [
        "",
        "_i32",
        "_word",
        "_null",
        "_ambiguous_i32",
        "_ambiguous_word",
        "_ambiguous_null",
    ];
    ["asmcgocall", "checked_asmcgocall", "asmcgocall_no_g"]
        .into_iter()
        .flat_map(move |way| tests.map(|test| format!("{way}{test}")))
}

/// The name of a function of the processor's module.
fn entry(function: &Function) -> Option<&str> {
    function.name.strip_prefix("nosplit::arch::processor::")
}

fn in_entries(function: &Function) -> bool {
    matches!(function.section.as_str(), "nosplit_text" | "__nosplit")
}

fn is_framed(entry: &str) -> bool {
    entry.contains("asmcgocall") || FRAMED.contains(&entry)
}

#[test]
fn all_entries_lie_in_their_section_and_nothing_else_does() -> Result<()> {
    let mut broken = Vec::new();
    for target in targets() {
        let objects = objects(target)?;
        let mut missing: BTreeSet<String> = asmcgocalls()
            .chain(
                FRAMED
                    .into_iter()
                    .chain(ADOPTED)
                    .chain(LEAVES)
                    .map(str::to_owned),
            )
            .collect();
        let mut all = functions(&objects.nosplit)?;
        all.extend(functions(&objects.probe)?);
        let mut count = 0;
        for function in &all {
            let known = entry(function).filter(|name| {
                is_framed(name)
                    || [&ADOPTED[..], &LEAVES, &SPECIAL_LEAVES]
                        .iter()
                        .any(|list| list.contains(name))
            });
            match (in_entries(function), known) {
                (true, Some(name)) => {
                    count += 1;
                    missing.remove(name);
                }
                (true, None) => {
                    broken.push(format!("{target}: {} is in the section", function.name))
                }
                (false, _) => {
                    if entry(function).is_some_and(|name| !RUST.contains(&name)) {
                        let place = &function.section;
                        broken.push(format!("{target}: {} is in {place}", function.name));
                    }
                }
            }
        }
        broken.extend(
            missing
                .iter()
                .map(|name| format!("{target}: {name} is missing")),
        );
        println!("{target}: {count} entries");
    }
    assert_none(
        "all entries lie in their section, and nothing else does",
        broken,
    );
    Ok(())
}

#[test]
fn every_instruction_of_the_assembly_has_cfi_on_elf() -> Result<()> {
    let mut broken = Vec::new();
    for target in ELF {
        for object in objects(target)?.nosplit {
            let file = parse(&object)?;
            let frames = elf::frames(&file)?;
            for function in functions(std::slice::from_ref(&object))? {
                let assembly = in_entries(&function) || function.name.ends_with("::trampoline");
                let end = function.address + function.bytes.len() as u64;
                let covered = frames.iter().any(|&(home, start, stop)| {
                    let section = file.section_by_index(home);
                    section.is_ok_and(|section| section.name() == Ok(&function.section))
                        && start <= function.address
                        && stop >= end
                });
                if assembly && !covered {
                    broken.push(format!("{target}: {}", function.name));
                }
            }
        }
    }
    assert_none("every instruction of the assembly has CFI on ELF", broken);
    Ok(())
}

/// The compact unwind encoding of an entry with a frame: the caller's is found by the frame pointer, and
/// callee-saved registers by their numbers. The registers of an x86 frame count from the lowest up.
fn encoding(target: &str, entry: &str) -> Option<u32> {
    let keeps = ["gogo", "mcall", "gosave", "sigtramp", "landing"].contains(&entry);
    if !keeps && !is_framed(entry) {
        return None;
    }
    let (mode, kept) = match target {
        "x86_64-apple-darwin" => (0x0100_0000, 0x0005_14e5), // rbp-40: r15 r14 r13 r12 rbx
        "i686-apple-darwin" => (0x0100_0000, 0x0003_006c),   // ebp-12: edi esi ebx
        _ if entry == "sigtramp" => (0x0400_0000, 0x007),    // x19 to x24
        _ => (0x0400_0000, 0xf1f),                           // x19 to x28, d8 to d15
    };
    Some(if keeps { mode | kept } else { mode })
}

#[test]
fn compact_unwind_on_mach_o_says_where_a_frame_keeps_what() -> Result<()> {
    let mut broken = Vec::new();
    for target in MACH_O {
        let mut count = 0;
        for object in objects(target)?.nosplit {
            let unwind = mach_o::compact_unwind(&parse(&object)?)?;
            for function in functions(std::slice::from_ref(&object))? {
                let Some(expected) = entry(&function).and_then(|entry| encoding(target, entry))
                else {
                    continue;
                };
                let found = unwind
                    .iter()
                    .find(|unwind| unwind.function == function.name);
                let found = found.map_or(0, |unwind| unwind.encoding);
                count += 1;
                if found != expected {
                    let name = &function.name;
                    broken.push(format!("{target}: {name}: {found:#x}, not {expected:#x}"));
                }
            }
        }
        println!("{target}: {count} entries with frames");
    }
    assert_none(
        "compact unwind on Mach-O says where a frame keeps what",
        broken,
    );
    Ok(())
}

/// C functions that the crate calls, by the names that every system has for them.
const COMMON: &[&str] = &[
    "_exit",
    "abort",
    "clock_gettime",
    "close",
    "exit",
    "free",
    "getpid",
    "kill",
    "madvise",
    "malloc",
    "mlock",
    "mprotect",
    "munmap",
    "pthread_attr_destroy",
    "pthread_attr_getstacksize",
    "pthread_attr_init",
    "pthread_attr_setdetachstate",
    "pthread_attr_setstacksize",
    "pthread_cond_destroy",
    "pthread_cond_init",
    "pthread_cond_signal",
    "pthread_cond_wait",
    "pthread_create",
    "pthread_join",
    "pthread_key_create",
    "pthread_key_delete",
    "pthread_kill",
    "pthread_mutex_destroy",
    "pthread_mutex_init",
    "pthread_mutex_lock",
    "pthread_mutex_unlock",
    "pthread_self",
    "pthread_setspecific",
    "pthread_sigmask",
    "raise",
    "read",
    "sigaction",
    "sigaltstack",
    "usleep",
    "write",
];
const LINUX: &[&str] = &[
    "__errno_location",
    "mmap64",
    "open64",
    "pthread_attr_getstack",
    "pthread_getattr_np",
];
const DARWIN: &[&str] = &[
    "__error",
    "mmap",
    "open",
    "pthread_get_stackaddr_np",
    "pthread_get_stacksize_np",
];
/// Variants on x86_64 Darwin. (The libc crate's `close` is the one that is no cancellation point.)
const DARWIN_X86_64: &[(&str, &str)] = &[("close", "close$NOCANCEL")];
/// Variants on i386 Darwin: without `$UNIX2003` it is the behaviour of before 10.5.
const DARWIN_I386: &[(&str, &str)] = &[
    ("close", "close$NOCANCEL$UNIX2003"),
    ("kill", "kill$UNIX2003"),
    ("mmap", "mmap$UNIX2003"),
    ("mprotect", "mprotect$UNIX2003"),
    ("munmap", "munmap$UNIX2003"),
    ("open", "open$UNIX2003"),
    ("pthread_cond_init", "pthread_cond_init$UNIX2003"),
    ("pthread_cond_wait", "pthread_cond_wait$UNIX2003"),
    ("pthread_join", "pthread_join$UNIX2003"),
    ("pthread_sigmask", "pthread_sigmask$UNIX2003"),
    ("read", "read$UNIX2003"),
    ("sigaltstack", "sigaltstack$UNIX2003"),
    ("usleep", "usleep$UNIX2003"),
    ("write", "write$UNIX2003"),
];

#[test]
fn exactly_these_libc_functions_are_imported() -> Result<()> {
    let mut broken = Vec::new();
    for target in targets() {
        let (own, variants) = match target {
            "x86_64-apple-darwin" => (DARWIN, DARWIN_X86_64),
            "aarch64-apple-darwin" => (DARWIN, &[][..]),
            "i686-apple-darwin" => (DARWIN, DARWIN_I386),
            _ => (LINUX, &[][..]),
        };
        let expected: BTreeSet<String> = COMMON
            .iter()
            .chain(own)
            .map(|name| {
                variants
                    .iter()
                    .find(|(c, _)| c == name)
                    .map_or(*name, |v| v.1)
            })
            .map(str::to_owned)
            .collect();
        let (mut found, mut defined) = (BTreeSet::new(), BTreeSet::new());
        for object in objects(target)?.nosplit {
            let file = parse(&object)?;
            for symbol in file.symbols() {
                let name = plain(&file, symbol.name()?).to_owned();
                if symbol.is_undefined() {
                    found.insert(name);
                } else {
                    defined.insert(name);
                }
            }
        }
        found.retain(|name| {
            // Of core, and what the compiler and the linker bring.
            let rust = demangle(name).contains("::");
            let given = ["", "memcpy", "rust_eh_personality", "_GLOBAL_OFFSET_TABLE_"];
            let prefixes = [
                "__aarch64_",
                "__start_",
                "__stop_",
                "section$start$",
                "section$end$",
            ];
            let given = given.contains(&name.as_str())
                || prefixes.iter().any(|prefix| name.starts_with(prefix));
            !defined.contains(name) && !rust && !given
        });
        broken.extend(
            found
                .difference(&expected)
                .map(|name| format!("{target}: also {name}")),
        );
        broken.extend(
            expected
                .difference(&found)
                .map(|name| format!("{target}: not {name}")),
        );
    }
    assert_none("exactly these libc functions are imported", broken);
    Ok(())
}
