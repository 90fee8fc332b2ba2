//! The calls themselves: one safe function for each shape that NVML's read-only functions have.
//!
//! A shape takes a function of the library as nvml-wrapper-sys found it, so that the compiler checks every call
//! against NVIDIA's header as bindgen read it. Arguments are numbers, texts and handles that only this file can
//! make; nothing here can hand NVML an address that is not valid for the call.

#![expect(unsafe_code, reason = "calls into NVIDIA's library")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulong, c_ulonglong};
use std::path::Path;

use nvml_wrapper_sys::bindings::{self as sys, NvmlLib, nvmlReturn_t};

/// Bytes that every buffer has beyond what NVML is told of: a newer driver that writes a longer structure, or
/// ignores a length, writes there and not elsewhere.
const SLACK: usize = 512;
/// Room for texts, more than any of NVML's.
const TEXT: usize = 256;
/// Room in lists.
const LIST: usize = 1024;

/// A loaded library, for the life of the process.
pub(crate) struct Library {
    /// The functions that it has.
    pub(crate) functions: NvmlLib,
}

impl Library {
    /// Loads it. It is never unloaded: a library that hangs or crashes at its end would spoil what was recorded.
    ///
    /// # Errors
    /// What the dynamic loader says.
    pub(crate) fn load(path: &Path) -> Result<&'static Self, String> {
        // SAFETY: the file is the driver's library (or the fake one), which its installer trusts to run in
        // every process that uses a GPU.
        let functions = unsafe { NvmlLib::new(path) }.map_err(|error| error.to_string())?;
        Ok(Box::leak(Box::new(Self { functions })))
    }
}

/// A GPU's handle, as NVML gave it out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Device(sys::nvmlDevice_t);

impl Device {
    /// What no session ever gives out.
    pub(crate) const NULL: Self = Self(std::ptr::null_mut());
}

/// An event set, as NVML gave it out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventSet(sys::nvmlEventSet_t);

/// What came of a call: what it returned, and what it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got<T> {
    /// The library does not have the function.
    NoSymbol,
    /// It returned this code. What it wrote is meaningful as the function documents for the code.
    Code(nvmlReturn_t, T),
}

impl<T> Got<T> {
    /// Does something to what was written.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Got<U> {
        match self {
            Self::NoSymbol => Got::NoSymbol,
            Self::Code(code, value) => Got::Code(code, change(value)),
        }
    }

    /// The code.
    pub(crate) fn code(&self) -> Option<nvmlReturn_t> {
        match self {
            Self::NoSymbol => None,
            Self::Code(code, _) => Some(*code),
        }
    }
}

/// What can be handed to NVML.
pub(crate) trait Argument: Copy {
    /// Its form in C.
    type C;
    /// In C's form.
    fn c(self) -> Self::C;
}

macro_rules! arguments {
    ($($rust:ty => $c:ty, $convert:expr;)*) => {
        $(impl Argument for $rust {
            type C = $c;
            fn c(self) -> $c {
                let convert: fn($rust) -> $c = $convert;
                convert(self)
            }
        })*
    };
}

arguments! {
    u32 => c_uint, |number| number;
    u64 => c_ulonglong, |number| number;
    Device => sys::nvmlDevice_t, |device| device.0;
    EventSet => sys::nvmlEventSet_t, |set| set.0;
    &CStr => *const c_char, CStr::as_ptr;
}

/// Plain C data.
///
/// # Safety
/// All bytes zero, and whatever a C function writes, must be valid values.
pub(crate) unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($type:ty)*) => {
        // SAFETY: integers, raw pointers, and C structures and unions of nothing else.
        $(unsafe impl Plain for $type {})*
    };
}

