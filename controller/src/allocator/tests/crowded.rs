//! Claims for more than there is room for, on a node with eight GPUs in all their partitions: upstream tries most
//! combinations. What fits follows from the placements alone.

use serde_json::{Value, json};

use super::answered;

const GPUS: usize = 8;

/// The partitions of an H100 80GB without media extensions: memory slices, and the slices at which they can start.
/// Source: the table of placements in NVIDIA's MIG user guide.
const PARTITIONS: [(&str, usize, &[usize]); 6] = [
    ("1g.10gb", 1, &[0, 1, 2, 3, 4, 5, 6]),
    ("1g.20gb", 2, &[0, 2, 4, 6]),
    ("2g.20gb", 2, &[0, 2, 4]),
    ("3g.40gb", 4, &[0, 4]),
    ("4g.40gb", 4, &[0]),
    ("7g.80gb", 8, &[0]),
];

/// Profiles and how many of each, a request each.
type Claim = (&'static [(&'static str, usize)], Want);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Want {
    Any,
    OtherGpus,
}

#[test]
fn a_claim_for_too_many_partitions_is_refused_in_time() {
    use Want::{Any, OtherGpus};
    let single: Claim = (&[("1g.10gb", 1)], Any);
    let cases: [(&str, Vec<Claim>, bool); 12] = [
        ("56 small ones are all there is", vec![single; 56], true),
        ("a 57th", vec![single; 57], false),
        (
            "two large claims and a third",
            vec![(&[("1g.10gb", 28)], Any), (&[("1g.10gb", 28)], Any), single],
            false,
        ),
        (
            "50 of one slice and 4 of two, of 56 that small ones can have",
            vec![(&[("1g.10gb", 25)], Any), (&[("1g.10gb", 25)], Any), (&[("2g.20gb", 4)], Any)],
            false,
        ),
        (
            "48 of one slice and 4 of two",
            vec![(&[("1g.10gb", 24)], Any), (&[("1g.10gb", 24)], Any), (&[("2g.20gb", 4)], Any)],
            true,
        ),
        (
            "40 of one slice and 6 halves",
            vec![(&[("1g.10gb", 20)], Any), (&[("1g.10gb", 20)], Any), (&[("3g.40gb", 6)], Any)],
            false,
        ),
        ("66 slices of 64", vec![(&[("1g.20gb", 25)], Any), (&[("2g.20gb", 8)], Any)], false),
        ("nine GPUs of eight", vec![(&[("1g.10gb", 9)], OtherGpus)], false),
        (
            "halves of all GPUs that have to make room for the others",
            vec![(&[("3g.40gb", 8)], OtherGpus), (&[("4g.40gb", 8)], OtherGpus)],
            true,
        ),
        (
            "all halves of all GPUs, and a part",
            vec![(&[("3g.40gb", 8)], OtherGpus), (&[("3g.40gb", 8)], OtherGpus), single],
            false,
        ),
        (
            "a part of each GPU, and a whole one",
            vec![(&[("1g.10gb", 8)], OtherGpus), (&[("7g.80gb", 1)], Any)],
            false,
        ),
        ("a part, and all GPUs whole", vec![single, (&[("7g.80gb", 8)], Any)], false),
    ];
    for (name, claims, fits) in cases {
        let answer = answered(&case(&claims));
        let expected = if fits { "results" } else { "noFit" };
        assert!(answer.get(expected).is_some(), "{name}: {answer}");
    }
}

fn case(claims: &[Claim]) -> Value {
    let counters = |slices: std::ops::Range<usize>| -> Value {
        slices.map(|slice| (format!("memory-slice-{slice}"), json!({"value": "1"}))).collect()
    };
    let devices: Vec<Value> = (0..GPUS)
        .flat_map(|gpu| {
            PARTITIONS.iter().flat_map(move |(profile, slices, starts)| {
                starts.iter().map(move |start| (gpu, *profile, *start..start + slices))
            })
        })
        .map(|(gpu, profile, slices)| {
            json!({
                "name": format!("gpu-{gpu}-{}-{}", profile.replace('.', "-"), slices.start),
                "attributes": {"profile": {"string": profile}, "gpu": {"int": gpu}},
                "consumesCounters": [{"counterSet": format!("gpu-{gpu}"), "counters": counters(slices)}],
            })
        })
        .collect();
    let sets: Vec<Value> =
        (0..GPUS).map(|gpu| json!({"name": format!("gpu-{gpu}"), "counters": counters(0..8)})).collect();
    let slice = |name: &str, content: Value| {
        let mut spec = content;
        spec["driver"] = json!("gpu.example.com");
        spec["nodeName"] = json!("node");
        spec["pool"] = json!({"name": "node", "generation": 1, "resourceSliceCount": 2});
        json!({"metadata": {"name": name}, "spec": spec})
    };
    let claim = |(number, (requests, want)): (usize, &Claim)| {
        let requests = requests.iter().enumerate().map(|(number, (profile, count))| {
            let expression = format!("device.attributes['gpu.example.com'].profile == '{profile}'");
            json!({"name": format!("r{number}"), "exactly": {
                "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": count,
                "selectors": [{"cel": {"expression": expression}}],
            }})
        });
        let constraints = match want {
            Want::Any => json!([]),
            Want::OtherGpus => json!([{"distinctAttribute": "gpu.example.com/gpu"}]),
        };
        json!({
            "metadata": {"name": format!("claim-{number}"), "namespace": "default"},
            "spec": {"devices": {"requests": requests.collect::<Vec<_>>(), "constraints": constraints}},
        })
    };
    json!({
        "classes": [{"metadata": {"name": "gpu"}, "spec": {}}],
        "slices": [slice("a", json!({"sharedCounters": sets})), slice("b", json!({"devices": devices}))],
        "claims": claims.iter().enumerate().map(claim).collect::<Vec<_>>(),
        "node": {"metadata": {"name": "node"}},
    })
}
