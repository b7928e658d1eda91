//! What a hardened system asks of the crate: nothing writable is executable, nothing is bound or changed
//! while a program runs, and control flow can be protected.

use anyhow::{Context, Result};
use nosplit_inspect::assert_none;
use nosplit_inspect::build::{ELF, NATIVE, Object, Program, objects, targets};
use nosplit_inspect::code::{Function, demangle, functions, parse};
use nosplit_inspect::elf::properties;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, Object as _, ObjectSymbol as _, ObjectSymbolTable as _, elf};
use object::{RelocationFlags, RelocationTarget};
use std::collections::BTreeMap;

/// What the kernel and the dynamic linker are told of a program.
#[derive(Default)]
struct Image {
    /// Type and flags of each segment.
    segments: Vec<(u32, u32)>,
    /// Tag and value of each dynamic entry.
    dynamic: Vec<(i64, u64)>,
}

impl Image {
    fn read(bytes: &[u8]) -> Result<Image> {
        match object::File::parse(bytes)? {
            object::File::Elf32(_) => Image::read_as::<elf::FileHeader32<Endianness>>(bytes),
            _ => Image::read_as::<elf::FileHeader64<Endianness>>(bytes),
        }
    }

    fn read_as<Elf: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<Image> {
        let header = Elf::parse(bytes)?;
        let endian = header.endian()?;
        let mut image = Image::default();
        for segment in header.program_headers(endian, bytes)? {
            let (kind, flags) = (segment.p_type(endian), segment.p_flags(endian));
            image.segments.push((kind.0, flags.0));
            for entry in segment.dynamic(endian, bytes)?.into_iter().flatten() {
                image
                    .dynamic
                    .push((entry.d_tag(endian).0, entry.d_val(endian).into()));
            }
        }
        Ok(image)
    }

    /// The value of a dynamic entry, or 0.
    fn dynamic(&self, tag: elf::DynamicTag) -> u64 {
        let entry = self.dynamic.iter().find(|entry| entry.0 == tag.0);
        entry.map_or(0, |entry| entry.1)
    }
}

/// An executable and a shared library on every ELF target.
fn programs() -> impl Iterator<Item = Program> {
    ELF.into_iter()
        .flat_map(|target| ["program", "plugin"].map(|name| Program::new(target, name)))
}

fn is_entry(function: &Function) -> bool {
    function.section == "nosplit_text" || function.section == "__nosplit"
}

fn is_trampoline(function: &Function) -> bool {
    function.name.ends_with("::trampoline")
}

#[test]
fn no_stack_is_executable_and_no_code_writable() -> Result<()> {
    let mut broken = Vec::new();
    for program in programs() {
        let image = Image::read(&std::fs::read(program.build()?)?)?;
        let name = format!("{}: {}", program.target, program.name);
        let stack = image
            .segments
            .iter()
            .find(|segment| segment.0 == elf::PT_GNU_STACK.0);
        if stack.is_none_or(|stack| stack.1 & elf::PF_X.0 != 0) {
            broken.push(format!("{name}: the stack: {stack:?}"));
        }
        let both = elf::PF_W.0 | elf::PF_X.0;
        if image
            .segments
            .iter()
            .any(|segment| segment.1 & both == both)
        {
            broken.push(format!("{name}: {:x?}", image.segments));
        }
    }
    assert_none("no stack is executable, and no code writable", broken);
    Ok(())
}

#[test]
fn no_code_is_changed_at_load() -> Result<()> {
    let mut broken = Vec::new();
    for program in programs() {
        let image = Image::read(&std::fs::read(program.build()?)?)?;
        let text = image
            .dynamic
            .iter()
            .any(|entry| entry.0 == elf::DT_TEXTREL.0)
            || image.dynamic(elf::DT_FLAGS) & elf::DF_TEXTREL.0 != 0;
        if text || image.dynamic.is_empty() {
            broken.push(format!("{}: {}", program.target, program.name));
        }
    }
    assert_none("no code is changed at load", broken);
    Ok(())
}

