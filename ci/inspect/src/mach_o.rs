//! What only Mach-O objects have.

use anyhow::{Context, Result, bail};
use object::macho::DataInCodeEntry;
use object::read::macho::{LoadCommandIterator, LoadCommandVariant};
use object::{Endian, Endianness, File, Object, ObjectSection, ObjectSymbol, RelocationTarget};

/// Where data begins in code: the jump tables that LLVM puts behind a function.
pub fn data_in_code(file: &File<'_>) -> Result<Vec<u64>> {
    fn read<E: Endian>(
        mut commands: LoadCommandIterator<'_, E>,
        endian: E,
        data: &[u8],
    ) -> Result<Vec<u64>> {
        let mut starts = Vec::new();
        while let Some(command) = commands.next()? {
            if command.cmd() != object::macho::LC_DATA_IN_CODE {
                continue;
            }
            if let LoadCommandVariant::LinkeditData(place) = command.variant()? {
                let entries: &[DataInCodeEntry<E>] =
                    object::slice_from_all_bytes(place.data(endian, data)?)
                        .ok()
                        .context("a cut-off table of data in code")?;
                starts.extend(
                    entries
                        .iter()
                        .map(|entry| u64::from(entry.offset.get(endian))),
                );
            }
        }
        Ok(starts)
    }
    match file {
        File::MachO32(file) => {
            read::<Endianness>(file.macho_load_commands()?, file.endian(), file.data())
        }
        File::MachO64(file) => {
            read::<Endianness>(file.macho_load_commands()?, file.endian(), file.data())
        }
        _ => Ok(Vec::new()),
    }
}

/// An entry of compact unwind information.
#[derive(Debug)]
pub struct Unwind {
    /// The function.
    pub function: String,
    /// How its caller is found.
    pub encoding: u32,
}

/// The compact unwind entries of an object: what the linker makes `__unwind_info` of.
pub fn compact_unwind(file: &File<'_>) -> Result<Vec<Unwind>> {
    let word = if file.is_64() { 8 } else { 4 };
    // Start, length, encoding, personality, LSDA.
    let size = word + 4 + 4 + word + word;
    let Some(section) = file.section_by_name("__compact_unwind") else {
        return Ok(Vec::new());
    };
    let data = section.data()?;
    let mut entries = Vec::new();
    for (n, entry) in data.chunks_exact(size).enumerate() {
        let relocation = section
            .relocations()
            .find(|(at, _)| *at == (n * size) as u64);
        let (_, relocation) = relocation.context("an unwind entry of no function")?;
        let start: u64 = match entry[..word] {
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]).into(),
            [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            _ => bail!("a word of {word} bytes"),
        };
        let (home, start) = match relocation.target() {
            RelocationTarget::Symbol(index) => {
                let symbol = file.symbol_by_index(index)?;
                let home = symbol
                    .section_index()
                    .context("an unwind entry elsewhere")?;
                (home, symbol.address() + start)
            }
            RelocationTarget::Section(home) => (home, start),
            other => bail!("an unwind entry of {other:?}"),
        };
        entries.push(Unwind {
            function: crate::code::place(file, home, start)?,
            encoding: u32::from_le_bytes(entry[word + 4..word + 8].try_into()?),
        });
    }
    Ok(entries)
}
