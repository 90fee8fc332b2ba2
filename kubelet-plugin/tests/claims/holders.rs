//! What holds a device keeps it, as long as it has a right to it.

use super::*;

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