plain! {
    u32 i32 u64
    sys::nvmlDevice_t sys::nvmlEventSet_t sys::nvmlGpuInstance_t
    sys::nvmlMemory_t sys::nvmlMemory_v2_t sys::nvmlBAR1Memory_t
    sys::nvmlPciInfo_t sys::nvmlPciInfoExt_v1_t
    sys::nvmlUtilization_t sys::nvmlViolationTime_t
    sys::nvmlRowRemapperHistogramValues_t sys::nvmlRepairStatus_v1_t sys::nvmlEccSramErrorStatus_v1_t
    sys::nvmlTemperature_v1_t sys::nvmlMarginTemperature_v1_t
    sys::nvmlGpuFabricInfo_t sys::nvmlGpuFabricInfo_v3_t sys::nvmlPlatformInfo_v2_t
    sys::nvmlC2cModeInfo_v1_t sys::nvmlDeviceAddressingMode_v1_t sys::nvmlGpmSupport_t
    sys::nvmlSystemDriverBranchInfo_v1_t sys::nvmlConfComputeSystemState_t
    sys::nvmlGpuInstanceProfileInfo_t sys::nvmlGpuInstanceProfileInfo_v2_t sys::nvmlGpuInstancePlacement_t
    sys::nvmlDeviceAttributes_t sys::nvmlProcessInfo_t sys::nvmlEventData_t sys::nvmlFieldValue_t
    sys::nvmlExcludedDeviceInfo_t
}

/// A value whose bytes are all zero.
pub(crate) fn zeroed<T: Plain>() -> T {
    // SAFETY: what `Plain` promises.
    unsafe { std::mem::zeroed() }
}

/// A value with slack behind it.
#[repr(C)]
struct Padded<T> {
    value: T,
    slack: [u8; SLACK],
}

impl<T> Padded<T> {
    fn new(value: T) -> Self {
        Self { value, slack: [0; SLACK] }
    }

    /// Where it begins, with leave to write the slack too.
    fn start<U>(&mut self) -> *mut U {
        (&raw mut *self).cast()
    }
}

/// What `A` is in C.
type C<A> = <A as Argument>::C;
/// A function of the library, if it has it.
type Function<F, E> = Result<F, E>;

/// Calls a function of the library, or leaves with [`Got::NoSymbol`].
macro_rules! call {
    ($function:expr $(, $argument:expr)*) => {
        match $function {
            Err(_) => return Got::NoSymbol,
            // SAFETY: the function comes from `NvmlLib`, which has its type from NVIDIA's header. Pointers lead
            // to memory of this call that is larger than the function is told, handles were given out by the
            // library (which refuses those of an ended session, and NULL), texts end with a NUL.
            Ok(function) => unsafe { function($($argument),*) },
        }
    };
}

/// `f()`
pub(crate) fn call0<E>(function: &Function<unsafe extern "C" fn() -> nvmlReturn_t, E>) -> Got<()> {
    Got::Code(call!(function), ())
}

/// `f(a)`
pub(crate) fn call1<A: Argument, E>(
    function: &Function<unsafe extern "C" fn(C<A>) -> nvmlReturn_t, E>,
    a: A,
) -> Got<()> {
    Got::Code(call!(function, a.c()), ())
}

/// `f(a, b, c)`
pub(crate) fn call3<A: Argument, B: Argument, D: Argument, E>(
    function: &Function<unsafe extern "C" fn(C<A>, C<B>, C<D>) -> nvmlReturn_t, E>,
    (a, b, c): (A, B, D),
) -> Got<()> {
    Got::Code(call!(function, a.c(), b.c(), c.c()), ())
}

/// `f(&out)`
pub(crate) fn get<T: Plain, E>(
    function: &Function<unsafe extern "C" fn(*mut T) -> nvmlReturn_t, E>,
    initial: T,
) -> Got<T> {
    let mut out = Padded::new(initial);
    Got::Code(call!(function, out.start()), out.value)
}

