//! How a function's answer becomes an entry: its shape, and the class and name of what it says.

use std::ffi::{c_char, c_uint, c_ulong};

use serde_json::Value;

use super::{Gpu, System};
use crate::answer::{Asked, Class, Field, valued};
use crate::raw::{self, Argument, Plain};

/// What is handed to a function first.
pub(crate) trait Subject {
    /// The GPU.
    type First: Argument;
    /// The GPU.
    fn first(&self) -> Self::First;
}

impl Subject for Gpu {
    type First = raw::Device;

    fn first(&self) -> raw::Device {
        self.device
    }
}

type C<A> = <A as Argument>::C;
type First<S> = C<<S as Subject>::First>;
type Function<F, E> = Result<F, E>;

/// A number of the node's.
pub(crate) fn system_number<T: Plain + Into<Value>, E>(
    function: &Function<unsafe extern "C" fn(*mut T) -> c_uint, E>,
    _: &System,
    class: Class,
) -> Asked {
    Asked::on_success(raw::get(function, raw::zeroed()), |value| vec![valued(class, "value", value)])
}

/// A text of the node's.
pub(crate) fn system_text<E>(
    function: &Function<unsafe extern "C" fn(*mut c_char, c_uint) -> c_uint, E>,
    _: &System,
    length: u32,
    class: Class,
) -> Asked {
    Asked::on_success(raw::text(function, length), |value| vec![valued(class, "value", value)])
}

/// A number.
pub(crate) fn number<S: Subject, T: Plain + Into<Value>, E>(
    function: &Function<unsafe extern "C" fn(First<S>, *mut T) -> c_uint, E>,
    on: &S,
    class: Class,
) -> Asked {
    Asked::on_success(raw::get1(function, on.first(), raw::zeroed()), |value| {
        vec![valued(class, "value", value)]
    })
}

/// A number that depends on another.
pub(crate) fn number_of<S: Subject, T: Plain + Into<Value>, E>(
    function: &Function<unsafe extern "C" fn(First<S>, c_uint, *mut T) -> c_uint, E>,
    on: &S,
    argument: u32,
    class: Class,
) -> Asked {
    Asked::on_success(raw::get2(function, (on.first(), argument), raw::zeroed()), |value| {
        vec![valued(class, "value", value)]
    })
}

/// A number that depends on two others.
pub(crate) fn number_of2<S: Subject, T: Plain + Into<Value>, E>(
    function: &Function<unsafe extern "C" fn(First<S>, c_uint, c_uint, *mut T) -> c_uint, E>,
    on: &S,
    (a, b): (u32, u32),
    class: Class,
) -> Asked {
    Asked::on_success(raw::get3(function, (on.first(), a, b), raw::zeroed()), |value| {
        vec![valued(class, "value", value)]
    })
}

/// A number that depends on three others.
pub(crate) fn number_of3<S: Subject, T: Plain + Into<Value>, E>(
    function: &Function<unsafe extern "C" fn(First<S>, c_uint, c_uint, c_uint, *mut T) -> c_uint, E>,
    on: &S,
    (a, b, c): (u32, u32, u32),
    class: Class,
) -> Asked {
    Asked::on_success(raw::get4(function, (on.first(), a, b, c), raw::zeroed()), |value| {
        vec![valued(class, "value", value)]
    })
}

/// A text.
pub(crate) fn text<S: Subject, E>(
    function: &Function<unsafe extern "C" fn(First<S>, *mut c_char, c_uint) -> c_uint, E>,
    on: &S,
    length: u32,
    class: Class,
) -> Asked {
    Asked::on_success(raw::text1(function, on.first(), length), |value| vec![valued(class, "value", value)])
}

/// A text that depends on a number.
pub(crate) fn text_of<S: Subject, E>(
    function: &Function<unsafe extern "C" fn(First<S>, c_uint, *mut c_char, c_uint) -> c_uint, E>,
    on: &S,
    argument: u32,
    class: Class,
) -> Asked {
    Asked::on_success(raw::text2(function, (on.first(), argument), 96), |value| {
        vec![valued(class, "value", value)]
    })
}

/// A text without a length.
pub(crate) fn unbounded_text<S: Subject, E>(
    function: &Function<unsafe extern "C" fn(First<S>, *mut c_char) -> c_uint, E>,
    on: &S,
    class: Class,
) -> Asked {
    Asked::on_success(raw::unbounded_text(function, on.first()), |value| vec![valued(class, "value", value)])
}

/// Two numbers.
pub(crate) fn two<S: Subject, T: Plain + Into<Value>, U: Plain + Into<Value>, E>(
    function: &Function<unsafe extern "C" fn(First<S>, *mut T, *mut U) -> c_uint, E>,
    on: &S,
    class: Class,
    [first, second]: [&'static str; 2],
) -> Asked {
    Asked::on_success(raw::two(function, on.first()), |(a, b)| {
        vec![valued(class, first, a), valued(class, second, b)]
    })
}

/// A structure, from an initial one that holds its version and questions.
pub(crate) fn structure<S: Subject, T: Plain, E>(
    function: &Function<unsafe extern "C" fn(First<S>, *mut T) -> c_uint, E>,
    on: &S,
    initial: T,
    read: fn(T) -> Vec<Field>,
) -> Asked {
    Asked::on_success(raw::get1(function, on.first(), initial), read)
}

/// A list, of which only the length is recorded.
pub(crate) fn length<S: Subject, T: Plain, E>(
    function: &Function<unsafe extern "C" fn(First<S>, *mut c_uint, *mut T) -> c_uint, E>,
    on: &S,
    room: u32,
    class: Class,
) -> Asked {
    Asked::always(raw::list1(function, on.first(), room), |(count, _)| vec![valued(class, "count", count)])
}

/// A list of numbers.
pub(crate) fn numbers<S: Subject, E>(
    function: &Function<unsafe extern "C" fn(First<S>, *mut c_uint, *mut c_uint) -> c_uint, E>,
    on: &S,
    room: u32,
    class: Class,
) -> Asked {
    Asked::on_success(raw::list1(function, on.first(), room), |(count, items)| {
        vec![valued(class, "count", count), valued(class, "values", items)]
    })
}

/// A set of CPUs or memory nodes: the bits' numbers.
pub(crate) fn set<S: Subject, E>(
    function: &Function<unsafe extern "C" fn(First<S>, c_uint, *mut c_ulong) -> c_uint, E>,
    on: &S,
    words: u32,
    class: Class,
) -> Asked {
    Asked::on_success(raw::bits(function, on.first(), words), |words| {
        vec![valued(class, "words", hex(&words))]
    })
}

/// The same, within a scope: 0 for the NUMA node, 1 for the socket.
pub(crate) fn scoped_set<S: Subject, E>(
    function: &Function<unsafe extern "C" fn(First<S>, c_uint, *mut c_ulong, c_uint) -> c_uint, E>,
    on: &S,
    (words, scope): (u32, u32),
    class: Class,
) -> Asked {
    Asked::on_success(raw::scoped_bits(function, on.first(), words, scope), |words| {
        vec![valued(class, "words", hex(&words))]
    })
}

fn hex(words: &[u64]) -> Vec<String> {
    words.iter().map(|word| format!("{word:#x}")).collect()
}

/// Whether the call succeeds.
pub(crate) fn only_code<S: Subject, E>(
    function: &Function<unsafe extern "C" fn(First<S>) -> c_uint, E>,
    on: &S,
) -> Asked {
    Asked::on_success(raw::call1(function, on.first()), |()| Vec::new())
}
