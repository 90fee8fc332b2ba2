//! The answers that calls get.

use super::*;

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
async fn a_refusal_of_the_api_server_is_told_until_the_end() {
    let bench = Bench::new().await;
    let claim = claim("c");
    bench.allocate(&claim, &Given::gpus(&[0]));
    let refusal = Answer::status(StatusCode::FORBIDDEN, "Forbidden", "no such right");
    let _refused = bench.script.on(gets(), Action::Answer(refusal));
    let error = bench.prepare_within(&claim, SHORT).await.unwrap_err();
    let wanted = "the API server answers 403: no such right; check that the plugin's ServiceAccount may get resourceclaims";
    assert!(error.contains(wanted), "{error}");
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