#[test]
fn every_libc_function_is_bound_at_load() -> Result<()> {
    // Of x86_64 only: elsewhere std itself calls some of them by the PLT.
    let mut wanted: BTreeMap<String, bool> = BTreeMap::new();
    for object in objects(NATIVE)?.nosplit {
        for symbol in parse(&object)?
            .symbols()
            .filter(|symbol| symbol.is_undefined())
        {
            let name = symbol.name()?;
            if !demangle(name).contains("::") {
                wanted.insert(name.to_owned(), false);
            }
        }
    }
    let bytes = std::fs::read(Program::new(NATIVE, "program").build()?)?;
    let file = object::File::parse(&*bytes)?;
    let table = file.dynamic_symbol_table().context("no dynamic symbols")?;
    let mut broken = Vec::new();
    for (_, relocation) in file.dynamic_relocations().context("not dynamic")? {
        let RelocationTarget::Symbol(index) = relocation.target() else {
            continue;
        };
        let name = table.symbol_by_index(index)?.name()?;
        let Some(found) = wanted.get_mut(name) else {
            continue;
        };
        match relocation.flags() {
            RelocationFlags::Elf { r_type } if r_type == elf::R_X86_64_GLOB_DAT => *found = true,
            other => broken.push(format!("{name}: {other:?}")),
        }
    }
    let bound = wanted.values().filter(|found| **found).count();
    println!(
        "{bound} of {} imports are in the program, bound at load",
        wanted.len()
    );
    if !wanted["write"] || !wanted["__errno_location"] {
        broken.push(format!("write and __errno_location are not: {wanted:?}"));
    }
    assert_none("every libc function is bound at load", broken);
    Ok(())
}

#[test]
fn what_is_reached_by_a_pointer_begins_with_a_landing_pad() -> Result<()> {
    let mut broken = Vec::new();
    for target in targets() {
        let pad: [u8; 4] = match target.split('-').next() {
            Some("x86_64") => [0xf3, 0x0f, 0x1e, 0xfa], // endbr64
            Some("i686") => [0xf3, 0x0f, 0x1e, 0xfb],   // endbr32
            _ => 0xd503_245f_u32.to_le_bytes(),         // bti c
        };
        let objects = objects(target)?;
        let mut all = functions(&objects.nosplit)?;
        all.extend(functions(&objects.probe)?);
        for function in all.iter().filter(|f| is_entry(f) || is_trampoline(f)) {
            // These are reached by a return, or never.
            let returned_to = ["goentry", "landing"]
                .iter()
                .any(|name| function.name.ends_with(&format!("processor::{name}")));
            if !returned_to && !function.bytes.starts_with(&pad) {
                let start = &function.bytes[..4.min(function.bytes.len())];
                broken.push(format!("{target}: {}: {start:02x?}", function.name));
            }
        }
    }
    assert_none(
        "what is reached by a pointer begins with a landing pad",
        broken,
    );
    Ok(())
}

#[test]
fn every_object_with_assembly_declares_its_protection() -> Result<()> {
    let mut broken = Vec::new();
    for target in ELF {
        // One object without the note, and the linker drops the property from the image.
        let wanted = if target.starts_with("aarch64") {
            (0xc000_0000, 1) // GNU_PROPERTY_AARCH64_FEATURE_1_AND: BTI
        } else {
            (0xc000_0002, 3) // GNU_PROPERTY_X86_FEATURE_1_AND: IBT and SHSTK
        };
        let objects = objects(target)?;
        let mut with_assembly = 0;
        for object in objects.nosplit.iter().chain(&objects.probe) {
            let functions = functions(std::slice::from_ref::<Object>(object))?;
            if !functions.iter().any(|f| is_entry(f) || is_trampoline(f)) {
                continue;
            }
            with_assembly += 1;
            let declared = properties(&parse(object)?)?;
            let protected =
                |(kind, flags): &(u32, u32)| *kind == wanted.0 && flags & wanted.1 == wanted.1;
            if !declared.iter().any(protected) {
                broken.push(format!("{target}: {}: {declared:x?}", object.name));
            }
        }
        if with_assembly < 2 {
            broken.push(format!(
                "{target}: assembly in {with_assembly} objects only"
            ));
        }
    }
    assert_none("every object with assembly declares its protection", broken);
    Ok(())
}

#[test]
fn nothing_makes_code_at_run_time() -> Result<()> {
    // Pages are mapped and protected by whoever calls these rows; the crate itself does not call them.
    let mut broken = Vec::new();
    for target in targets() {
        for function in functions(&objects(target)?.nosplit)? {
            for reference in &function.references {
                let to = reference.to.split('$').next().unwrap_or_default();
                let c = ["mmap", "mmap64", "mprotect"].contains(&to);
                let row = ["mmap", "mprotect"]
                    .iter()
                    .any(|row| to.starts_with(&format!("nosplit::calls::memory::{row}")));
                if row || c && !function.name.starts_with("nosplit::calls::memory::") {
                    broken.push(format!("{target}: {}: {to}", function.name));
                }
            }
        }
    }
    assert_none("nothing makes code at run time", broken);
    Ok(())
}
