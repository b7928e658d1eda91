//! What a wrapper may be: arguments stored, one call of asmcgocall, a result made. Release builds.

use anyhow::{Context, Result};
use nosplit_inspect::assert_none;
use nosplit_inspect::build::{Objects, objects, targets};
use nosplit_inspect::code::{Function, How, functions, table};
use nosplit_inspect::decode::{Flow, Instruction, Target, instructions};

/// The wrappers on a target, and the `no_g` of each row. The probe does not compile without all.
fn wrappers(objects: &Objects) -> Result<Vec<Function>> {
    let mut functions = functions(&objects.probe)?;
    let mut wrappers = Vec::new();
    for name in [
        "nosplit_probe_wrappers",
        "nosplit_probe_wrappers_of_this_system",
    ] {
        for wrapper in table(&objects.probe, name)? {
            let place = functions.iter().position(|f| f.name == wrapper);
            wrappers.push(functions.swap_remove(place.context(wrapper)?));
        }
    }
    Ok(wrappers)
}

/// Every function of the crate, the wrappers among them.
fn all(objects: &Objects) -> Result<Vec<Function>> {
    let mut all = functions(&objects.nosplit)?;
    all.extend(functions(&objects.probe)?);
    Ok(all)
}

fn is_asmcgocall(name: &str) -> bool {
    name.strip_prefix("nosplit::arch::processor::")
        .is_some_and(|entry| {
            entry.starts_with("asmcgocall") || entry.starts_with("checked_asmcgocall")
        })
}

/// Where an instruction leaves the function for, if it does.
fn leaves(function: &Function, instruction: &Instruction) -> Option<String> {
    let end = function.address + function.bytes.len() as u64;
    match &instruction.flow {
        Flow::Call(target) | Flow::Jump(target) | Flow::Branch(target) => match target {
            Target::Symbol(name, _) => Some(name.clone()),
            Target::Here(to) if (function.address..end).contains(to) => None,
            Target::Here(_) | Target::Pointer => Some(instruction.text.clone()),
        },
        _ => None,
    }
}

#[test]
fn a_wrapper_calls_asmcgocall_once_and_nothing_else() -> Result<()> {
    let mut broken = Vec::new();
    for target in targets() {
        let wrappers = wrappers(&objects(target)?)?;
        for wrapper in &wrappers {
            let mut calls: Vec<_> = instructions(target, wrapper)?
                .iter()
                .filter_map(|i| leaves(wrapper, i))
                .collect();
            // Of a row that never returns: what if it does.
            if calls.len() == 2 && calls[1] == "nosplit::fatal::fatal" {
                calls.pop();
            }
            if calls.len() != 1 || !is_asmcgocall(&calls[0]) {
                broken.push(format!("{target}: {}: {calls:?}", wrapper.name));
            }
        }
        println!("{target}: {} wrappers", wrappers.len());
    }
    assert_none("a wrapper calls asmcgocall once, and nothing else", broken);
    Ok(())
}

#[test]
fn a_wrapper_neither_loops_nor_probes_its_stack() -> Result<()> {
    // Above this rustc probes: in line, by a loop, or by a function. A probe faults on a small stack.
    const PAGE: u64 = 4096;
    let mut broken = Vec::new();
    for target in targets() {
        let mut most = (0, String::new());
        for wrapper in wrappers(&objects(target)?)? {
            let mut stack = 0;
            for i in instructions(target, &wrapper)? {
                stack += i.stack;
                if let Flow::Jump(Target::Here(to)) | Flow::Branch(Target::Here(to)) = i.flow
                    && to <= i.address
                {
                    broken.push(format!(
                        "{target}: {}: a loop at {:#x}",
                        wrapper.name, i.address
                    ));
                }
            }
            if stack >= PAGE {
                broken.push(format!(
                    "{target}: {}: {stack} bytes of stack",
                    wrapper.name
                ));
            }
            most = most.max((stack, wrapper.name));
        }
        println!("{target}: at most {} bytes of stack, in {}", most.0, most.1);
    }
    assert_none("a wrapper neither loops nor probes its stack", broken);
    Ok(())
}

#[test]
fn only_what_runs_at_compile_time_can_panic() -> Result<()> {
    let mut broken = Vec::new();
    for target in targets() {
        for function in all(&objects(target)?)? {
            for reference in &function.references {
                let panics = reference.to.contains("core::panicking");
                // The `const fn`s of the calling conventions; and where a panic of the user's own
                // thread function is stopped.
                let may = function.name.starts_with("nosplit::abi::")
                    || reference.to.ends_with("panic_cannot_unwind")
                        && function.name == "nosplit::os::thread::mstart";
                if panics && !may {
                    broken.push(format!("{target}: {}: {}", function.name, reference.to));
                }
            }
        }
    }
    assert_none("only what runs at compile time can panic", broken);
    Ok(())
}

#[test]
fn libc_is_reached_by_pointers_bound_at_load() -> Result<()> {
    let mut broken = Vec::new();
    for target in targets() {
        for function in all(&objects(target)?)? {
            for reference in &function.references {
                // Rust's own symbols are in the same image, and the compiler's for atomics too.
                let ours = reference.to.contains("::") || reference.to.starts_with("__aarch64_");
                let direct = matches!(reference.how, How::Branch | How::Absolute);
                // The compiler's copy of a whole sigaction, on i386. Not for handlers, and programs
                // for i386 that rustc links bind everything at load.
                let copy = function.name == "nosplit::os::signal::install"
                    && reference.to == "memcpy"
                    && target.starts_with("i686");
                if direct && !reference.defined && !ours && !copy {
                    broken.push(format!("{target}: {}: {reference:?}", function.name));
                }
            }
        }
    }
    assert_none("libc is reached by pointers bound at load", broken);
    Ok(())
}

#[test]
fn nothing_enters_the_kernel_but_libc() -> Result<()> {
    let mut broken = Vec::new();
    for target in targets() {
        for function in all(&objects(target)?)? {
            for i in instructions(target, &function)? {
                if i.flow == Flow::Kernel {
                    broken.push(format!("{target}: {}: {}", function.name, i.text));
                }
            }
        }
    }
    assert_none("nothing enters the kernel but libc", broken);
    Ok(())
}