/// `f(a, &out)`
pub(crate) fn get1<A: Argument, T: Plain, E>(
    function: &Function<unsafe extern "C" fn(C<A>, *mut T) -> nvmlReturn_t, E>,
    a: A,
    initial: T,
) -> Got<T> {
    let mut out = Padded::new(initial);
    Got::Code(call!(function, a.c(), out.start()), out.value)
}

/// `f(a, b, &out)`
pub(crate) fn get2<A: Argument, B: Argument, T: Plain, E>(
    function: &Function<unsafe extern "C" fn(C<A>, C<B>, *mut T) -> nvmlReturn_t, E>,
    (a, b): (A, B),
    initial: T,
) -> Got<T> {
    let mut out = Padded::new(initial);
    Got::Code(call!(function, a.c(), b.c(), out.start()), out.value)
}

/// `f(a, b, c, &out)`
pub(crate) fn get3<A: Argument, B: Argument, D: Argument, T: Plain, E>(
    function: &Function<unsafe extern "C" fn(C<A>, C<B>, C<D>, *mut T) -> nvmlReturn_t, E>,
    (a, b, c): (A, B, D),
    initial: T,
) -> Got<T> {
    let mut out = Padded::new(initial);
    Got::Code(call!(function, a.c(), b.c(), c.c(), out.start()), out.value)
}

/// `f(a, b, c, d, &out)`
#[expect(clippy::type_complexity, reason = "the shape is the type")]
pub(crate) fn get4<A: Argument, B: Argument, D: Argument, F: Argument, T: Plain, E>(
    function: &Function<unsafe extern "C" fn(C<A>, C<B>, C<D>, C<F>, *mut T) -> nvmlReturn_t, E>,
    (a, b, c, d): (A, B, D, F),
    initial: T,
) -> Got<T> {
    let mut out = Padded::new(initial);
    Got::Code(call!(function, a.c(), b.c(), c.c(), d.c(), out.start()), out.value)
}

/// `f(&out, b)`
pub(crate) fn get_then<B: Argument, T: Plain, E>(
    function: &Function<unsafe extern "C" fn(*mut T, C<B>) -> nvmlReturn_t, E>,
    initial: T,
    b: B,
) -> Got<T> {
    let mut out = Padded::new(initial);
    Got::Code(call!(function, out.start(), b.c()), out.value)
}

/// `f(a, &out, b)`
pub(crate) fn get1_then<A: Argument, B: Argument, T: Plain, E>(
    function: &Function<unsafe extern "C" fn(C<A>, *mut T, C<B>) -> nvmlReturn_t, E>,
    a: A,
    initial: T,
    b: B,
) -> Got<T> {
    let mut out = Padded::new(initial);
    Got::Code(call!(function, a.c(), out.start(), b.c()), out.value)
}

/// `f(a, &out, &out)`
pub(crate) fn two<A: Argument, T: Plain, U: Plain, E>(
    function: &Function<unsafe extern "C" fn(C<A>, *mut T, *mut U) -> nvmlReturn_t, E>,
    a: A,
) -> Got<(T, U)> {
    let (mut first, mut second) = (Padded::new(zeroed()), Padded::new(zeroed()));
    let code = call!(function, a.c(), first.start(), second.start());
    Got::Code(code, (first.value, second.value))
}

/// `f(a, &out, &out, &out, &out)`
pub(crate) fn four<A: Argument, E>(
    function: &Function<
        unsafe extern "C" fn(C<A>, *mut u32, *mut u32, *mut u32, *mut u32) -> nvmlReturn_t,
        E,
    >,
    a: A,
) -> Got<[u32; 4]> {
    let mut out = [(); 4].map(|()| Padded::new(0));
    let [first, second, third, fourth] = &mut out;
    let code = call!(function, a.c(), first.start(), second.start(), third.start(), fourth.start());
    Got::Code(code, out.map(|out| out.value))
}

