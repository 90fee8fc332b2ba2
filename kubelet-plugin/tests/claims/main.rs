//! Claims on a fake node: what the kubelet asks, what it is answered, and what lies on disk.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot be set up has failed"
)]

mod bench;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use bench::{Bench, DRIVER, GPUS, GUARD, Given, NODE, claim, prepare, result};
use dra_driver::claim::{ClaimRef, PreparedDevice};
use fake_node::inject::{GpuSelector, Injection};
use fake_node::model::Effect;
use fake_node::node::LibraryFile;
use serde_json::json;
use support::transport::{Action, Answer, Matching, Verb};
use tokio::time::{Instant, timeout};

/// Time enough for what is answered at once, and less than the kubelet's.
const SOON: Duration = Duration::from_secs(10);
/// A deadline for what cannot be done, so that the test does not take the kubelet's time.
const SHORT: Duration = Duration::from_millis(1500);

fn gets() -> Matching {
    Matching::verb(Verb::Get).resource("resourceclaims")
}

/// What the kubelet is told about a GPU that was prepared for a claim.
fn prepared(claim: &ClaimRef, slot: usize) -> PreparedDevice {
    PreparedDevice {
        requests: vec![format!("gpu-{slot}")],
        pool: format!("{NODE}/gpu"),
        device: GPUS[slot].to_owned(),
        cdi_ids: vec![
            format!("{DRIVER}/claim={}-{}", claim.uid, GPUS[slot]),
            format!("{DRIVER}/driver=files"),
        ],
        share_id: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_prepared_once_and_answered_alike_ever_after() {
    let mut bench = Bench::new().await;
    let claim = claim("c");
    bench.allocate(&claim, &Given::gpus(&[0, 5]));
    let answer = bench.prepare(&claim).await.unwrap();
    assert_eq!(answer, [prepared(&claim, 0), prepared(&claim, 5)]);
    let nodes = bench.spec(&claim);
    let minors: Vec<_> = [0, 5].map(|slot| bench.fake.state().unwrap().gpus[slot].minor).into();
    assert_eq!(nodes[&answer[0].cdi_ids[0]], format!("/dev/nvidia{}", minors[0]));
    assert_eq!(nodes[&answer[1].cdi_ids[0]], format!("/dev/nvidia{}", minors[1]));
    assert!(bench.cdi().join(format!("{DRIVER}-driver.json")).exists());

    assert_eq!(bench.prepare(&claim).await.unwrap(), answer);
    bench.restart(true);
    assert_eq!(bench.prepare(&claim).await.unwrap(), answer);
    assert_eq!(bench.spec(&claim), nodes);

    bench.unprepare(&claim).await.unwrap();
    assert!(!bench.spec_path(&claim).exists());
    assert!(!bench.record_path(&claim).exists());
    bench.unprepare(&claim).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cdi_spec_that_was_removed_or_damaged_is_written_anew() {
    let bench = Bench::new().await;
    let claim = claim("c");
    bench.allocate(&claim, &Given::gpus(&[1]));
    let answer = bench.prepare(&claim).await.unwrap();
    let whole = fs::read(bench.spec_path(&claim)).unwrap();
    let driver_spec = bench.cdi().join(format!("{DRIVER}-driver.json"));
    let driver = fs::read(&driver_spec).unwrap();
    for damage in ["", "{", "{\"cdiVersion\":\"0.5.0\"}"] {
        fs::write(bench.spec_path(&claim), damage).unwrap();
        fs::write(&driver_spec, damage).unwrap();
        assert_eq!(bench.prepare(&claim).await.unwrap(), answer);
        assert_eq!(fs::read(bench.spec_path(&claim)).unwrap(), whole);
        assert_eq!(fs::read(&driver_spec).unwrap(), driver);
    }
    fs::remove_dir_all(bench.cdi()).unwrap();
    assert_eq!(bench.prepare(&claim).await.unwrap(), answer);
    assert_eq!(fs::read(bench.spec_path(&claim)).unwrap(), whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_claims_at_once_each_with_its_own_answer() {
    let bench = Bench::new().await;
    let mut claims: Vec<_> = (0..8).map(|slot| claim(&format!("c{slot}"))).collect();
    for (slot, claim) in claims.iter().enumerate() {
        bench.allocate(claim, &Given::gpus(&[slot]));
    }
    for number in 8..64 {
        let claim = claim(&format!("c{number}"));
        bench.allocate(&claim, &Given::admin(&[number % 8]));
        claims.push(claim);
    }
    let missing = claim("missing");
    claims.push(missing.clone());
    let start = Instant::now();
    let deadline = start + SOON;
    let answers = timeout(GUARD, bench.claims.prepare(claims.clone(), deadline)).await.unwrap();
    println!("64 claims at once: {:?}", start.elapsed());
    assert_eq!(answers.len(), 65);
    for (number, claim) in claims.iter().take(64).enumerate() {
        assert_eq!(answers[&claim.uid], Ok(vec![prepared(claim, number % 8)]));
    }
    let error = answers[&missing.uid].as_ref().unwrap_err();
    assert_eq!(error, "claim team-a/missing does not exist any more; delete the pod");
    let answers = timeout(GUARD, bench.claims.unprepare(claims, Instant::now() + SOON)).await.unwrap();
    assert!(answers.values().all(Result::is_ok), "{answers:?}");
    let left: Vec<_> = fs::read_dir(bench.cdi()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [format!("{DRIVER}-driver.json").as_str()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_claim_that_comes_first_waits_for_the_old_ones_unprepare() {
    let bench = Bench::new().await;
    let (old, new) = (claim("old"), claim("new"));
    bench.allocate(&old, &Given::gpus(&[2]));
    bench.prepare(&old).await.unwrap();
    // The API server still says that the device is the old claim's.
    bench.allocate(&new, &Given::gpus(&[2]));
    let (claims, wanted) = (bench.claims.clone(), new.clone());
    let waiting = tokio::spawn(async move { prepare(&claims, &wanted, Duration::from_secs(40)).await });
    // The new claim, the old one as the holder.
    bench.script.saw(&gets().path("*/old"), 2, GUARD).await.unwrap();
    assert!(!waiting.is_finished());
    bench.unprepare(&old).await.unwrap();
    assert_eq!(timeout(GUARD, waiting).await.unwrap().unwrap(), Ok(vec![prepared(&new, 2)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_device_of_a_claim_that_is_over_is_taken_over_when_it_is_idle() {
    let mut bench = Bench::new().await;
    let (old, new) = (claim("old"), claim("new"));
    bench.allocate(&old, &Given::gpus(&[2, 3]));
    bench.prepare(&old).await.unwrap();
    bench.delete(&old);
    bench.allocate(&new, &Given::gpus(&[2]));

    bench.process(3, 4242);
    let busy = bench.prepare_within(&new, SHORT).await.unwrap_err();
    assert_eq!(
        busy,
        format!(
            "claim team-a/new: device {}: it is still used by process 4242; end what runs there on the node",
            GPUS[3]
        )
    );
    bench.end_process(3, 4242);
    bench.opens(4343, 2);
    let busy = bench.prepare_within(&new, SHORT).await.unwrap_err();
    assert!(busy.contains(GPUS[2]) && busy.contains("used by process 4343"), "{busy}");
    assert!(bench.record_path(&old).exists() && bench.spec_path(&old).exists());

    bench.closes(4343);
    assert_eq!(bench.prepare(&new).await, Ok(vec![prepared(&new, 2)]));
    assert!(!bench.spec_path(&old).exists());
    // Late, and touches nothing.
    bench.unprepare(&old).await.unwrap();
    bench.restart(true);
    assert_eq!(bench.prepare(&new).await, Ok(vec![prepared(&new, 2)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_another_namespace_is_not_named() {
    let bench = Bench::new().await;
    let old = ClaimRef { namespace: "secret-team".to_owned(), ..claim("hidden-name") };
    let (same, new) = (claim("same"), claim("new"));
    bench.allocate(&old, &Given::gpus(&[0]));
    bench.allocate(&same, &Given::gpus(&[1]));
    bench.prepare(&old).await.unwrap();
    bench.prepare(&same).await.unwrap();

    bench.allocate(&new, &Given::gpus(&[0]));
    let error = bench.prepare_within(&new, SHORT).await.unwrap_err();
    assert!(error.contains("still prepared for another claim;"), "{error}");
    assert!(!error.contains("secret-team") && !error.contains("hidden-name"), "{error}");
    bench.allocate(&new, &Given::gpus(&[1]));
    let error = bench.prepare_within(&new, SHORT).await.unwrap_err();
    assert!(error.contains("still prepared for claim team-a/same;"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_process_keeps_a_gpu_from_being_given() {
    let bench = Bench::new().await;
    let claim = claim("c");
    bench.allocate(&claim, &Given::gpus(&[4]));
    bench.process(4, 99);
    let error = bench.prepare_within(&claim, SHORT).await.unwrap_err();
    assert!(error.contains(GPUS[4]) && error.contains("process 99"), "{error}");
    let admin = bench::claim("admin");
    bench.allocate(&admin, &Given::admin(&[4]));
    bench.prepare(&admin).await.unwrap();
    bench.end_process(4, 99);
    bench.prepare(&claim).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_api_server_the_record_answers_and_unprepare_works() {
    let mut bench = Bench::new().await;
    let (known, new) = (claim("known"), claim("new"));
    bench.allocate(&known, &Given::gpus(&[0]));
    bench.allocate(&new, &Given::gpus(&[1]));
    let answer = bench.prepare(&known).await.unwrap();
    for (name, action) in [
        ("connection lost", Action::Drop),
        ("no answer", Action::BlackHole),
        ("overloaded", Action::Answer(Answer::internal_error())),
    ] {
        let rule = bench.script.on(gets(), action);
        bench.restart(true);
        assert_eq!(bench.prepare_within(&known, SOON).await.as_ref(), Ok(&answer), "{name}");
        let error = bench.prepare_within(&new, SHORT).await.unwrap_err();
        assert!(error.contains("claim team-a/new: cannot get the claim, the API server"), "{name}: {error}");
        rule.end();
    }
    let _down = bench.script.on(gets(), Action::Drop);
    let other = ClaimRef { uid: "other-uid".to_owned(), ..known.clone() };
    bench.prepare_within(&other, SHORT).await.unwrap_err();
    bench.unprepare(&known).await.unwrap();
    bench.prepare_within(&known, SHORT).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_loss_of_the_api_server_is_no_failure() {
    let bench = Bench::new().await;
    let claim = claim("c");
    bench.allocate(&claim, &Given::gpus(&[0]));
    bench.script.on(gets().first(3), Action::Drop);
    assert_eq!(bench.prepare(&claim).await, Ok(vec![prepared(&claim, 0)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_allocated_anew_with_the_same_uid() {
    let bench = Bench::new().await;
    let (claim, other) = (claim("c"), claim("other"));
    bench.allocate(&claim, &Given::gpus(&[0]));
    bench.prepare(&claim).await.unwrap();
    bench.allocate(&claim, &Given::gpus(&[1]));
    bench.allocate(&other, &Given::gpus(&[0]));
    assert_eq!(bench.prepare(&claim).await, Ok(vec![prepared(&claim, 1)]));
    assert_eq!(bench.prepare(&other).await, Ok(vec![prepared(&other, 0)]));
    assert_eq!(bench.spec(&claim).len(), 1);
    // To another driver's devices alone.
    let mut given = Given::gpus(&[1]);
    given.results[0]["driver"] = json!("nic.test.example");
    bench.allocate(&claim, &given);
    assert_eq!(bench.prepare(&claim).await, Ok(vec![]));
    assert!(!bench.record_path(&claim).exists() && !bench.spec_path(&claim).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_pass_is_answered_at_once() {
    let bench = Bench::new().await;
    let mut wrong_config = Given::gpus(&[0]);
    wrong_config.config = vec![json!({
        "source": "FromClaim",
        "opaque": { "driver": DRIVER, "parameters": { "apiVersion": "nobody/v1", "kind": "Nothing" } },
    })];
    let mut elsewhere = Given::gpus(&[0]);
    elsewhere.results[0]["pool"] = json!("node-2/gpu");
    let mut path = Given::gpus(&[0]);
    path.results[0]["device"] = json!("../../etc");
    let cases = [
        ("config", wrong_config, "status.allocation.devices.config[0]"),
        ("other-node", elsewhere, "is of pool node-2/gpu, and this node has only pool node-1/gpu"),
        ("path", path, "'../../etc' is no name of a device"),
    ];
    for (name, given, wanted) in cases {
        let claim = claim(name);
        bench.allocate(&claim, &given);
        let start = Instant::now();
        let error = bench.prepare(&claim).await.unwrap_err();
        assert!(error.contains(wanted) && error.contains(&format!("team-a/{name}")), "{error}");
        assert!(start.elapsed() < SOON, "{name}: {:?}", start.elapsed());
        assert!(!bench.record_path(&claim).exists(), "{name}");
    }
    let gone = claim("gone");
    bench.allocate(&gone, &Given::gpus(&[0]));
    bench.deallocate(&gone);
    let error = bench.prepare(&gone).await.unwrap_err();
    assert!(error.contains("claim team-a/gone is not allocated"), "{error}");
    let replaced = ClaimRef { uid: "older-uid".to_owned(), ..gone };
    let error = bench.prepare(&replaced).await.unwrap_err();
    assert!(error.contains("deleted and created anew") && error.contains("older-uid"), "{error}");
    let hostile = ClaimRef { uid: "../x".to_owned(), ..replaced };
    bench.prepare(&hostile).await.unwrap_err();
    bench.unprepare(&hostile).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_device_are_one_device() {
    let bench = Bench::new().await;
    let claim = claim("c");
    let mut admin = result("watch", GPUS[0]);
    admin["adminAccess"] = json!(true);
    let given = Given { results: vec![admin, result("main/sub", GPUS[0])], config: Vec::new() };
    bench.allocate(&claim, &given);
    let answer = bench.prepare(&claim).await.unwrap();
    assert_eq!(answer.len(), 1, "{answer:?}");
    assert_eq!(answer[0].requests, ["watch", "main"]);
    assert_eq!(bench.spec(&claim).len(), 1);
    // It is exclusive all the same.
    let other = bench::claim("other");
    bench.allocate(&other, &Given::gpus(&[0]));
    bench.prepare_within(&other, SHORT).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sick_gpu_is_refused_to_new_claims_and_stays_with_old_ones() {
    let bench = Bench::new().await;
    let (old, new) = (claim("old"), claim("new"));
    bench.allocate(&old, &Given::gpus(&[6]));
    bench.prepare(&old).await.unwrap();
    // 95: uncontained ECC error; the GPU has to be reset (NVIDIA's XID catalogue).
    bench.fake.inject(&Injection::Xid { gpu: GpuSelector::Slot(6), xid: 95, instances: None }).unwrap();
    bench.seen(|view| !view.faults_of(GPUS[6]).is_empty()).await;
    bench.prepare(&old).await.unwrap();
    bench.unprepare(&old).await.unwrap();

    bench.allocate(&new, &Given::gpus(&[6]));
    let start = Instant::now();
    let error = bench.prepare(&new).await.unwrap_err();
    assert!(error.contains("fault of the class reset") && error.contains("95"), "{error}");
    assert!(start.elapsed() < SOON);
    let mut tolerant = Given::gpus(&[6]);
    tolerant.results[0]["tolerations"] = json!([{ "key": format!("{DRIVER}/fault"), "operator": "Exists" }]);
    bench.allocate(&new, &tolerant);
    bench.prepare(&new).await.unwrap();
    let admin = claim("admin");
    bench.allocate(&admin, &Given::admin(&[6]));
    bench.prepare(&admin).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_device_node_is_waited_for() {
    let bench = Bench::new().await;
    let claim = claim("c");
    bench.allocate(&claim, &Given::gpus(&[7]));
    let (node, aside) = (bench.device_node(7), bench.folder.path().join("aside"));
    fs::rename(&node, &aside).unwrap();
    let error = bench.prepare_within(&claim, SHORT).await.unwrap_err();
    assert!(error.contains("nvidia-modprobe -c"), "{error}");
    assert!(!bench.record_path(&claim).exists() && !bench.spec_path(&claim).exists());

    let (claims, wanted) = (bench.claims.clone(), claim.clone());
    let waiting = tokio::spawn(async move { prepare(&claims, &wanted, Duration::from_secs(40)).await });
    bench.script.saw(&gets(), 3, GUARD).await.unwrap();
    fs::rename(&aside, &node).unwrap();
    assert_eq!(timeout(GUARD, waiting).await.unwrap().unwrap(), Ok(vec![prepared(&claim, 7)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_that_does_not_answer_keeps_no_other_claim() {
    let bench = Bench::new().await;
    let (before, sick, well) = (claim("before"), claim("sick"), claim("well"));
    bench.allocate(&before, &Given::gpus(&[2]));
    bench.allocate(&sick, &Given::gpus(&[3]));
    bench.allocate(&well, &Given::gpus(&[4]));
    bench.prepare(&before).await.unwrap();
    for slot in [2, 3] {
        for call in ["nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"] {
            let hang = Injection::Fault {
                call: call.into(),
                gpu: Some(GpuSelector::Slot(slot)),
                after: 0,
                times: None,
                effect: Effect::Hang,
            };
            bench.fake.inject(&hang).unwrap();
        }
    }
    let claims = vec![sick.clone(), well.clone()];
    let answers = timeout(GUARD, bench.claims.prepare(claims, Instant::now() + SOON / 2)).await.unwrap();
    assert_eq!(answers[&well.uid], Ok(vec![prepared(&well, 4)]));
    let error = answers[&sick.uid].as_ref().unwrap_err();
    // Whether the claim or the monitor finds out first.
    let seen = error.contains("cannot see whether it is in use") || error.contains("NVML does not answer");
    assert!(error.contains(GPUS[3]) && seen, "{error}");
    bench.unprepare(&before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_driver_the_reason_is_told_and_waited_out() {
    let mut bench = Bench::with(|fake| fake.set_library(LibraryFile::Missing).unwrap()).await;
    bench.seen(|view| view.was_asked()).await;
    let claim = claim("c");
    bench.allocate(&claim, &Given::gpus(&[0]));
    bench.unprepare(&claim).await.unwrap();
    let error = bench.prepare_within(&claim, SHORT).await.unwrap_err();
    assert!(error.contains("no libnvidia-ml.so.1 in 10 places"), "{error}");

    let (claims, wanted) = (bench.claims.clone(), claim.clone());
    let waiting = tokio::spawn(async move { prepare(&claims, &wanted, Duration::from_secs(40)).await });
    bench.script.saw(&gets(), 2, GUARD).await.unwrap();
    bench.fake.set_library(LibraryFile::Restored).unwrap();
    let answer = timeout(GUARD, waiting).await.unwrap().unwrap();
    assert_eq!(answer, Ok(vec![prepared(&claim, 0)]));

    // What is prepared can be told without it.
    bench.fake.unload_driver().unwrap();
    bench.seen(|view| view.without_nvml.is_some()).await;
    bench.restart(true);
    bench.unprepare(&claim).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_cannot_be_written_are_told_and_recovered_from() {
    let bench = Bench::new().await;
    for (name, folder) in [("cdi", bench.cdi()), ("claims", bench.folder.path().join("run").join(DRIVER))] {
        let claim = claim(name);
        bench.allocate(&claim, &Given::gpus(&[0]));
        if folder.exists() {
            fs::rename(&folder, folder.with_extension("aside")).unwrap();
        }
        fs::write(&folder, "in the way").unwrap();
        let error = bench.prepare_within(&claim, SHORT).await.unwrap_err();
        assert!(error.contains(&folder.display().to_string()), "{error}");
        assert!(error.contains("remove what has that name"), "{error}");
        fs::remove_file(&folder).unwrap();
        assert_eq!(bench.prepare(&claim).await, Ok(vec![prepared(&claim, 0)]));
        bench.unprepare(&claim).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_recovered_from() {
    let bench = Bench::new().await;
    let cdi = bench.cdi();
    fs::create_dir_all(&cdi).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
        .arg(&cdi)
        .stderr(std::process::Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("not root: no file system can be filled");
        return;
    }
    let filler = cdi.join("filler");
    // Fails when it is full, which is meant.
    fs::write(&filler, vec![0; 1 << 20]).unwrap_err();
    let claim = claim("c");
    bench.allocate(&claim, &Given::gpus(&[0]));
    let full = bench.prepare_within(&claim, SHORT).await;
    fs::remove_file(&filler).unwrap();
    let recovered = bench.prepare(&claim).await;
    let unprepared = bench.unprepare(&claim).await;
    let unmounted = std::process::Command::new("umount").arg("-l").arg(&cdi).status().unwrap();
    assert!(unmounted.success());
    let full = full.unwrap_err();
    assert!(full.contains("free space on that file system"), "{full}");
    assert_eq!(recovered, Ok(vec![prepared(&claim, 0)]));
    assert_eq!(unprepared, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_dropped_go_on_and_are_joined() {
    let bench = Bench::new().await;
    let claim = claim("c");
    bench.allocate(&claim, &Given::gpus(&[0]));
    let hold = bench.script.on(gets(), Action::Hold);
    let early = timeout(SHORT, bench.prepare(&claim)).await;
    assert!(early.is_err(), "{early:?}");
    hold.reached(1, GUARD).await.unwrap();
    let (claims, wanted) = (bench.claims.clone(), claim.clone());
    let joined = tokio::spawn(async move { prepare(&claims, &wanted, Duration::from_secs(40)).await });
    hold.release();
    assert_eq!(timeout(GUARD, joined).await.unwrap().unwrap(), Ok(vec![prepared(&claim, 0)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unprepare_ends_the_waiting_of_its_prepare() {
    let bench = Bench::new().await;
    let claim = claim("c");
    bench.allocate(&claim, &Given::gpus(&[0]));
    bench.process(0, 99);
    let (claims, wanted) = (bench.claims.clone(), claim.clone());
    let waiting = tokio::spawn(async move { prepare(&claims, &wanted, Duration::from_secs(40)).await });
    bench.script.saw(&gets(), 1, GUARD).await.unwrap();
    let start = Instant::now();
    bench.unprepare(&claim).await.unwrap();
    assert!(start.elapsed() < SOON);
    let error = timeout(GUARD, waiting).await.unwrap().unwrap().unwrap_err();
    assert!(error.contains("another call for the claim came"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_never_give_a_gpu_twice() {
    let bench = Bench::new().await;
    let second = bench.second();
    let claims: Vec<_> = (0..16).map(|number| claim(&format!("c{number}"))).collect();
    for claim in &claims {
        bench.allocate(claim, &Given::gpus(&[3, 1]));
    }
    let (some, others) = claims.split_at(8);
    let deadline = Instant::now() + SHORT;
    let (mut answers, more) = timeout(GUARD, async {
        tokio::join!(bench.claims.prepare(some.to_vec(), deadline), second.prepare(others.to_vec(), deadline))
    })
    .await
    .unwrap();
    answers.extend(more);
    let given: BTreeSet<_> =
        answers.iter().filter(|(_, answer)| answer.is_ok()).map(|(uid, _)| uid).collect();
    assert_eq!(given.len(), 1, "{answers:?}");
}

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
    fs::write(bench.record_path(broken), damaged).unwrap();
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
                && fs::read_to_string(bench.record_path(broken)).is_ok_and(|record| !record.contains("\"0"))
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
