//! However a program is optimised and linked, it works. (rust-lang/rust#148307: naked functions that
//! are inlined across crates.) `probe/examples/common` does a little of everything.

use anyhow::{Context, Result, ensure};
use nosplit_inspect::build::{ELF, MACH_O, NATIVE, Program};

const SAYS: &str = "from a G\nand from a thread of the layer\n";

/// A program with the profile's `lto` and `codegen-units`.
fn optimised(
    target: &'static str,
    name: &'static str,
    lto: &'static str,
    units: &'static str,
) -> Program {
    let mut program = Program::new(target, name);
    program.folder = format!("programs-{lto}-{units}");
    program.variables = vec![
        ("CARGO_PROFILE_RELEASE_LTO", lto),
        ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", units),
    ];
    program
}

#[test]
fn a_program_works_with_every_kind_of_lto() -> Result<()> {
    for lto in ["fat", "thin"] {
        for units in ["1", "16"] {
            let said = optimised(NATIVE, "program", lto, units).run(&[])?;
            ensure!(said == SAYS, "lto {lto}, {units} codegen units: {said}");
        }
    }
    Ok(())
}

#[test]
fn a_program_for_another_target_works_with_lto() -> Result<()> {
    for target in ELF {
        let said = optimised(target, "program", "fat", "1").run(&[])?;
        ensure!(said == SAYS, "{target}: {said}");
    }
    // No linker knows i386 Mach-O.
    for target in MACH_O
        .into_iter()
        .filter(|target| !target.starts_with("i686"))
    {
        optimised(target, "program", "fat", "1").build()?;
    }
    Ok(())
}

/// Has a program that knows nothing of the crate load a library that uses it: g is initial-exec TLS, for
/// which the loader must have kept room.
fn load(library: &Program) -> Result<()> {
    let file = library.build()?;
    let file = file.to_str().context("a path that is not UTF-8")?;
    let said = Program::new(library.target, "host").run(&[file])?;
    ensure!(said == SAYS.repeat(2), "{}: {said}", library.target);
    Ok(())
}

#[test]
fn a_library_works_when_it_is_loaded_at_run_time() -> Result<()> {
    for target in ELF {
        load(&Program::new(target, "plugin"))?;
    }
    Ok(())
}

#[test]
fn a_library_works_with_lto() -> Result<()> {
    load(&optimised(NATIVE, "plugin", "fat", "1"))
}
