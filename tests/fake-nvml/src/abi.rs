//! The C side of NVML: pointers that callers hand in, handles, return codes.

#![expect(unsafe_code, reason = "reads and writes the memory that C callers hand in")]

use std::ffi::{CStr, c_char, c_uint};

pub(crate) use nvml_wrapper_sys::bindings as sys;

/// What every NVML function answers.
pub(crate) type Answer = Result<(), Failure>;

/// An NVML return code other than success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) sys::nvmlReturn_t);

impl Failure {
    pub(crate) const UNINITIALIZED: Self = Self(sys::nvmlReturn_enum_NVML_ERROR_UNINITIALIZED);
    pub(crate) const INVALID_ARGUMENT: Self = Self(sys::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    pub(crate) const NOT_SUPPORTED: Self = Self(sys::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED);
    pub(crate) const NO_PERMISSION: Self = Self(sys::nvmlReturn_enum_NVML_ERROR_NO_PERMISSION);
    pub(crate) const NOT_FOUND: Self = Self(sys::nvmlReturn_enum_NVML_ERROR_NOT_FOUND);
    pub(crate) const INSUFFICIENT_SIZE: Self = Self(sys::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE);
    pub(crate) const DRIVER_NOT_LOADED: Self = Self(sys::nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED);
    pub(crate) const TIMEOUT: Self = Self(sys::nvmlReturn_enum_NVML_ERROR_TIMEOUT);
    pub(crate) const FUNCTION_NOT_FOUND: Self = Self(sys::nvmlReturn_enum_NVML_ERROR_FUNCTION_NOT_FOUND);
    pub(crate) const GPU_IS_LOST: Self = Self(sys::nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST);
    pub(crate) const VERSION_MISMATCH: Self = Self(sys::nvmlReturn_enum_NVML_ERROR_LIB_RM_VERSION_MISMATCH);
    pub(crate) const ARGUMENT_VERSION: Self = Self(sys::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    pub(crate) const UNKNOWN: Self = Self(sys::nvmlReturn_enum_NVML_ERROR_UNKNOWN);
}

/// A device handle: numbers, never an address. See [`crate::session`] for what they say.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle(pub(crate) usize);

impl Handle {
    /// As a field of NVML's structs.
    pub(crate) fn as_pointer(self) -> sys::nvmlDevice_t {
        std::ptr::without_provenance_mut(self.0)
    }
}

/// An event set's handle: its number.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SetHandle(pub(crate) usize);

/// Memory of the caller that an answer goes to, or that holds a versioned struct to be filled.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Out<T>(*mut T);

impl<T> Clone for Out<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Out<T> {}

impl<T: Copy> Out<T> {
    /// Whether the caller passed NULL.
    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// Writes the answer. NULL is an invalid argument, as in the real library.
    pub(crate) fn set(self, value: T) -> Answer {
        self.set_at(0, value)
    }

    /// Writes one element of an array that the caller says is long enough.
    pub(crate) fn set_at(self, index: usize, value: T) -> Answer {
        if self.0.is_null() {
            return Err(Failure::INVALID_ARGUMENT);
        }
        // SAFETY: NVML's contract: the pointer leads to memory for a T (or an array of the announced length)
        // that nothing else uses during the call. Unaligned, because callers pack.
        unsafe { self.0.add(index).write_unaligned(value) };
        Ok(())
    }

    /// Reads what the caller put there.
    pub(crate) fn get(self) -> Result<T, Failure> {
        self.get_at(0)
    }

    /// Reads one element of an array that the caller says is long enough.
    pub(crate) fn get_at(self, index: usize) -> Result<T, Failure> {
        if self.0.is_null() {
            return Err(Failure::INVALID_ARGUMENT);
        }
        // SAFETY: as in `set_at`; the T of all callers are plain C data.
        Ok(unsafe { self.0.add(index).read_unaligned() })
    }

    /// Reads a versioned struct. Its first field is checked alone: a caller of another version may have handed in
    /// less memory than this version takes.
    pub(crate) fn versioned(self, version: u32) -> Result<T, Failure> {
        if self.version()? != struct_version::<T>(version) {
            return Err(Failure::ARGUMENT_VERSION);
        }
        self.get()
    }

    /// The version number in the first field of a versioned struct.
    pub(crate) fn version(self) -> Result<c_uint, Failure> {
        self.seen_as::<c_uint>().get()
    }

    /// The same memory, seen as another type: for structs whose size depends on their version field.
    pub(crate) fn seen_as<U>(self) -> Out<U> {
        Out(self.0.cast())
    }
}

impl Out<c_char> {
    /// Writes a C string into a buffer of `length` bytes.
    pub(crate) fn text(self, length: c_uint, text: impl AsRef<[u8]>) -> Answer {
        let text = text.as_ref();
        if self.0.is_null() {
            return Err(Failure::INVALID_ARGUMENT);
        }
        if usize::try_from(length).is_ok_and(|length| length <= text.len()) {
            return Err(Failure::INSUFFICIENT_SIZE);
        }
        for (index, byte) in text.iter().chain(&[0]).enumerate() {
            self.set_at(index, c_char::from_ne_bytes([*byte]))?;
        }
        Ok(())
    }
}

/// A list in NVML's manner: the caller says how much room there is and learns how much is needed.
pub(crate) fn fill<T: Copy>(count: Out<c_uint>, items: Out<T>, values: &[T]) -> Answer {
    let room = usize::try_from(count.get()?).unwrap_or(usize::MAX);
    count.set(c_uint::try_from(values.len()).unwrap_or(c_uint::MAX))?;
    if room < values.len() {
        return Err(Failure::INSUFFICIENT_SIZE);
    }
    values.iter().enumerate().try_for_each(|(index, value)| items.set_at(index, *value))
}

/// A C string that the caller hands in.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text(*const c_char);

impl Text {
    /// As UTF-8.
    pub(crate) fn read(self) -> Result<String, Failure> {
        if self.0.is_null() {
            return Err(Failure::INVALID_ARGUMENT);
        }
        // SAFETY: NVML's contract: a C string that stays during the call.
        let text = unsafe { CStr::from_ptr(self.0) };
        text.to_str().map(str::to_owned).map_err(|_| Failure::INVALID_ARGUMENT)
    }
}

/// A fixed field of characters, padded with zeros.
pub(crate) fn characters<const N: usize>(text: &str) -> [c_char; N] {
    let mut field = [0; N];
    for (place, byte) in field.iter_mut().take(N - 1).zip(text.bytes()) {
        *place = c_char::from_ne_bytes([byte]);
    }
    field
}

/// The version number that a versioned struct must carry: its size and the version in the top byte.
pub(crate) const fn struct_version<T>(version: u32) -> c_uint {
    #[expect(clippy::cast_possible_truncation, reason = "no NVML struct has 2^24 bytes")]
    let size = size_of::<T>() as c_uint;
    size | (version << 24)
}

/// The UUID in a versioned struct: text, or 16 bytes.
pub(crate) fn uuid_of(uuid: &sys::nvmlUUID_v1_t) -> Result<String, Failure> {
    // SAFETY: every bit pattern is a valid value of both members, and NVML's callers fill all of it.
    let (text, bytes) = unsafe { (uuid.value.str_, uuid.value.bytes) };
    match uuid.type_ {
        sys::nvmlUUIDType_t_NVML_UUID_TYPE_ASCII => {
            let bytes: Vec<u8> = text
                .iter()
                .map(|character| character.to_ne_bytes()[0])
                .take_while(|byte| *byte != 0)
                .collect();
            String::from_utf8(bytes).map_err(|_| Failure::INVALID_ARGUMENT)
        }
        sys::nvmlUUIDType_t_NVML_UUID_TYPE_BINARY => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
            Ok(format!("GPU-{}", parts.join("-")))
        }
        _ => Err(Failure::INVALID_ARGUMENT),
    }
}
