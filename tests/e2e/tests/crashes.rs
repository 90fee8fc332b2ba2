//! The plugin is killed at each thing that it does to the world, started again, and what it had begun is brought
//! to its end: nothing is leaked, nothing is given to two, and a repeated call has the same answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use e2e::api::Space;
use e2e::cluster::Cluster;
use e2e::crash::files::{self, FileCall};
use e2e::crash::requests::{Kind, Moment, Proxy};
use e2e::crash::scene::{Died, Program, Scene, Used};
use fake_node::inject::Injection;
use fake_node::model::Effect;
use futures_util::{StreamExt, stream};
use kube::Client;
use serde_json::json;

/// How many lives are lived side by side.
const SIDE_BY_SIDE: usize = 4;

/// A life has two parts, each with a process of its own: the claim is prepared, and it is unprepared. Each is one task
/// in one thread then, and strace counts calls in each thread for itself.
const PARTS: usize = 2;

/// What happens in a life of the plugin.
#[derive(Clone, Debug)]
enum Event {
    /// It lives undisturbed, and its calls on files are recorded in this folder.
    Recorded(PathBuf),
    /// In a part of its life it is killed at a call on a file, whose path has [`PLACEHOLDERS`].
    File(usize, FileCall),
    /// It is killed at a request to the API server.
    Request(Kind, Moment),
    /// It is killed at its first call of a function of NVML.
    Nvml(String, Effect),
}

/// What the paths of one life have in the place of what is another in each: its folder and the claim's UID.
const PLACEHOLDERS: [&str; 2] = ["<folder>", "<uid>"];

fn own(scene: &Scene, used: &Used) -> [String; 2] {
    [scene.folder().to_str().unwrap().to_owned(), used.uid.clone()]
}

/// What was seen in a life.
struct Seen {
    killed: bool,
    files: Vec<(usize, FileCall)>,
    requests: Vec<Kind>,
    functions: BTreeSet<String>,
}

/// The plugin between its start and its end.
struct Life<'a> {
    scene: &'a Scene,
    proxy: &'a Proxy,
    program: Program,
    killed: bool,
    event: &'a Event,
}

impl Life<'_> {
    /// Does a step; a program that dies in it is started again, once.
    async fn step<T>(&mut self, mut step: impl AsyncFnMut(&Scene, &mut Program) -> Result<T, Died>) -> T {
        loop {
            match step(self.scene, &mut self.program).await {
                Ok(done) => return done,
                Err(died) => {
                    let log = self.scene.log();
                    let as_planned = died.killed() && !self.killed;
                    assert!(as_planned, "with {:?} the plugin ended: {:?}\n{log}", self.event, died.0);
                    self.killed = true;
                    self.program = self.scene.start(&[], &self.proxy.kubeconfig());
                }
            }
        }
    }
}

/// A life with one claim that is prepared, prepared again and unprepared.
async fn live(client: Client, space: &Space, claim: &str, event: &Event) -> Seen {
    let scene = Scene::new(client.clone()).await;
    let used = scene.claim(space, claim, 0).await;
    let proxy = Proxy::start(client).await;
    if let Event::Nvml(function, effect) = event {
        let (call, effect) = (function.clone(), *effect);
        let fault = Injection::Fault { call, gpu: None, after: 0, times: Some(1), effect };
        scene.fake.inject(&fault).unwrap();
    }
    let before = |part: usize| match event {
        Event::Recorded(folder) => files::recorder(&folder.join(part.to_string())),
        Event::File(at, call) if *at == part => {
            let own = own(&scene, &used);
            PLACEHOLDERS.iter().zip(&own).fold(call.clone(), |call, (old, new)| call.with(old, new)).killer()
        }
        Event::File(..) | Event::Request(..) | Event::Nvml(..) => Vec::new(),
    };
    let program = scene.start(&before(0), &proxy.kubeconfig());
    if let Event::Request(kind, moment) = event {
        proxy.kill_at(kind.clone(), *moment, program.pid());
    }
    let mut life = Life { scene: &scene, proxy: &proxy, program, killed: false, event };

    life.step(async |scene, program| scene.published(program).await).await;
    let first = life.step(async |scene, program| scene.prepare(program, &used).await).await;
    let device = format!("{}/claim={}-", scene.driver, used.uid);
    assert_eq!(first.iter().filter(|id| id.starts_with(&device)).count(), 1, "{first:?}");
    assert!(record(&scene, &used).exists(), "the prepared claim has no record");
    assert!(spec(&scene, &used).exists(), "the prepared claim has no CDI spec");
    let stop = async |scene: &Scene, program: &mut Program| {
        // One that was started a moment ago does not listen to the signal yet.
        scene.published(program).await?;
        program.stop().await
    };
    life.step(stop).await;
    life.program = scene.start(&before(1), &proxy.kubeconfig());
    life.step(async |scene, program| scene.published(program).await).await;
    let again = life.step(async |scene, program| scene.prepare(program, &used).await).await;
    assert_eq!(first, again, "a repeated call has another answer");
    life.step(async |scene, program| scene.end(program, &used).await).await;
    life.step(stop).await;

    let left = files_below(&scene.state().join("claims"));
    assert!(left.is_empty(), "records are left: {left:?}\n{}", scene.log());
    let specs = files_below(&scene.cdi()).into_iter().filter(|file| file.contains("-claim-"));
    let specs: Vec<String> = specs.collect();
    assert!(specs.is_empty(), "CDI specs are left: {specs:?}\n{}", scene.log());

    let files = match event {
        Event::Recorded(folder) => recorded(folder, &scene, &used),
        _ => Vec::new(),
    };
    let functions = scene.fake.calls().iter().map(|call| call.function.to_owned()).collect();
    let seen = Seen { killed: life.killed, files, requests: proxy.kinds(), functions };
    scene.remove().await;
    seen
}

