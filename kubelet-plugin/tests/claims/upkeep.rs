//! What is put right without a call, and what is told.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn at_the_start_what_is_over_is_undone_and_what_lives_is_put_right() {
    let mut bench = Bench::new().await;
    let names = ["alive", "over", "busy", "replaced", "lost-record", "broken", "moved"];
    let claims = names.map(claim);
    let [alive, over, busy, replaced, lost_record, broken, moved] = &claims;
    for (slot, claim) in claims.iter().enumerate() {
        bench.allocate(claim, &Given::gpus(&[slot]));
        bench.prepare(claim).await.unwrap();
    }
    fs::remove_file(bench.spec_path(alive)).unwrap();
    bench.delete(over);
    bench.delete(busy);
    bench.process(2, 77);
    bench.allocate(&ClaimRef { uid: "new-uid".to_owned(), ..replaced.clone() }, &Given::gpus(&[3]));
    fs::remove_file(bench.record_path(lost_record)).unwrap();
    let record = fs::read(bench.record_path(broken)).unwrap();
    // The checksum is wrong, and the claim can still be read.
    let damaged = String::from_utf8(record).unwrap().replacen("\"sha256\":\"", "\"sha256\":\"0", 1);
    fs::write(bench.record_path(broken), &damaged).unwrap();
    bench.deallocate(moved);

    let down = bench.script.on(gets(), Action::Drop);
    bench.restart(true);
    // Asked for all that have a name and need an answer.
    bench.until("asked", |bench| bench.script.requests_to(&gets().path("*/over")).len() > 1).await;
    for claim in [over, busy, replaced, moved] {
        assert!(bench.record_path(claim).exists(), "{}", claim.name);
    }
    down.end();
    bench.restart(true);
    bench
        .until("reconciled", |bench| {
            let gone = |claim| !bench.record_path(claim).exists() && !bench.spec_path(claim).exists();
            gone(over)
                && gone(replaced)
                && gone(moved)
                && gone(lost_record)
                && bench.spec_path(alive).exists()
                && fs::read_to_string(bench.record_path(broken)).is_ok_and(|record| record != damaged)
        })
        .await;
    assert!(bench.record_path(busy).exists() && bench.spec_path(busy).exists());
    assert_eq!(bench.prepare(alive).await, Ok(vec![prepared(alive, 0)]));
    assert_eq!(bench.prepare(broken).await, Ok(vec![prepared(broken, 5)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_own_the_node_leaves_what_is_over_to_the_owner() {
    let mut bench = Bench::new().await;
    let (over, other) = (claim("over"), claim("other"));
    bench.allocate(&over, &Given::gpus(&[0]));
    bench.prepare(&over).await.unwrap();
    bench.delete(&over);
    bench.restart(false);
    bench.allocate(&other, &Given::gpus(&[1]));
    bench.prepare(&other).await.unwrap();
    assert!(bench.record_path(&over).exists());
    bench.owns.send_replace(true);
    bench.until("undone by the owner", |bench| !bench.record_path(&over).exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_metrics_are_told() {
    let mut bench = Bench::new().await;
    let claim = claim("c");
    bench.allocate(&claim, &Given::gpus(&[0]));
    bench.process(0, 99);
    bench.prepare_within(&claim, SHORT).await.unwrap_err();
    let event = timeout(GUARD, bench.events.recv()).await.unwrap().unwrap();
    assert_eq!((event.reason, event.warning), ("PrepareFailed", true));
    assert_eq!(event.about.kind.as_deref(), Some("ResourceClaim"));
    assert_eq!(event.about.namespace.as_deref(), Some("team-a"));
    assert_eq!(event.about.uid.as_deref(), Some("c-uid"));
    assert!(event.note.contains("process 99"), "{}", event.note);
    bench.end_process(0, 99);
    bench.prepare(&claim).await.unwrap();

    let text = |bench: &Bench| {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &bench.metrics.registry()).unwrap();
        text
    };
    let has = |bench: &Bench, parts: &[&str]| {
        text(bench).lines().any(|line| parts.iter().all(|part| line.contains(part)))
    };
    assert!(has(&bench, &["dra_plugin_errors_total", "reason=\"device_busy\"", "} 1"]), "{}", text(&bench));
    let joined = ["dra_device_claim_info", "dra_claim_name=\"c\"", "owner_pod=\"c-pod\"", GPUS[0]];
    bench.until("the claim is joined", |bench| has(bench, &joined)).await;
    bench.unprepare(&claim).await.unwrap();
    bench.until("the claim is no longer joined", |bench| !has(bench, &joined)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_is_shown_without_the_plugin() {
    let bench = Bench::new().await;
    let show = |output: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_dra-kubelet-plugin"))
            .env_clear()
            .args(["state", "--driver-name", DRIVER, "-o", output, "--state-root"])
            .arg(bench.folder.path().join("run"))
            .arg("--procfs")
            .arg(bench.fake.procfs())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(show("table"), "No claims.\n");
    let (done, refused) = (claim("done"), claim("refused"));
    bench.allocate(&done, &Given::gpus(&[0, 1]));
    bench.prepare(&done).await.unwrap();
    bench.prepare(&refused).await.unwrap_err();
    let json: serde_json::Value = serde_json::from_str(&show("json")).unwrap();
    let uuid = &bench.fake.state().unwrap().gpus[1].uuid;
    assert_eq!(json["claims"][0]["name"], "done");
    assert_eq!(json["claims"][0]["stage"], "prepared");
    assert_eq!(json["claims"][0]["pods"], json!(["done-pod"]));
    assert_eq!(json["claims"][0]["devices"][1]["name"], GPUS[1]);
    assert_eq!(json["claims"][0]["devices"][1]["uuid"], uuid.as_str());
    assert_eq!(json["claims"][1]["stage"], "not prepared");
    let table = show("table");
    let lines: Vec<_> = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(lines[0], ["CLAIM", "STAGE", "DEVICES", "PODS"]);
    assert_eq!(lines[1], ["team-a/done", "prepared", GPUS[0], "done-pod"]);
    assert_eq!(lines[2], [GPUS[1]]);
    assert!(table.contains("Last error of team-a/refused at 20"), "{table}");
    assert!(table.contains("claim team-a/refused does not exist any more"), "{table}");
    bench.unprepare(&refused).await.unwrap();
    assert!(!show("yaml").contains("refused"));
}
