//! What the test programs share: nodes in temporary folders, raw calls, processes that play a part, and guards
//! against hanging.

#![allow(dead_code, unused_macros, reason = "each test program uses a part of this")]

use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use fake_node::calls::Call;
use fake_node::description::Description;
use fake_node::node::{CreateOptions, Node};
use nvml_wrapper_sys::bindings::NvmlLib;
use tempfile::TempDir;

/// No step of a test takes longer unless it hangs.
pub(crate) const HANGING: Duration = Duration::from_secs(60);

/// A node in a folder that goes with it.
pub(crate) struct TestNode {
    node: Node,
    folder: TempDir,
}

impl TestNode {
    /// One of the built-in descriptions.
    pub(crate) fn new(description: &str) -> Self {
        Self::create(&Description::builtin(description).unwrap())
    }

    /// The same with another driver.
    pub(crate) fn with_driver(description: &str, version: &str) -> Self {
        Self::create(&Description::builtin(description).unwrap().with_driver_version(version).unwrap())
    }

    pub(crate) fn create(description: &Description) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Some tests look at the node as another user.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let node = Node::create(description, &folder.path().join("node"), &CreateOptions::default()).unwrap();
        Self { node, folder }
    }

    /// A file in the folder around the node.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The device node of a GPU, by minor number, or another file in /dev.
    pub(crate) fn dev(&self, name: &str) -> PathBuf {
        self.driver_root().join("dev").join(name)
    }

    /// The library, loaded without nvmlInit.
    pub(crate) fn raw(&self) -> NvmlLib {
        load(&self.library())
    }

    /// Waits until the call log holds a call, and gives it.
    pub(crate) fn wait_for_call(&self, what: &str, wanted: impl Fn(&Call) -> bool) -> Call {
        let mut found = None;
        until(what, || {
            found = self.calls().into_iter().find(|call| wanted(call));
            found.is_some()
        });
        found.unwrap()
    }
}

impl Deref for TestNode {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl DerefMut for TestNode {
    fn deref_mut(&mut self) -> &mut Node {
        &mut self.node
    }
}

/// Loads a library without calling it.
pub(crate) fn load(path: &Path) -> NvmlLib {
    // SAFETY: the fake library has no initialisation routines.
    unsafe { NvmlLib::new(path) }.unwrap()
}

/// Calls a function of a loaded library: `nvml!(library, nvmlInit_v2())` is its return code.
macro_rules! nvml {
    ($library:expr, $name:ident($($argument:expr),* $(,)?)) => {{
        let function = $library.$name.as_ref().unwrap();
        // SAFETY: the arguments are those of nvml.h; pointers lead to values that outlive the call, or are NULL,
        // which the library has to withstand.
        unsafe { function($($argument),*) }
    }};
}

/// The name of the test function around it, as the test harness knows it.
macro_rules! this_test {
    () => {{
        fn here() {}
        let name = std::any::type_name_of_val(&here).trim_end_matches("::here");
        name.split_once("::").unwrap().1.trim_end_matches("::{{closure}}")
    }};
}

const ROLE: &str = "TEST_ROLE";
const NODE: &str = "TEST_NODE";

/// The part that this process plays, if a test started it with [`play`], and the node's folder.
pub(crate) fn role() -> Option<(String, PathBuf)> {
    Some((std::env::var(ROLE).ok()?, std::env::var_os(NODE)?.into()))
}

/// A command that runs this test program's test `test` in a process of its own, where [`role`] is `role`.
pub(crate) fn play(program: &Path, test: &str, role: &str, node: &Node) -> Command {
    let mut command = Command::new(program);
    command.args([test, "--exact", "--nocapture", "--include-ignored", "--test-threads=1"]);
    command.env(ROLE, role).env(NODE, node.dir()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// This test program.
pub(crate) fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// Starts a command whose output is kept.
pub(crate) fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What became of a process; one that hangs is a failed test.
pub(crate) fn finish(child: Child) -> Output {
    let pid = child.id();
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || send.send(child.wait_with_output()));
    receive.recv_timeout(HANGING).unwrap_or_else(|_| panic!("process {pid} hangs")).unwrap()
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Output {
    finish(start(command))
}

/// What a process that plays a part said after a word, line by line. Its first line begins with the test's name.
pub(crate) fn said<'a>(output: &'a str, word: &str) -> Vec<&'a str> {
    output.lines().filter_map(|line| line.split_once(word).map(|(_, rest)| rest)).collect()
}

/// Looks again and again until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANGING;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether this process is root, whose permissions some tests give up.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