/// `f(text, length)`
pub(crate) fn text<E>(
    function: &Function<unsafe extern "C" fn(*mut c_char, c_uint) -> nvmlReturn_t, E>,
    length: u32,
) -> Got<String> {
    let mut out = Padded::new([0; TEXT]);
    Got::Code(call!(function, out.start(), length), until_nul(&out.value))
}

/// `f(a, text, length)`
pub(crate) fn text1<A: Argument, E>(
    function: &Function<unsafe extern "C" fn(C<A>, *mut c_char, c_uint) -> nvmlReturn_t, E>,
    a: A,
    length: u32,
) -> Got<String> {
    let mut out = Padded::new([0; TEXT]);
    Got::Code(call!(function, a.c(), out.start(), length), until_nul(&out.value))
}

/// `f(a, b, text, length)`
pub(crate) fn text2<A: Argument, B: Argument, E>(
    function: &Function<unsafe extern "C" fn(C<A>, C<B>, *mut c_char, c_uint) -> nvmlReturn_t, E>,
    (a, b): (A, B),
    length: u32,
) -> Got<String> {
    let mut out = Padded::new([0; TEXT]);
    Got::Code(call!(function, a.c(), b.c(), out.start(), length), until_nul(&out.value))
}

/// `f(a, text)`, which writes as much as its documentation says.
pub(crate) fn unbounded_text<A: Argument, E>(
    function: &Function<unsafe extern "C" fn(C<A>, *mut c_char) -> nvmlReturn_t, E>,
    a: A,
) -> Got<String> {
    let mut out = Padded::new([0; TEXT]);
    Got::Code(call!(function, a.c(), out.start()), until_nul(&out.value))
}

/// A list and the number of elements that NVML says there are.
pub(crate) type List<T> = (u32, Vec<T>);

fn list<T: Plain>(count: u32, items: &[T]) -> List<T> {
    let written = usize::try_from(count).unwrap_or(usize::MAX).min(items.len());
    (count, items[..written].to_vec())
}

/// `f(a, &count, items)`
pub(crate) fn list1<A: Argument, T: Plain, E>(
    function: &Function<unsafe extern "C" fn(C<A>, *mut c_uint, *mut T) -> nvmlReturn_t, E>,
    a: A,
    room: u32,
) -> Got<List<T>> {
    let (mut count, mut items) = (Padded::new(room), vec![zeroed(); LIST]);
    let code = call!(function, a.c(), count.start(), items.as_mut_ptr());
    Got::Code(code, list(count.value, &items))
}

/// `f(a, b, &count, items)`
pub(crate) fn list2<A: Argument, B: Argument, T: Plain, E>(
    function: &Function<unsafe extern "C" fn(C<A>, C<B>, *mut c_uint, *mut T) -> nvmlReturn_t, E>,
    (a, b): (A, B),
    room: u32,
) -> Got<List<T>> {
    let (mut count, mut items) = (Padded::new(room), vec![zeroed(); LIST]);
    let code = call!(function, a.c(), b.c(), count.start(), items.as_mut_ptr());
    Got::Code(code, list(count.value, &items))
}

/// `f(a, b, items, &count)`
pub(crate) fn list2_counted_last<A: Argument, B: Argument, T: Plain, E>(
    function: &Function<unsafe extern "C" fn(C<A>, C<B>, *mut T, *mut c_uint) -> nvmlReturn_t, E>,
    (a, b): (A, B),
    room: u32,
) -> Got<List<T>> {
    let (mut count, mut items) = (Padded::new(room), vec![zeroed(); LIST]);
    let code = call!(function, a.c(), b.c(), items.as_mut_ptr(), count.start());
    Got::Code(code, list(count.value, &items))
}

/// `f(a, words, set)`: a set as a bit mask in words.
pub(crate) fn bits<A: Argument, E>(
    function: &Function<unsafe extern "C" fn(C<A>, c_uint, *mut c_ulong) -> nvmlReturn_t, E>,
    a: A,
    words: u32,
) -> Got<Vec<u64>> {
    let mut set = vec![0; LIST];
    let code = call!(function, a.c(), words, set.as_mut_ptr());
    Got::Code(code, list(words, &set).1)
}

