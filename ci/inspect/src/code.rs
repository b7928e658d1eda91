//! The functions of an object file, and what they refer to.

use crate::build::Object;
use crate::mach_o::data_in_code;
use anyhow::{Context, Result, bail, ensure};
use object::{
    Architecture, File, Object as _, ObjectSection, ObjectSymbol, Relocation, RelocationFlags,
    RelocationTarget, Section, SectionFlags, SectionIndex, SymbolKind, elf, macho,
};

/// A function, as the compiler or the assembler left it.
pub struct Function {
    /// The path in Rust, or the name of the symbol.
    pub name: String,
    /// The object that holds it.
    pub object: String,
    /// Its section.
    pub section: String,
    /// Its address: in its section (ELF), in the object (Mach-O).
    pub address: u64,
    /// Its instructions.
    pub bytes: Vec<u8>,
    /// What the linker will fill in, in order.
    pub references: Vec<Reference>,
}

/// Something that the linker fills in.
#[derive(Clone, Debug)]
pub struct Reference {
    /// Where.
    pub at: u64,
    /// How the symbol is reached.
    pub how: How,
    /// The path in Rust, or the name of the symbol.
    pub to: String,
    /// Is the symbol defined in this object?
    pub defined: bool,
}

/// How code reaches a symbol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// By a call or a jump, which the linker may send through the PLT or a lazy stub.
    Branch,
    /// By a pointer that is bound at load.
    Pointer,
    /// By its address, relative to the code.
    Address,
    /// By its address, absolute: in code, the code itself would have to be changed at load.
    Absolute,
    /// As thread-local, at an offset bound at load.
    ThreadLocal,
}

/// Parses an object.
pub fn parse(object: &Object) -> Result<File<'_>> {
    File::parse(&*object.bytes).with_context(|| object.name.clone())
}

/// Every function of these objects.
pub fn functions(objects: &[Object]) -> Result<Vec<Function>> {
    let mut all = Vec::new();
    for object in objects {
        let file = parse(object)?;
        let tables = data_in_code(&file)?;
        for section in file.sections().filter(|s| is_code(s) && s.size() != 0) {
            let name = section.name()?;
            let spans = spans(&file, &section)?;
            let first = spans.first().map(|span| span.0);
            ensure!(
                first == Some(section.address()),
                "{}: no symbol at the start of {name}",
                object.name,
            );
            let data = section.data()?;
            for (start, end, symbol) in spans {
                let table = tables.iter().copied().find(|t| (start..end).contains(t));
                let end = table.unwrap_or(end);
                let offsets =
                    (start - section.address()) as usize..(end - section.address()) as usize;
                all.push(Function {
                    name: demangle(plain(&file, symbol)),
                    object: object.name.clone(),
                    section: name.to_owned(),
                    address: start,
                    bytes: data[offsets].to_owned(),
                    references: references(&file, &section, start, end)?,
                });
            }
        }
    }
    Ok(all)
}

/// The symbols that a table holds the addresses of; the table is a symbol of one of these objects.
pub fn table(objects: &[Object], name: &str) -> Result<Vec<String>> {
    for object in objects {
        let file = parse(object)?;
        for section in file.sections() {
            for (start, end, symbol) in spans(&file, &section)? {
                if plain(&file, symbol) == name {
                    let references = references(&file, &section, start, end)?;
                    return Ok(references.into_iter().map(|r| r.to).collect());
                }
            }
        }
    }
    bail!("no object has a symbol {name}")
}

/// Is it marked as code?
pub fn is_code(section: &Section<'_, '_>) -> bool {
    match section.flags() {
        SectionFlags::Elf { sh_flags, .. } => sh_flags.0 & elf::SHF_EXECINSTR.0 != 0,
        SectionFlags::MachO { flags, .. } => flags.0 & macho::S_ATTR_PURE_INSTRUCTIONS.0 != 0,
        _ => false,
    }
}

/// The path of a symbol in Rust, without its hash; or the symbol.
pub fn demangle(symbol: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(symbol))
}

