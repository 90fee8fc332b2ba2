//! Watches over the asking process, so that a driver that hangs or crashes costs one answer and not the tool.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::answer::{Entry, Section};
use crate::files::Roots;
use crate::probe::{Message, Place};

/// A GPU that leaves this many calls unanswered is not asked further.
const MOST_SILENCES: u32 = 3;
/// How long a killed process has to end. One that hangs in the kernel does not, and is left behind.
const END: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// One call.
    pub(crate) call: Duration,
    /// nvmlInit, which wakes all GPUs up.
    pub(crate) init: Duration,
    /// When all must be over.
    pub(crate) deadline: Instant,
}

/// What an asking process asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'a> {
    /// A library.
    Library(&'a Path),
    /// The library's file and the kernel, for the GPUs with these indices and addresses.
    Files(&'a Path, &'a Roots, &'a [(u32, String)]),
}

impl Subject<'_> {
    /// The arguments that make this program ask it.
    fn arguments(self) -> Vec<OsString> {
        match self {
            Self::Library(library) => vec!["probe".into(), "--library".into(), library.into()],
            Self::Files(library, roots, gpus) => {
                let mut arguments: Vec<OsString> =
                    vec!["probe-files".into(), "--library".into(), library.into()];
                arguments.extend(["--procfs".into(), roots.proc.clone().into()]);
                arguments.extend(["--sysfs".into(), roots.sys.clone().into()]);
                for (gpu, address) in gpus {
                    arguments.extend(["--gpu".into(), format!("{gpu}={address}").into()]);
                }
                arguments
            }
        }
    }

    fn is_init(self, place: Place) -> bool {
        matches!(self, Self::Library(_)) && place == Place::INIT
    }
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Library(library) | Self::Files(library, ..) => library.display().fmt(formatter),
        }
    }
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Probed {
    /// The answers in order.
    pub(crate) entries: Vec<Entry>,
    /// Why there are not more of them.
    pub(crate) incomplete: Option<String>,
}

/// Asks everything.
///
/// # Errors
/// The library cannot be loaded, or this program cannot start itself again.
pub(crate) fn probe(subject: Subject<'_>, limits: Limits) -> Result<Probed> {
    let mut probed = Probed { entries: Vec::new(), incomplete: None };
    let mut silences: BTreeMap<Option<u32>, u32> = BTreeMap::new();
    let mut from = Place::default();
    loop {
        match ask(subject, from, limits, &mut probed.entries)? {
            Stop::Done => return Ok(probed),
            Stop::TimeLimit { during } => {
                probed.incomplete = Some(format!("the time limit was reached at {during}"));
                return Ok(probed);
            }
            Stop::Silence(Silence { place, mut entry, again, reason }) => {
                let call = entry.call.clone();
                let on = entry.gpu.map_or_else(String::new, |gpu| format!(" (GPU {gpu})"));
                eprintln!("hardware-check: {call}{on}: {reason}");
                if !again {
                    entry.none = Some(reason.clone());
                    probed.entries.push(entry.clone());
                }
                let count = silences.entry(entry.gpu).or_default();
                *count += 1;
                if entry.section == Section::AfterShutdown || subject.is_init(place) {
                    probed.incomplete = Some(format!("{call}: {reason}"));
                    return Ok(probed);
                }
                let tired = again || *count >= MOST_SILENCES;
                if tired {
                    let what = entry.gpu.map_or_else(|| "the node".to_owned(), |gpu| format!("GPU {gpu}"));
                    probed.incomplete = Some(format!("{what} was asked no further after {call}"));
                }
                from = if tired { place.next_section() } else { place.next() };
            }
        }
    }
}

/// Why an asking process is at its end.
enum Stop {
    Done,
    TimeLimit { during: String },
    Silence(Silence),
}

/// A call that did not return.
struct Silence {
    place: Place,
    entry: Entry,
    again: bool,
    reason: String,
}

fn ask(subject: Subject<'_>, from: Place, limits: Limits, entries: &mut Vec<Entry>) -> Result<Stop> {
    let mut process = Asking::start(subject, from)?;
    let mut current: Option<(Place, Entry, bool)> = None;
    let mut loading = Instant::now() + limits.init;
    loop {
        let within = match &current {
            Some((place, ..)) if subject.is_init(*place) => Instant::now() + limits.init,
            Some(_) => Instant::now() + limits.call,
            None => loading,
        };
        match process.next(within.min(limits.deadline)) {
            Next::Message(Message::Asking { place, entry, again }) => current = Some((place, entry, again)),
            Next::Message(Message::Answered(entry)) => {
                entries.push(entry);
                current = None;
                loading = Instant::now() + limits.call;
            }
            Next::Message(Message::Ready) => {
                current = None;
                loading = Instant::now() + limits.call;
            }
            Next::Message(Message::Done) => return Ok(Stop::Done),
            Next::Message(Message::CannotLoad(reason)) => {
                bail!("cannot load {subject}: {reason}")
            }
            Next::Silent if Instant::now() >= limits.deadline => {
                process.end();
                let during = current.map_or_else(|| "the start".to_owned(), |(_, entry, _)| entry.call);
                return Ok(Stop::TimeLimit { during });
            }
            Next::Silent => {
                let left = process.end();
                let Some((place, entry, again)) = current else {
                    bail!("loading {subject} does not end");
                };
                let limit = if subject.is_init(place) { limits.init } else { limits.call };
                let left = left.map_or_else(String::new, |pid| {
                    format!("; process {pid} hangs in the kernel and was left behind")
                });
                let reason = format!("no answer within {} s{left}", limit.as_secs_f64());
                return Ok(Stop::Silence(Silence { place, entry, again, reason }));
            }
            Next::Ended(status) => {
                let Some((place, entry, again)) = current else {
                    bail!("{subject} ended the process that loaded it ({status})");
                };
                let reason = match status.signal() {
                    Some(signal) => format!("the library ended the process with signal {signal}"),
                    None => format!("the library ended the process ({status})"),
                };
                return Ok(Stop::Silence(Silence { place, entry, again, reason }));
            }
        }
    }
}

/// A process that asks.
struct Asking {
    child: Child,
    messages: Receiver<Message>,
}

enum Next {
    Message(Message),
    Silent,
    Ended(ExitStatus),
}

impl Asking {
    fn start(subject: Subject<'_>, from: Place) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut child = Command::new(&program)
            .args(subject.arguments())
            .args(["--section", &from.section.to_string(), "--step", &from.step.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let (sender, messages) = mpsc::channel();
        let stdout = child.stdout.take().context("the asking process has no output")?;
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // A line that is none of ours was printed by the library.
                if let Ok(message) = serde_json::from_str(&line)
                    && sender.send(message).is_err()
                {
                    break;
                }
            }
        });
        Ok(Self { child, messages })
    }

    fn next(&mut self, until: Instant) -> Next {
        match self.messages.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(message) => Next::Message(message),
            Err(RecvTimeoutError::Timeout) => Next::Silent,
            // Its output is closed: it is ending. If it does not, it is silent.
            Err(RecvTimeoutError::Disconnected) => self.ended().map_or(Next::Silent, Next::Ended),
        }
    }

    /// Waits a moment for the process to end.
    fn ended(&mut self) -> Option<ExitStatus> {
        let begin = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if begin.elapsed() < END => std::thread::sleep(LOOK),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// Kills the process. Answers its id if it does not end even so.
    fn end(&mut self) -> Option<u32> {
        // It may have ended by itself.
        let _ = self.child.kill();
        if self.ended().is_some() { None } else { Some(self.child.id()) }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.end();
    }
}
