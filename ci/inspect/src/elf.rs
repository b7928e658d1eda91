//! What only ELF objects have.

use anyhow::{Context, Result, bail};
use object::{File, Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex};

/// The code that a frame description covers: section, start and end.
pub type Frame = (SectionIndex, u64, u64);

/// What `.eh_frame` of an object covers.
pub fn frames(file: &File<'_>) -> Result<Vec<Frame>> {
    let mut frames = Vec::new();
    for section in file.sections().filter(|s| s.name() == Ok(".eh_frame")) {
        let data = section.data()?;
        let mut at = 0;
        while let Some(&length) = data[at..].first_chunk::<4>() {
            let length = u32::from_le_bytes(length) as usize;
            let record = data
                .get(at + 4..at + 4 + length)
                .context("a cut-off record of .eh_frame")?;
            // A common record is number 0; others lead back to theirs, then comes the code: its
            // start, which the linker fills in, and its length.
            if let [a, b, c, d, s, t, u, v, w, x, y, z, ..] = *record
                && [a, b, c, d] != [0; 4]
            {
                let place = at as u64 + 8;
                let relocation = section.relocations().find(|(offset, _)| *offset == place);
                let (_, relocation) = relocation.context("a frame of no function")?;
                let RelocationTarget::Symbol(symbol) = relocation.target() else {
                    bail!("a frame of {:?}", relocation.target());
                };
                let symbol = file.symbol_by_index(symbol)?;
                let home = symbol.section_index().context("a frame elsewhere")?;
                let inline = i32::from_le_bytes([s, t, u, v]).into();
                let addend = relocation.addend();
                let addend = if relocation.has_implicit_addend() {
                    inline
                } else {
                    addend
                };
                let start = symbol.address().wrapping_add_signed(addend);
                frames.push((
                    home,
                    start,
                    start + u64::from(u32::from_le_bytes([w, x, y, z])),
                ));
            }
            at += 4 + length;
        }
    }
    Ok(frames)
}

/// The control-flow properties that an object declares, as `(type, flags)`.
pub fn properties(file: &File<'_>) -> Result<Vec<(u32, u32)>> {
    let align = if file.is_64() { 8 } else { 4 };
    let mut properties = Vec::new();
    for section in file
        .sections()
        .filter(|s| s.name() == Ok(".note.gnu.property"))
    {
        let data = section.data()?;
        let (words, _) = data.as_chunks::<4>();
        let words: Vec<_> = words.iter().copied().map(u32::from_le_bytes).collect();
        // Lengths of name and content, NT_GNU_PROPERTY_TYPE_0, "GNU", then the properties.
        let [4, length, 5, 0x0055_4e47, ..] = words[..] else {
            bail!("not a property note: {words:x?}");
        };
        let mut at = 4;
        while at < 4 + length as usize / 4 {
            let [kind, size, flags, ..] = words[at..] else {
                bail!("a cut-off property note: {words:x?}");
            };
            properties.push((kind, flags));
            at += 2 + (size as usize).next_multiple_of(align) / 4;
        }
    }
    Ok(properties)
}
