//! Shared objects that hold nothing but their name.
//!
//! The placeholders of the driver's libraries must satisfy all who look at them: the dynamic loader and
//! `ldconfig` read the program headers, Go's and other people's ELF readers the section headers.

/// Bytes that stand before the dynamic section, whatever the name.
const HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;
const SECTION_HEADER: u16 = 64;
const SYMBOL: u64 = 24;
/// The largest page size of the supported machines, 64 KiB on some aarch64 kernels.
const ALIGNMENT: u64 = 0x10000;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_GNU_STACK: u32 = 0x6474_e551;
const READ_WRITE: u32 = 6;

const SHT_STRTAB: u32 = 3;
const SHT_HASH: u32 = 5;
const SHT_DYNAMIC: u32 = 6;
const SHT_DYNSYM: u32 = 11;
const SHF_WRITE: u64 = 1;
const SHF_ALLOC: u64 = 2;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

const SECTION_NAMES: &[u8] = b"\0.hash\0.dynsym\0.dynstr\0.dynamic\0.shstrtab\0";

/// An ELF shared object for this machine with this SONAME and no symbols.
pub(super) fn shared_object(soname: &str) -> Vec<u8> {
    let mut strings = vec![0];
    strings.extend_from_slice(soname.as_bytes());
    strings.push(0);
    strings.resize(strings.len().next_multiple_of(8), 0);

    // One segment, loaded as it stands in the file: addresses are file offsets.
    let hash = HEADER + 3 * PROGRAM_HEADER;
    let hash_table: [u32; 4] = [1, 1, 0, 0];
    let symbols = hash + 16;
    let string_table = symbols + SYMBOL;
    let dynamic = string_table + length(&strings);
    let entries: [(u64, u64); 7] = [
        (14, 1), // DT_SONAME
        (4, hash),
        (5, string_table),
        (6, symbols),
        (10, length(&strings)),
        (11, SYMBOL),
        (0, 0),
    ];
    let dynamic_size = 16 * 7;
    let section_names = dynamic + dynamic_size;
    let sections = (section_names + length(SECTION_NAMES)).next_multiple_of(8);

    let mut out = Writer::default();
    out.bytes(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    out.u16s(&[3, MACHINE]); // ET_DYN
    out.u32s(&[1]);
    out.u64s(&[0, HEADER, sections]);
    out.u32s(&[0]);
    out.u16s(&[64, 56, 3, SECTION_HEADER, 6, 5]);

    for (kind, offset, size, alignment) in [
        (PT_LOAD, 0, section_names, ALIGNMENT),
        (PT_DYNAMIC, dynamic, dynamic_size, 8),
        // Without it the loader would ask for an executable stack.
        (PT_GNU_STACK, 0, 0, 16),
    ] {
        out.u32s(&[kind, READ_WRITE]);
        out.u64s(&[offset, offset, offset, size, size, alignment]);
    }

    out.u32s(&hash_table);
    out.bytes(&[0; 24]);
    out.bytes(&strings);
    for (tag, value) in entries {
        out.u64s(&[tag, value]);
    }
    out.bytes(SECTION_NAMES);
    out.pad_to(sections);

    out.bytes(&[0; 64]);
    let section = |out: &mut Writer, header: [u32; 2], flags, at, size, link: [u32; 2], entry| {
        out.u32s(&header);
        let address = if flags == 0 { 0 } else { at };
        out.u64s(&[flags, address, at, size]);
        out.u32s(&link);
        out.u64s(&[8, entry]);
    };
    section(&mut out, [1, SHT_HASH], SHF_ALLOC, hash, 16, [2, 0], 4);
    section(&mut out, [7, SHT_DYNSYM], SHF_ALLOC, symbols, SYMBOL, [3, 1], SYMBOL);
    section(&mut out, [15, SHT_STRTAB], SHF_ALLOC, string_table, length(&strings), [0, 0], 0);
    section(&mut out, [23, SHT_DYNAMIC], SHF_ALLOC | SHF_WRITE, dynamic, dynamic_size, [3, 0], 16);
    section(&mut out, [32, SHT_STRTAB], 0, section_names, length(SECTION_NAMES), [0, 0], 0);
    out.0
}

/// Bytes in a piece of a file of a few hundred bytes.
fn length(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

/// Little-endian numbers one after the other.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn u16s(&mut self, values: &[u16]) {
        self.0.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    fn u32s(&mut self, values: &[u32]) {
        self.0.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    fn u64s(&mut self, values: &[u64]) {
        self.0.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    fn pad_to(&mut self, offset: u64) {
        while length(&self.0) < offset {
            self.0.push(0);
        }
    }
}