fn record(scene: &Scene, used: &Used) -> PathBuf {
    scene.state().join(format!("claims/{}.json", used.uid))
}

fn spec(scene: &Scene, used: &Used) -> PathBuf {
    scene.cdi().join(format!("{}-claim-{}.json", scene.driver, used.uid))
}

fn files_below(folder: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The recorded calls of each part, with placeholders in their paths. Starting and ending are those of the first part;
/// of the second, what it does for the claim.
fn recorded(records: &Path, scene: &Scene, used: &Used) -> Vec<(usize, FileCall)> {
    let folders = ["state", "cdi", "plugins", "registry"].map(|part| scene.folder().join(part));
    let folders = folders.each_ref().map(PathBuf::as_path);
    let own = own(scene, used);
    let with =
        |call: FileCall| own.iter().zip(PLACEHOLDERS).fold(call, |call, (old, new)| call.with(old, new));
    let mut calls = Vec::new();
    for part in 0..PARTS {
        let record = fs_err::read_to_string(records.join(part.to_string())).unwrap();
        for call in files::changes(&record, &folders).into_iter().map(with) {
            let of_claim = call.path.to_str().unwrap().contains("<uid>");
            if of_claim || part == 0 {
                calls.push((part, call));
            }
        }
    }
    calls
}

/// Records a life, and then lives one for each of its points, each of which has to be hit.
async fn die_at_each(stem: &str, points: impl FnOnce(Seen) -> Vec<Event>) {
    let client = Cluster::current().client().await;
    let space = Space::create(client.clone(), stem, json!({})).await;
    let folder = tempfile::tempdir().unwrap();
    let event = Event::Recorded(folder.path().to_owned());
    let undisturbed = live(client.clone(), &space, "undisturbed", &event).await;
    assert!(!undisturbed.killed);
    let points = points(undisturbed);
    assert!(!points.is_empty(), "the plugin does nothing that it could be killed at");

    let lives = points.iter().enumerate().map(|(number, event)| {
        let (client, space) = (client.clone(), &space);
        async move { (event, live(client, space, &format!("claim-{number}"), event).await.killed) }
    });
    let lives: Vec<(&Event, bool)> = stream::iter(lives).buffer_unordered(SIDE_BY_SIDE).collect().await;
    let missed: Vec<&Event> = lives.iter().filter(|(_, killed)| !killed).map(|(event, _)| *event).collect();
    assert!(missed.is_empty(), "the plugin was not killed at {missed:#?}");
    println!("{stem}: killed at each of {} points: {points:#?}", points.len());
    space.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_survives_its_death_at_every_change_of_a_file() {
    die_at_each("files", |seen| seen.files.into_iter().map(|(part, call)| Event::File(part, call)).collect())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_survives_its_death_before_and_after_every_kind_of_request() {
    let both =
        |kind: Kind| [Moment::Before, Moment::After].map(|moment| Event::Request(kind.clone(), moment));
    die_at_each("requests", |seen| seen.requests.into_iter().flat_map(both).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a life for each function of NVML, twice"]
async fn it_survives_its_death_before_and_after_every_function_of_nvml() {
    let both = |function: String| {
        [Effect::KillBefore, Effect::KillAfter].map(|effect| Event::Nvml(function.clone(), effect))
    };
    // It returns when something happens to a GPU, which nothing does here.
    let never_returns = |event: &Event| matches!(event, Event::Nvml(name, Effect::KillAfter) if name == "nvmlEventSetWait_v2");
    let points = |seen: Seen| seen.functions.into_iter().flat_map(both);
    die_at_each("nvml", |seen| points(seen).filter(|event| !never_returns(event)).collect()).await;
}
