//! The fake library beside the real one.

use std::collections::BTreeSet;
use std::ffi::{CStr, c_char};

use object::{Object, ObjectSymbol};

use crate::foreign;
use crate::support::TestNode;

#[test]
fn the_real_library_exports_nothing_that_the_fake_does_not() {
    let exports = |path: std::path::PathBuf| -> BTreeSet<String> {
        let bytes = std::fs::read(path).unwrap();
        let file = object::File::parse(&*bytes).unwrap();
        let defined = file.dynamic_symbols().filter(ObjectSymbol::is_definition);
        defined.map(|symbol| symbol.name().unwrap().to_owned()).collect()
    };
    let real = exports(foreign("FOREIGN_NVML"));
    let fake = exports(fake_node::node::find_library().unwrap());
    let missing: Vec<_> = real.difference(&fake).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // The list that other tests stand on is this library's.
    let list = include_str!("../data/libnvidia-ml-550.163.01-exports.txt");
    let functions = real.iter().filter(|name| name.starts_with("nvml")).map(String::as_str);
    assert!(
        functions.eq(list.lines()),
        "tests/data/libnvidia-ml-550.163.01-exports.txt is not the library's list"
    );
}

#[test]
fn error_strings_are_the_real_ones() {
    type ErrorString = unsafe extern "C" fn(u32) -> *const c_char;
    // SAFETY: the real library opens on machines without a GPU; its initialisation routines only set variables.
    let real = unsafe { libloading::Library::new(foreign("FOREIGN_NVML")) }.unwrap();
    // SAFETY: this is the function's type in nvml.h.
    let real = unsafe { real.get::<ErrorString>(b"nvmlErrorString") }.unwrap();
    let node = TestNode::new("h100-nvl-2");
    let fake = node.raw();
    for code in (0..=64).chain([998, 999, 1000, u32::MAX - 1, u32::MAX]) {
        let [real, fake] = [
            // SAFETY: any code is allowed.
            unsafe { real(code) },
            nvml!(fake, nvmlErrorString(code)),
        ]
        // SAFETY: both answer constant C strings.
        .map(|text| unsafe { CStr::from_ptr(text) });
        assert_eq!(fake, real, "code {code}");
    }
}

#[test]
fn the_python_binding_looks_up_nothing_that_the_fake_does_not_export() {
    let source = std::fs::read_to_string(foreign("FOREIGN_PYNVML").join("pynvml.py")).unwrap();
    let wanted: BTreeSet<&str> = source
        .split("_nvmlGetFunctionPointer(\"")
        .skip(1)
        .filter_map(|rest| rest.split_once('"').map(|(name, _)| name))
        .collect();
    let list: BTreeSet<&str> = include_str!("../data/nvidia-ml-py-13.615.71-functions.txt").lines().collect();
    assert_eq!(wanted, list, "tests/data/nvidia-ml-py-13.615.71-functions.txt is not the binding's list");
}