/// The symbol as C or Rust has it: Mach-O puts an underscore before each.
pub fn plain<'a>(file: &File<'_>, symbol: &'a str) -> &'a str {
    let stripped = symbol.strip_prefix('_').filter(|_| is_mach_o(file));
    stripped.unwrap_or(symbol)
}

fn is_mach_o(file: &File<'_>) -> bool {
    matches!(file, File::MachO32(_) | File::MachO64(_))
}

/// Start, end and symbol of each thing in a section. Mach-O symbols have no size: each ends where the
/// next begins.
fn spans<'a>(file: &File<'a>, section: &Section<'a, '_>) -> Result<Vec<(u64, u64, &'a str)>> {
    let mut starts = Vec::new();
    for symbol in file.symbols() {
        let name = symbol.name()?;
        // Mapping symbols, labels of the assembler's, and the section's own name.
        let label = if is_mach_o(file) {
            !name.starts_with('_')
        } else {
            name.is_empty() || name.starts_with(['$', '.'])
        };
        if symbol.section_index() == Some(section.index()) && !label {
            starts.push((symbol.address(), name, symbol.size()));
        }
    }
    starts.sort();
    starts.dedup_by_key(|start| start.0);
    let next = starts.iter().skip(1).map(|start| start.0);
    let next = next.chain([section.address() + section.size()]);
    let spans = starts.iter().zip(next);
    let end = |start, size, next| if size == 0 { next } else { start + size };
    Ok(spans
        .map(|(&(start, name, size), next)| (start, end(start, size, next), name))
        .collect())
}

/// The name of what is at an address of a section: a symbol, or section and address.
pub(crate) fn place(file: &File<'_>, section: SectionIndex, address: u64) -> Result<String> {
    let section = file.section_by_index(section)?;
    let spans = spans(file, &section)?;
    Ok(match spans.iter().find(|span| span.0 == address) {
        Some((_, _, symbol)) => demangle(plain(file, symbol)),
        None => format!("{}+{address:#x}", section.name()?),
    })
}

/// What the linker fills in between two addresses.
fn references<'a>(
    file: &File<'a>,
    section: &Section<'a, '_>,
    start: u64,
    end: u64,
) -> Result<Vec<Reference>> {
    let data = section.data()?;
    let mut references = Vec::new();
    for (offset, relocation) in section.relocations() {
        let at = section.address() + offset;
        if (start..end).contains(&at) {
            let inline = data.get(offset as usize..).unwrap_or_default();
            let reference = reference(file, at, &relocation, inline);
            let name = section.name()?;
            references.push(reference.with_context(|| format!("{name} at {at:#x}"))?);
        }
    }
    references.sort_by_key(|reference| reference.at);
    Ok(references)
}

fn reference(
    file: &File<'_>,
    at: u64,
    relocation: &Relocation,
    inline: &[u8],
) -> Result<Reference> {
    let how = how(file.architecture(), relocation.flags())?;
    let inline = inline.first_chunk().copied().map(i32::from_le_bytes);
    let addend = match relocation.has_implicit_addend() {
        true => inline.context("cut off")?.into(),
        false => relocation.addend(),
    };
    // x86 counts from the end of the instruction, which is 4 bytes on for a branch.
    let is_arm = file.architecture() == Architecture::Aarch64;
    let from_end = if how == How::Branch && !is_arm { 4 } else { 0 };
    let (to, defined) = match relocation.target() {
        RelocationTarget::Symbol(index) => {
            let symbol = file.symbol_by_index(index)?;
            match symbol.section_index() {
                // ELF names a local function by its place in a section.
                Some(home) if symbol.kind() == SymbolKind::Section => {
                    (place(file, home, (addend + from_end) as u64)?, true)
                }
                home => (demangle(plain(file, symbol.name()?)), home.is_some()),
            }
        }
        // i386 Mach-O: the instruction has the address, or the way to it.
        RelocationTarget::Section(home) => {
            let base = if how == How::Branch { at + 4 } else { 0 };
            let address = base.wrapping_add_signed(addend) as u32;
            (place(file, home, address.into())?, true)
        }
        other => bail!("a reference to {other:?}"),
    };
    Ok(Reference {
        at,
        how,
        to,
        defined,
    })
}

