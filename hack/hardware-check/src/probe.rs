//! The process that asks: it takes the steps in order and tells each one before and after.
//!
//! A driver that hangs or crashes takes this process with it and nothing else: the parent (see [`crate::watch`])
//! notes what was being asked, and starts another one behind that place.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::answer::{Asked, Entry, NO_SYMBOL, Section};
use crate::files::Look;
use crate::raw::{self, Device, Got, Library};
use crate::steps::{self, Gpu, Step, System, links, system};

/// A place in the probe. Sections are numbered: before nvmlInit, nvmlInit, node, one for each GPU, and the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Number of the section.
    pub(crate) section: u32,
    /// Number of the step in it.
    pub(crate) step: u32,
}

impl Place {
    /// nvmlInit.
    pub(crate) const INIT: Self = Self { section: 1, step: 0 };
    const SYSTEM: u32 = 2;
    const FIRST_GPU: u32 = 3;
    const END: u32 = u32::MAX;

    fn new(section: u32, step: u32) -> Self {
        Self { section, step }
    }

    /// The step behind this one.
    pub(crate) fn next(self) -> Self {
        Self { step: self.step + 1, ..self }
    }

    /// The beginning of the section behind this one.
    pub(crate) fn next_section(self) -> Self {
        Self { section: self.section.saturating_add(1), step: 0 }
    }
}

/// What the asking process tells, one line of JSON each.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Message {
    /// The library cannot be loaded.
    CannotLoad(String),
    /// A call begins.
    Asking {
        /// Which step it is.
        place: Place,
        /// What the answer will be filed under.
        entry: Entry,
        /// A call that was answered before, needed again to go on from the middle.
        again: bool,
    },
    /// The call has returned.
    Answered(Entry),
    /// The call has returned; it was needed to go on.
    Ready,
    /// All steps are taken.
    Done,
}

/// How often a quick call is made to take its time.
const REPEATS: usize = 5;
/// A call that takes longer is not repeated.
const QUICK: Duration = Duration::from_millis(100);

/// Takes the steps from a place on. Ends early if nobody listens any more.
pub(crate) fn run(library: &Path, from: Place) -> io::Result<()> {
    let mut teller = Teller { out: io::stdout().lock(), from };
    let library = match Library::load(library) {
        Ok(library) => library,
        Err(reason) => return teller.tell(&Message::CannotLoad(reason)),
    };
    let system = System { library };
    teller.section(0, Section::BeforeInit, None, &system, &system::before())?;
    let init = system::init();
    let initialised =
        teller.prepare(Place::INIT, Section::System, None, &init.call, || (init.ask)(&system))?;
    if initialised.code == Some(0) {
        teller.section(Place::SYSTEM, Section::System, None, &system, &system::steps())?;
        teller.gpus(library)?;
    }
    // Also behind an nvmlInit that failed.
    teller.section(Place::END, Section::AfterShutdown, None, &system, &system::after())?;
    teller.tell(&Message::Done)
}

/// Looks at files, from a place on. Ends early if nobody listens any more.
pub(crate) fn run_files(looks: &[Look], from: Place) -> io::Result<()> {
    let mut teller = Teller { out: io::stdout().lock(), from };
    for (step, look) in (0..).zip(looks) {
        let place = Place::new(0, step);
        if place >= from {
            teller.tell(&Message::Asking { place, entry: look.entry(), again: false })?;
            teller.tell(&Message::Answered(look.look()))?;
        }
    }
    teller.tell(&Message::Done)
}

struct Teller {
    out: io::StdoutLock<'static>,
    from: Place,
}

impl Teller {
    fn tell(&mut self, message: &Message) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, message)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }

    fn gpus(&mut self, library: &'static Library) -> io::Result<()> {
        let Got::Code(0, count) = raw::get(&library.functions.nvmlDeviceGetCount_v2, 0) else {
            return Ok(());
        };
        let steps = steps::of_gpu();
        for index in 0..count {
            let section = Place::FIRST_GPU + index;
            if self.from.section > section {
                continue;
            }
            let mut device = Device::NULL;
            let call = "nvmlDeviceGetHandleByIndex_v2";
            let found = self.prepare(Place::new(section, 0), Section::Gpu, Some(index), call, || {
                let got = raw::device(&library.functions.nvmlDeviceGetHandleByIndex_v2, index);
                Asked::on_success(got, |found| {
                    device = found;
                    Vec::new()
                })
            })?;
            if found.code != Some(0) {
                continue;
            }
            let gpu = Gpu { library, device, index };
            let pairs: Vec<Step<Gpu>> = (gpu.index + 1..count).flat_map(links::pair).collect();
            let places = (1..).map(|step| Place::new(section, step));
            for (place, step) in places.zip(steps.iter().chain(&pairs)) {
                self.take(place, Section::Gpu, Some(index), &gpu, step)?;
            }
        }
        Ok(())
    }

    fn section<On>(
        &mut self,
        number: u32,
        section: Section,
        gpu: Option<u32>,
        on: &On,
        steps: &[Step<On>],
    ) -> io::Result<()> {
        let places = (0..).map(|step| Place::new(number, step));
        places.zip(steps).try_for_each(|(place, step)| self.take(place, section, gpu, on, step))
    }

    /// Takes a step, unless it lies before the place where this process begins.
    fn take<On>(
        &mut self,
        place: Place,
        section: Section,
        gpu: Option<u32>,
        on: &On,
        step: &Step<On>,
    ) -> io::Result<()> {
        if place < self.from {
            return Ok(());
        }
        let entry = Entry::new(section, gpu, step.call.as_str());
        self.tell(&Message::Asking { place, entry: entry.clone(), again: false })?;
        let (asked, first) = timed(|| (step.ask)(on));
        let mut times = vec![first];
        while step.repeatable && first < QUICK && times.len() < REPEATS {
            times.push(timed(|| (step.ask)(on)).1);
        }
        self.answered(entry, asked, times)
    }

    /// Makes a call that what follows depends on. It is made wherever this process begins, but told only once.
    fn prepare(
        &mut self,
        place: Place,
        section: Section,
        gpu: Option<u32>,
        call: &str,
        ask: impl FnOnce() -> Asked,
    ) -> io::Result<Asked> {
        let entry = Entry::new(section, gpu, call);
        let again = place < self.from;
        self.tell(&Message::Asking { place, entry: entry.clone(), again })?;
        let (asked, time) = timed(ask);
        if again {
            self.tell(&Message::Ready)?;
        } else {
            self.answered(entry, asked.clone(), vec![time])?;
        }
        Ok(asked)
    }

    fn answered(&mut self, mut entry: Entry, asked: Asked, mut times: Vec<Duration>) -> io::Result<()> {
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        entry.us = u64::try_from(median.as_micros()).ok();
        entry.code = asked.code;
        if asked.code.is_none() {
            entry.none = Some(NO_SYMBOL.to_owned());
        }
        self.tell(&Message::Answered(entry.with(asked.fields)))
    }
}

fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let result = what();
    (result, begin.elapsed())
}
