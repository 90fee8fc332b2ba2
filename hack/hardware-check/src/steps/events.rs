//! What can be said about event sets without breaking a GPU.

use nvml_wrapper_sys::bindings as sys;

use super::{Gpu, Step};
use crate::answer::{Asked, code_value, fact};
use crate::raw::{self, EventSet, Got, zeroed};

/// How long a set without events is waited for, in milliseconds.
const WAIT_MS: u32 = 100;
/// XID events: the only ones that a healthy GPU, busy or not, does not raise.
const XID: u64 = 0x8;
/// An event type that nobody knows.
const NO_TYPE: u64 = 1 << 40;

/// The step: everything about one set, from its creation to its end.
pub(crate) fn steps() -> Vec<Step<Gpu>> {
    let functions = [
        "nvmlEventSetCreate",
        "nvmlDeviceGetSupportedEventTypes",
        "nvmlDeviceRegisterEvents",
        "nvmlEventSetWait_v2",
        "nvmlEventSetFree",
    ];
    vec![
        Step::once(&functions, "event set: nothing registered", |on: &Gpu| {
            with_set(on, |set| vec![("wait 0 ms", wait(on, set, 0))])
        }),
        Step::once(&functions, "event set: all supported types", |on: &Gpu| {
            let supported = raw::get1(&on.library.functions.nvmlDeviceGetSupportedEventTypes, on.device, 0);
            let Got::Code(0, supported) = supported else {
                return Asked::on_success(supported, |_| Vec::new());
            };
            with_set(on, |set| {
                vec![
                    ("register", register(on, supported, set)),
                    ("register again", register(on, supported, set)),
                ]
            })
        }),
        Step::once(&functions, "event set: XIDs", |on: &Gpu| {
            with_set(on, |set| {
                vec![("register", register(on, XID, set)), ("wait 100 ms", wait(on, set, WAIT_MS))]
            })
        }),
        Step::once(&functions, "event set: bad masks", |on: &Gpu| {
            with_set(on, |set| {
                vec![
                    ("no type", register(on, 0, set)),
                    ("unknown type", register(on, NO_TYPE, set)),
                    ("known and unknown type", register(on, XID | NO_TYPE, set)),
                    ("all bits", register(on, u64::MAX, set)),
                    ("wait 0 ms", wait(on, set, 0)),
                ]
            })
        }),
    ]
}

type Codes = Vec<(&'static str, Option<u32>)>;

/// Makes a set, uses it, and frees it. The entry's code is that of the creation, the codes of the rest are
/// facts.
fn with_set(on: &Gpu, using: impl FnOnce(EventSet) -> Codes) -> Asked {
    let created = raw::event_set(on.library);
    let Got::Code(0, set) = created else {
        return Asked::on_success(created, |_| Vec::new());
    };
    let codes = using(set);
    let freed = raw::call1(&on.library.functions.nvmlEventSetFree, set).code();
    let mut fields: Vec<_> = codes.into_iter().map(|(name, code)| fact(name, code_value(code))).collect();
    fields.push(fact("free", code_value(freed)));
    Asked { code: Some(0), fields }
}

fn register(on: &Gpu, mask: u64, set: EventSet) -> Option<u32> {
    raw::call3(&on.library.functions.nvmlDeviceRegisterEvents, (on.device, mask, set)).code()
}

fn wait(on: &Gpu, set: EventSet, milliseconds: u32) -> Option<u32> {
    let function = &on.library.functions.nvmlEventSetWait_v2;
    let got: Got<sys::nvmlEventData_t> = raw::get1_then(function, set, zeroed(), milliseconds);
    got.code()
}
