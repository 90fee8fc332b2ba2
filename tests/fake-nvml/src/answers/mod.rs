//! What the functions answer, by subject: safe functions over the model.

pub(crate) mod events;
pub(crate) mod fields;
pub(crate) mod identity;
pub(crate) mod links;
pub(crate) mod memory;
pub(crate) mod modes;
pub(crate) mod power;
pub(crate) mod private;
pub(crate) mod processes;
pub(crate) mod system;
pub(crate) mod topology;

use std::ffi::{c_char, c_uint};

use crate::abi::{Answer, Out};

/// 1 for true: NVML's `nvmlEnableState_t` and its plain unsigned flags.
fn flag(value: bool) -> c_uint {
    c_uint::from(value)
}

/// Texts that the real library writes without being told the buffer's size; NVML promises 80 bytes.
fn unbounded_text(buffer: Out<c_char>, text: &str) -> Answer {
    buffer.text(80, text)
}