/// How a relocation reaches its symbol; an error for one that nobody has thought of.
fn how(architecture: Architecture, flags: RelocationFlags) -> Result<How> {
    use How::{Absolute, Address, Branch, Pointer, ThreadLocal};
    Ok(match (architecture, flags) {
        (Architecture::X86_64, RelocationFlags::Elf { r_type }) => match r_type {
            elf::R_X86_64_PLT32 | elf::R_X86_64_PC32 => Branch,
            elf::R_X86_64_GOTPCREL | elf::R_X86_64_GOTPCRELX | elf::R_X86_64_REX_GOTPCRELX => {
                Pointer
            }
            elf::R_X86_64_GOTTPOFF => ThreadLocal,
            elf::R_X86_64_64 => Absolute,
            other => bail!("relocation type {other}"),
        },
        (Architecture::I386, RelocationFlags::Elf { r_type }) => match r_type {
            elf::R_386_PLT32 | elf::R_386_PC32 => Branch,
            elf::R_386_GOT32 | elf::R_386_GOT32X => Pointer,
            elf::R_386_GOTPC | elf::R_386_GOTOFF => Address,
            elf::R_386_TLS_GOTIE | elf::R_386_TLS_IE => ThreadLocal,
            elf::R_386_32 => Absolute,
            other => bail!("relocation type {other}"),
        },
        (Architecture::Aarch64, RelocationFlags::Elf { r_type }) => match r_type {
            elf::R_AARCH64_CALL26 | elf::R_AARCH64_JUMP26 => Branch,
            elf::R_AARCH64_ADR_GOT_PAGE | elf::R_AARCH64_LD64_GOT_LO12_NC => Pointer,
            elf::R_AARCH64_ADR_PREL_PG_HI21
            | elf::R_AARCH64_ADR_PREL_LO21
            | elf::R_AARCH64_ADD_ABS_LO12_NC
            | elf::R_AARCH64_LDST8_ABS_LO12_NC
            | elf::R_AARCH64_LDST16_ABS_LO12_NC
            | elf::R_AARCH64_LDST32_ABS_LO12_NC
            | elf::R_AARCH64_LDST64_ABS_LO12_NC
            | elf::R_AARCH64_LDST128_ABS_LO12_NC => Address,
            elf::R_AARCH64_TLSIE_ADR_GOTTPREL_PAGE21
            | elf::R_AARCH64_TLSIE_LD64_GOTTPREL_LO12_NC => ThreadLocal,
            elf::R_AARCH64_ABS64 => Absolute,
            other => bail!("relocation type {other}"),
        },
        (Architecture::X86_64, RelocationFlags::MachO { r_type, .. }) => match r_type {
            macho::X86_64_RELOC_BRANCH => Branch,
            macho::X86_64_RELOC_GOT | macho::X86_64_RELOC_GOT_LOAD => Pointer,
            macho::X86_64_RELOC_SIGNED
            | macho::X86_64_RELOC_SIGNED_1
            | macho::X86_64_RELOC_SIGNED_2
            | macho::X86_64_RELOC_SIGNED_4 => Address,
            macho::X86_64_RELOC_UNSIGNED => Absolute,
            other => bail!("relocation type {other}"),
        },
        (Architecture::Aarch64, RelocationFlags::MachO { r_type, .. }) => match r_type {
            macho::ARM64_RELOC_BRANCH26 => Branch,
            macho::ARM64_RELOC_GOT_LOAD_PAGE21 | macho::ARM64_RELOC_GOT_LOAD_PAGEOFF12 => Pointer,
            macho::ARM64_RELOC_PAGE21
            | macho::ARM64_RELOC_PAGEOFF12
            | macho::ARM64_RELOC_ADDEND => Address,
            macho::ARM64_RELOC_UNSIGNED => Absolute,
            other => bail!("relocation type {other}"),
        },
        (Architecture::I386, RelocationFlags::MachO { r_pcrel, .. }) => {
            if r_pcrel {
                Branch
            } else {
                Absolute
            }
        }
        other => bail!("{other:?}"),
    })
}
