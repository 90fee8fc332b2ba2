//! Hardware, driver and disk fail, and come back.

use super::*;

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
