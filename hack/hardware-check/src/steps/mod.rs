//! The probe: an ordered list of calls, none of which changes anything.

pub(crate) mod arguments;
pub(crate) mod events;
pub(crate) mod fields;
pub(crate) mod gpu;
pub(crate) mod links;
pub(crate) mod mig;
pub(crate) mod shapes;
pub(crate) mod system;

use crate::answer::Asked;
use crate::raw::{Device, Library};

/// What the calls without a GPU are made on.
pub(crate) struct System {
    /// The library.
    pub(crate) library: &'static Library,
}

/// What the calls for a GPU are made on.
pub(crate) struct Gpu {
    /// The library.
    pub(crate) library: &'static Library,
    /// The GPU.
    pub(crate) device: Device,
    /// NVML's index of it.
    pub(crate) index: u32,
}

/// One step of the probe.
pub(crate) struct Step<On> {
    /// The functions that it calls.
    pub(crate) functions: Vec<&'static str>,
    /// How it is recorded: the function, and what is special about its arguments.
    pub(crate) call: String,
    /// Whether it may be repeated to take its time.
    pub(crate) repeatable: bool,
    /// Makes the call.
    pub(crate) ask: Box<dyn Fn(&On) -> Asked>,
}

impl<On> Step<On> {
    /// A step that makes one call, several times over.
    pub(crate) fn new(function: &'static str, label: &str, ask: impl Fn(&On) -> Asked + 'static) -> Self {
        let call = if label.is_empty() { function.to_owned() } else { format!("{function}({label})") };
        Self { functions: vec![function], call, repeatable: true, ask: Box::new(ask) }
    }

    /// A step that is taken once.
    pub(crate) fn once(functions: &[&'static str], call: &str, ask: impl Fn(&On) -> Asked + 'static) -> Self {
        Self { functions: functions.to_vec(), call: call.to_owned(), repeatable: false, ask: Box::new(ask) }
    }
}

/// Steps of one call each: `function("what is special") = shape(its parameters)`. The function's name is written
/// once, so that what is recorded is what was called.
macro_rules! steps {
    ($On:ty; $($function:ident $(($label:expr))? = $shape:path $([$($parameter:expr),*])?;)*) => {
        vec![$(
            crate::steps::Step::<$On>::new(
                stringify!($function),
                concat!($($label)?),
                |on| $shape(&on.library.functions.$function, on $(, $($parameter),*)?),
            )
        ),*]
    };
}
pub(crate) use steps;

/// All steps for one GPU.
pub(crate) fn of_gpu() -> Vec<Step<Gpu>> {
    let mut steps = gpu::identity();
    steps.extend(gpu::memory());
    steps.extend(gpu::power());
    steps.extend(gpu::clocks());
    steps.extend(gpu::modes());
    steps.extend(gpu::other());
    steps.extend(links::steps());
    steps.extend(fields::steps());
    steps.extend(mig::steps());
    steps.extend(events::steps());
    steps.extend(arguments::of_gpu());
    steps
}

/// The names of all functions that the probe can call, sorted.
pub(crate) fn functions() -> Vec<&'static str> {
    let mut names: Vec<&'static str> = vec!["nvmlDeviceGetHandleByIndex_v2", "nvmlInit_v2", "nvmlShutdown"];
    for step in system::before().iter().chain(&system::steps()).chain(&system::after()) {
        names.extend(&step.functions);
    }
    for step in of_gpu().iter().chain(&links::pair(0)) {
        names.extend(&step.functions);
    }
    names.sort_unstable();
    names.dedup();
    names
}
