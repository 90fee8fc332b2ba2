//! What goes wrong on the way to a real API server goes wrong as the script says, and what the server has done it
//! has done.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use e2e::api::{GUARD, Space, make};
use e2e::cluster::Cluster;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Config};
use serde_json::json;
use support::transport::{Action, Answer, Cut, Ending, Matching, Script, Verb, client};
use tokio::time::timeout;

/// A namespace, and a client of it whose requests the script meets.
async fn scripted(stem: &str, script: &Script) -> (Space, Api<ConfigMap>) {
    let space = Space::create(Cluster::current().client().await, stem, json!({})).await;
    let client: Client = client(Config::infer().await.unwrap(), script).unwrap();
    let maps = Api::namespaced(client, &space.name);
    (space, maps)
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_has_happened() {
    let script = Script::new();
    script.on(Matching::verb(Verb::Create).resource("configmaps").nth(1), Action::LoseAnswer);
    let (space, maps) = scripted("lost-answer", &script).await;

    maps.create(&PostParams::default(), &config_map("written")).await.unwrap_err();
    assert!(maps.get_opt("written").await.unwrap().is_some(), "the server never got the request");
    let again = maps.create(&PostParams::default(), &config_map("written")).await.unwrap_err();
    assert!(matches!(&again, kube::Error::Api(status) if status.is_already_exists()), "{again}");
    space.remove().await;
}

#[tokio::test]
async fn a_dropped_write_has_not_happened() {
    let script = Script::new();
    let dropped = script.on(Matching::verb(Verb::Create).resource("configmaps"), Action::Drop);
    let (space, maps) = scripted("dropped", &script).await;

    maps.create(&PostParams::default(), &config_map("absent")).await.unwrap_err();
    assert!(maps.get_opt("absent").await.unwrap().is_none(), "the server got the request");
    dropped.end();
    maps.create(&PostParams::default(), &config_map("absent")).await.unwrap();
    space.remove().await;
}

#[tokio::test]
async fn a_watch_that_is_cut_and_has_expired_misses_nothing() {
    let script = Script::new();
    let watch = || Matching::verb(Verb::Watch).resource("configmaps");
    script.on(watch().nth(1), Action::Cut(Cut::Lines(1), Ending::Broken));
    script.on(watch().nth(2), Action::Answer(Answer::expired()));
    let (space, maps) = scripted("cut-watch", &script).await;

    let events = watcher(maps, watcher::Config::default()).default_backoff().applied_objects();
    let mut events = std::pin::pin!(events);
    let direct: Api<ConfigMap> = space.api();
    // The second and the third are made after the watch that would have shown them has ended.
    for name in ["one", "two", "three"] {
        make::<ConfigMap>(&direct, json!({"metadata": {"name": name}})).await;
        loop {
            // A broken watch is reported, and the watcher goes on by itself.
            let event = timeout(GUARD, events.next()).await.expect("the watcher hangs").unwrap();
            if event.is_ok_and(|map| map.metadata.name.as_deref() == Some(name)) {
                break;
            }
        }
    }
    assert!(script.requests_to(&watch()).len() >= 3, "{:#?}", script.requests_to(&watch()));
    space.remove().await;
}
