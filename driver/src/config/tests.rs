use k8s_openapi::api::resource::v1::{DeviceAllocationConfiguration, OpaqueDeviceConfiguration};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

const DRIVER: &str = "gpu.example.com";
const NVIDIA: &str = "resource.nvidia.com/v1beta1";
const OURS: &str = "config.eks-hybrid-dra/v1alpha1";

fn config(source: &str, requests: &[&str], parameters: Value) -> DeviceAllocationConfiguration {
    DeviceAllocationConfiguration {
        opaque: Some(OpaqueDeviceConfiguration {
            driver: DRIVER.to_owned(),
            parameters: RawExtension(parameters),
        }),
        requests: (!requests.is_empty()).then(|| requests.iter().map(|&request| request.into()).collect()),
        source: source.to_owned(),
    }
}

fn class(requests: &[&str], parameters: Value) -> DeviceAllocationConfiguration {
    config("FromClass", requests, parameters)
}

fn claim(requests: &[&str], parameters: Value) -> DeviceAllocationConfiguration {
    config("FromClaim", requests, parameters)
}

/// A configuration that can be carried out.
fn plain() -> Value {
    json!({"apiVersion": NVIDIA, "kind": "GpuConfig"})
}

/// A configuration that is well formed, but refused wherever it counts: it shows which one counted.
fn refused() -> Value {
    json!({"apiVersion": NVIDIA, "kind": "GpuConfig", "sharing": {"strategy": "MPS"}})
}

fn mig() -> Value {
    json!({"apiVersion": NVIDIA, "kind": "MigDeviceConfig", "sharing": {"strategy": "MPS"}})
}

fn targets(requests: &[&str]) -> Vec<Target> {
    requests.iter().map(|&request| Target { request: request.to_owned() }).collect()
}