/// `f(a, words, set, scope)`
pub(crate) fn scoped_bits<A: Argument, E>(
    function: &Function<unsafe extern "C" fn(C<A>, c_uint, *mut c_ulong, c_uint) -> nvmlReturn_t, E>,
    a: A,
    words: u32,
    scope: u32,
) -> Got<Vec<u64>> {
    let mut set = vec![0; LIST];
    let code = call!(function, a.c(), words, set.as_mut_ptr(), scope);
    Got::Code(code, list(words, &set).1)
}

/// `f(a, &device)`
pub(crate) fn device<A: Argument, E>(
    function: &Function<unsafe extern "C" fn(C<A>, *mut sys::nvmlDevice_t) -> nvmlReturn_t, E>,
    a: A,
) -> Got<Device> {
    get1(function, a, std::ptr::null_mut()).map(Device)
}

/// `nvmlEventSetCreate`
pub(crate) fn event_set(library: &Library) -> Got<EventSet> {
    get(&library.functions.nvmlEventSetCreate, std::ptr::null_mut()).map(EventSet)
}

/// What `nvmlDeviceGetFieldValues` says of one field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Field {
    /// The field's own code.
    pub(crate) code: nvmlReturn_t,
    /// `nvmlValueType_t`.
    pub(crate) kind: u32,
    /// The value: a number as its type says.
    pub(crate) value: f64,
    /// The same, exactly, if it is a whole number.
    pub(crate) whole: Option<i128>,
}

/// `nvmlDeviceGetFieldValues` for one field.
pub(crate) fn field(library: &Library, device: Device, id: u32, scope: u32, count: c_int) -> Got<Field> {
    let mut request: sys::nvmlFieldValue_t = zeroed();
    request.fieldId = id;
    request.scopeId = scope;
    let mut out = Padded::new(request);
    let code = call!(&library.functions.nvmlDeviceGetFieldValues, device.c(), count, out.start());
    let answer = out.value;
    // SAFETY: all members of the union are plain numbers of at most eight bytes, all of which are initialised.
    let (double, unsigned, signed, long) =
        unsafe { (answer.value.dVal, answer.value.uiVal, answer.value.siVal, answer.value.sllVal) };
    // SAFETY: as above.
    let (wide, short) = unsafe { (answer.value.ullVal, answer.value.usVal) };
    let whole = match answer.valueType {
        sys::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT => Some(i128::from(unsigned)),
        sys::nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_INT => Some(i128::from(signed)),
        sys::nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_LONG_LONG => Some(i128::from(long)),
        sys::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_SHORT => Some(i128::from(short)),
        sys::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG
        | sys::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG => Some(i128::from(wide)),
        _ => None,
    };
    Got::Code(code, Field { code: answer.nvmlReturn, kind: answer.valueType, value: double, whole })
}

/// `nvmlErrorString`
pub(crate) fn error_string(library: &Library, code: u32) -> Option<String> {
    let function = library.functions.nvmlErrorString.as_ref().ok()?;
    // SAFETY: takes any number.
    let text = unsafe { function(code) };
    if text.is_null() {
        return None;
    }
    // SAFETY: NVML documents a constant text for every number.
    let text = unsafe { CStr::from_ptr(text) };
    Some(text.to_string_lossy().into_owned())
}

/// A fixed field of characters, up to its NUL or its end.
pub(crate) fn until_nul(characters: &[c_char]) -> String {
    let bytes: Vec<u8> =
        characters.iter().map(|character| character.to_ne_bytes()[0]).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The number that a versioned structure carries: its size, and the version in the top byte.
pub(crate) fn version_of<T>(version: u32) -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(u32::MAX) | (version << 24)
}
