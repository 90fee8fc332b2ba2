//! The dynamic symbol table.

use std::collections::BTreeSet;

use object::elf::{DF_SYMBOLIC, DT_FLAGS, DT_SONAME, FileHeader64};
use object::read::elf::{Dyn, FileHeader};
use object::{Endianness, Object, ObjectSymbol, SymbolKind};

use crate::wrapper_fields;

/// `nm -D` of the real libnvidia-ml.so.550.163.01.
const REAL_550: &str = include_str!("../data/libnvidia-ml-550.163.01-exports.txt");
/// Function declarations in nvml.h of NVIDIA/go-nvml at 2f9e261f (NVML API 13).
const GO_NVML: &str = include_str!("../data/go-nvml-2f9e261f-functions.txt");
/// Functions that NVIDIA's Python binding nvidia-ml-py 13.615.71 looks up.
const PYNVML: &str = include_str!("../data/nvidia-ml-py-13.615.71-functions.txt");

/// The fake library's file.
fn fake() -> Vec<u8> {
    std::fs::read(fake_node::node::find_library().unwrap()).unwrap()
}

fn exports(library: &[u8]) -> BTreeSet<String> {
    let file = object::File::parse(library).unwrap();
    let defined = file.dynamic_symbols().filter(ObjectSymbol::is_definition);
    defined.map(|symbol| symbol.name().unwrap().to_owned()).collect()
}

fn names(list: &str) -> BTreeSet<String> {
    list.lines().map(str::to_owned).collect()
}

#[test]
fn every_function_that_a_client_may_look_up_is_exported() {
    let exports = exports(&fake());
    let wrapper = wrapper_fields::NAMES.iter().map(|name| (*name).to_owned()).collect();
    for (client, wanted, at_least) in [
        ("the real library 550.163.01", names(REAL_550), 350),
        ("go-nvml", names(GO_NVML), 400),
        ("nvidia-ml-py", names(PYNVML), 400),
        ("nvml-wrapper-sys", wrapper, 390),
    ] {
        assert!(wanted.len() >= at_least, "the list of {client} is cut off");
        let missing: Vec<_> = wanted.difference(&exports).collect();
        assert!(missing.is_empty(), "{client} has more: {missing:?}");
    }
}

#[test]
fn nothing_is_exported_that_no_client_knows() {
    let known: BTreeSet<String> = [REAL_550, GO_NVML, PYNVML]
        .into_iter()
        .flat_map(str::lines)
        .chain(wrapper_fields::NAMES.iter().copied())
        .map(str::to_owned)
        .collect();
    let unknown: Vec<_> = exports(&fake()).difference(&known).cloned().collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn exports_are_functions_without_a_version() {
    let bytes = fake();
    let file = object::File::parse(&*bytes).unwrap();
    for symbol in file.dynamic_symbols().filter(ObjectSymbol::is_definition) {
        assert_eq!(symbol.kind(), SymbolKind::Text, "{}", symbol.name().unwrap());
    }
    let header = FileHeader64::<Endianness>::parse(&*bytes).unwrap();
    let endian = header.endian().unwrap();
    let sections = header.sections(endian, &*bytes).unwrap();
    assert!(sections.gnu_verdef(endian, &*bytes).unwrap().is_none(), "the real library defines no versions");
}

#[test]
fn the_library_has_the_real_soname_and_is_bound_to_itself() {
    let bytes = fake();
    let header = FileHeader64::<Endianness>::parse(&*bytes).unwrap();
    let endian = header.endian().unwrap();
    let sections = header.sections(endian, &*bytes).unwrap();
    let (entries, strings) = sections.dynamic(endian, &*bytes).unwrap().unwrap();
    let strings = sections.strings(endian, &*bytes, strings).unwrap();
    let value = |tag| entries.iter().find(|entry| entry.tag(endian) == tag).map(|entry| entry.val(endian));

    let soname = u32::try_from(value(DT_SONAME).unwrap()).unwrap();
    assert_eq!(strings.get(soname).unwrap(), b"libnvidia-ml.so.1");
    let flags = value(DT_FLAGS).unwrap_or(0);
    assert!(flags & DF_SYMBOLIC.0 != 0, "not linked with -Bsymbolic: {flags:#x}");
}