/// By the rules of NVIDIA's driver: defaults, then classes, then the claim, each in order; for a result the last one
/// counts that names its request, or that names none and is of its device's kind; as a whole. Ours besides: a
/// configuration that names a request is for its sub-requests too, as the API documents it.
#[test]
fn the_last_configuration_for_a_request_counts() {
    type Case = (&'static str, &'static [&'static str], Vec<DeviceAllocationConfiguration>, Option<usize>);
    let cases: Vec<Case> = vec![
        ("no configuration", &["a"], vec![], None),
        ("one for all requests", &["a", "b"], vec![claim(&[], plain())], None),
        ("one for all requests counts for each", &["a", "b"], vec![claim(&[], refused())], Some(0)),
        ("one for another request", &["a"], vec![claim(&["b"], refused())], None),
        ("one of two requests", &["a", "b"], vec![claim(&["b"], refused())], Some(0)),
        ("claim over class", &["a"], vec![class(&[], refused()), claim(&[], plain())], None),
        (
            "claim over class, listed before it",
            &["a"],
            vec![claim(&[], plain()), class(&[], refused())],
            None,
        ),
        (
            "class where the claim says nothing",
            &["a"],
            vec![class(&[], refused()), claim(&["b"], plain())],
            Some(0),
        ),
        ("the later class", &["a"], vec![class(&[], refused()), class(&[], plain())], None),
        ("the later claim's", &["a"], vec![claim(&[], plain()), claim(&[], refused())], Some(1)),
        (
            "later for all over earlier by name",
            &["a"],
            vec![claim(&["a"], refused()), claim(&[], plain())],
            None,
        ),
        (
            "later by name over earlier for all",
            &["a"],
            vec![claim(&[], refused()), claim(&["a"], plain())],
            None,
        ),
        ("a sub-request by its request", &["a/x"], vec![claim(&["a"], refused())], Some(0)),
        ("a sub-request by its own name", &["a/x"], vec![claim(&["a/x"], refused())], Some(0)),
        ("another sub-request", &["a/x"], vec![claim(&["a/y"], refused())], None),
        ("a sub-request is not its request", &["a"], vec![claim(&["a/x"], refused())], None),
        ("a sub-request's name alone", &["a/x"], vec![claim(&["x"], refused())], None),
        ("a name that begins alike", &["gpu/x"], vec![claim(&["gp", "gpus"], refused())], None),
        (
            "for MIG devices, by nobody's name",
            &["a"],
            vec![class(&[], refused()), claim(&[], mig())],
            Some(0),
        ),
        ("for MIG devices, but named for a GPU", &["a"], vec![claim(&["a"], mig())], Some(0)),
        ("for MIG devices, but named by the parent", &["a/x"], vec![claim(&["a"], mig())], Some(0)),
        ("for MIG devices of another request", &["a"], vec![claim(&["b"], mig())], None),
        ("overridden for MIG devices", &["a"], vec![claim(&["a"], mig()), claim(&["a"], plain())], None),
    ];
    for (name, requests, configs, wanted) in cases {
        let results = targets(requests);
        match (resolve(DRIVER, &results, &configs), wanted) {
            (Ok(settings), None) => assert_eq!(settings, vec![Settings::default(); results.len()], "{name}"),
            (Err(error), Some(index)) => assert_eq!(error.index, index, "{name}: {error}"),
            (got, wanted) => panic!("{name}: wanted {wanted:?}, got {got:?}"),
        }
    }
}

#[test]
fn other_drivers_configurations_are_not_looked_at() {
    let mut theirs = claim(&[], json!(["anything"]));
    theirs.opaque.as_mut().unwrap().driver = "nic.example.com".to_owned();
    assert_eq!(resolve(DRIVER, &targets(&["a"]), &[theirs]), Ok(vec![Settings::default()]));
}

#[test]
fn what_cannot_be_understood_is_an_error_even_where_it_would_not_count() {
    let overridden =
        [class(&[], json!({"apiVersion": NVIDIA, "kind": "GpuConfig", "share": {}})), claim(&[], plain())];
    let error = resolve(DRIVER, &targets(&["a"]), &overridden).unwrap_err();
    assert_eq!(
        error.to_string(),
        "configuration of the DeviceClass, status.allocation.devices.config[0].opaque.parameters.share: there is \
         no such field here; use 'apiVersion', 'kind' or 'sharing'"
    );

    let unknown = DeviceAllocationConfiguration { opaque: None, ..claim(&[], plain()) };
    assert_eq!(resolve(DRIVER, &[], &[unknown]).unwrap_err().field, "opaque");
    let from_elsewhere = config("FromNode", &[], plain());
    assert_eq!(resolve(DRIVER, &[], &[from_elsewhere]).unwrap_err().field, "source");
}

/// What one configuration alone comes to for a whole GPU.
#[test]
fn parameters() {
    let gpu = |more: Value| {
        let mut object = json!({"apiVersion": NVIDIA, "kind": "GpuConfig"});
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object
    };
    let sharing = |sharing: Value| gpu(json!({"sharing": sharing}));
    let sliced = |config: Value| sharing(json!({"strategy": "TimeSlicing", "timeSlicingConfig": config}));
    let kind = |kind: &str| json!({"apiVersion": NVIDIA, "kind": kind});
    // The field below opaque.parameters, and a part of what is said of it.
    type Wanted = Result<(), (&'static str, &'static str)>;
    let cases: Vec<(&str, Value, Wanted)> = vec![
        ("NVIDIA's, empty", plain(), Ok(())),
        ("ours, empty", json!({"apiVersion": OURS, "kind": "GpuConfig"}), Ok(())),
        ("sharing null is sharing absent", sharing(Value::Null), Ok(())),
        ("time slices of default length, short", sharing(json!({"strategy": "TimeSlicing"})), Ok(())),
        ("time slices of default length", sliced(json!({"interval": "Default"})), Ok(())),
        ("time slices, empty settings", sliced(json!({})), Ok(())),
        ("time slices, null settings", sliced(Value::Null), Ok(())),
        (
            "ours with time slices",
            json!({"apiVersion": OURS, "kind": "GpuConfig", "sharing": {"strategy": "TimeSlicing"}}),
            Ok(()),
        ),
        (
            "short slices",
            sliced(json!({"interval": "Short"})),
            Err(("sharing.timeSlicingConfig.interval", "Short is not supported yet")),
        ),
        (
            "medium slices",
            sliced(json!({"interval": "Medium"})),
            Err(("sharing.timeSlicingConfig.interval", "Medium is not supported yet")),
        ),
        (
            "long slices",
            sliced(json!({"interval": "Long"})),
            Err(("sharing.timeSlicingConfig.interval", "Long is not supported yet")),
        ),
        ("MPS", sharing(json!({"strategy": "MPS"})), Err(("sharing.strategy", "MPS is not supported yet"))),
        (
            "MPS with settings",
            sharing(json!({"strategy": "MPS", "mpsConfig": {"defaultActiveThreadPercentage": 50}})),
            Err(("sharing.strategy", "MPS is not supported yet")),
        ),
        (
            "no object",
            json!("GpuConfig"),
            Err(("", "wanted an object with apiVersion and kind, got \"GpuConfig\"")),
        ),
        ("nothing", Value::Null, Err(("", "got nothing"))),
        ("no apiVersion", json!({"kind": "GpuConfig"}), Err(("apiVersion", "got nothing"))),
        (
            "apiVersion of the wrong type",
            json!({"apiVersion": 1, "kind": "GpuConfig"}),
            Err(("apiVersion", "got the number 1")),
        ),
        (
            "NVIDIA's former version",
            json!({"apiVersion": "gpu.nvidia.com/v1alpha1", "kind": "GpuConfig"}),
            Err(("apiVersion", "wanted 'config.eks-hybrid-dra/v1alpha1' or 'resource.nvidia.com/v1beta1'")),
        ),
        ("no kind", json!({"apiVersion": NVIDIA}), Err(("kind", "wanted 'GpuConfig', got nothing"))),
        ("an unknown kind", kind("GpuSettings"), Err(("kind", "wanted 'GpuConfig', got \"GpuSettings\""))),
        (
            "a compute domain's channel",
            kind("ComputeDomainChannelConfig"),
            Err(("kind", "compute-domain.nvidia.com")),
        ),
        (
            "a compute domain's daemon",
            kind("ComputeDomainDaemonConfig"),
            Err(("kind", "compute-domain.nvidia.com")),
        ),
        (
            "NVIDIA's other kinds are not in our group",
            json!({"apiVersion": OURS, "kind": "MigDeviceConfig"}),
            Err(("kind", "wanted 'GpuConfig'")),
        ),
        (
            "an unknown field",
            gpu(json!({"shering": {}})),
            Err(("shering", "'apiVersion', 'kind' or 'sharing'")),
        ),
        ("a field in the wrong case", gpu(json!({"Sharing": {}})), Err(("Sharing", "write it \"sharing\""))),
        ("sharing is a text", sharing(json!("MPS")), Err(("sharing", "got \"MPS\""))),
        ("sharing is a list", sharing(json!([])), Err(("sharing", "got a list"))),
        ("sharing without strategy", sharing(json!({})), Err(("sharing.strategy", "it is missing"))),
        (
            "an unknown strategy",
            sharing(json!({"strategy": "Mps"})),
            Err(("sharing.strategy", "wanted 'TimeSlicing' or 'MPS', got \"Mps\"")),
        ),
        (
            "strategy is a truth value",
            sharing(json!({"strategy": true})),
            Err(("sharing.strategy", "got the truth value true")),
        ),
        (
            "a field of sharing",
            sharing(json!({"strategy": "MPS", "replicas": 2})),
            Err(("sharing.replicas", "no such field")),
        ),
        (
            "MPS settings for time slices",
            sharing(json!({"strategy": "TimeSlicing", "mpsConfig": {}})),
            Err(("sharing.mpsConfig", "does not go with the strategy TimeSlicing")),
        ),
        (
            "time slices for MPS",
            sharing(json!({"strategy": "MPS", "timeSlicingConfig": {}})),
            Err(("sharing.timeSlicingConfig", "does not go with the strategy MPS")),
        ),
        (
            "an unknown interval",
            sliced(json!({"interval": "1ms"})),
            Err(("sharing.timeSlicingConfig.interval", "'Default', 'Short', 'Medium' or 'Long'")),
        ),
        (
            "a field of the slices",
            sliced(json!({"intervall": "Default"})),
            Err(("sharing.timeSlicingConfig.intervall", "use 'interval'")),
        ),
        ("slices are a number", sliced(json!(3)), Err(("sharing.timeSlicingConfig", "got the number 3"))),
    ];
    for (name, value, wanted) in cases {
        match (resolve(DRIVER, &targets(&["a"]), &[claim(&[], value)]), wanted) {
            (Ok(settings), Ok(())) => assert_eq!(settings, [Settings::default()], "{name}"),
            (Err(error), Err((field, part))) => {
                let path = format!("opaque.parameters.{field}");
                assert_eq!(error.field, path.trim_end_matches('.'), "{name}: {error}");
                assert!(error.problem.contains(part), "{name}: {error}");
            }
            (got, wanted) => panic!("{name}: wanted {wanted:?}, got {got:?}"),
        }
    }
}

/// A text that is one of a kind's own words, or anything.
fn word() -> impl Strategy<Value = String> {
    let known = [
        OURS,
        NVIDIA,
        "GpuConfig",
        "MigDeviceConfig",
        "VfioDeviceConfig",
        "ComputeDomainChannelConfig",
        "apiVersion",
        "kind",
        "sharing",
        "strategy",
        "timeSlicingConfig",
        "mpsConfig",
        "interval",
        "TimeSlicing",
        "MPS",
        "Default",
        "Long",
    ];
    prop_oneof![8 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => any::<String>(), 1 => ".{60,200}"]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            4 => prop::collection::vec((word(), inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    /// Whatever a user writes, the answer is settings for each result, or an error that an Event can hold and that
    /// names a field of the parameters.
    #[test]
    fn any_parameters_are_settings_or_an_error(sharing in value(), whole in value(), within in any::<bool>()) {
        let parameters = if within {
            json!({"apiVersion": NVIDIA, "kind": "GpuConfig", "sharing": sharing})
        } else {
            whole
        };
        match resolve(DRIVER, &targets(&["a", "b/c"]), &[claim(&[], parameters)]) {
            Ok(settings) => prop_assert_eq!(settings.len(), 2),
            Err(error) => {
                prop_assert!(error.field.starts_with("opaque.parameters"), "{}", error);
                prop_assert!(error.to_string().chars().count() < 700, "{}", error);
            }
        }
    }
}
