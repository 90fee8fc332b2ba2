//! Documents of odd shapes.

use serde_json::json;

use super::{Converted, convert};

const DRIVER: &str = "eks-hybrid-dra";

fn converted(text: &str) -> Converted {
    convert(text, DRIVER).unwrap_or_else(|errors| panic!("{errors:#?} of\n{text}"))
}

fn warnings(converted: &Converted) -> Vec<String> {
    converted.warnings.iter().map(ToString::to_string).collect()
}

fn errors(text: &str) -> Vec<String> {
    convert(text, DRIVER).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn a_claim_of_a_pod_names_one_thing() {
    let pod = |claim: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {{resourceClaims: [{{name: a, {claim}}}]}}\n"
        )
    };
    for (claim, expected) in [
        ("source: {}", "it names no claim and no template"),
        ("source: null", "it names no claim and no template"),
        ("source: mine", "it is no object"),
        (
            "source: {resourceClaimName: mine, resourceClaimTemplateName: ours}",
            "it names a claim and a template",
        ),
        (
            "resourceClaimTemplateName: ours, source: {resourceClaimName: mine}",
            "it names a claim and a template",
        ),
    ] {
        let told = errors(&pod(claim));
        let [told] = told.as_slice() else { panic!("{claim}: {told:?}") };
        assert!(
            told.starts_with(&format!("Pod p, spec.resourceClaims[0].source: {expected}. Write ")),
            "{claim}: {told}"
        );
    }
    for claim in [
        "source: null, resourceClaimName: mine",
        "resourceClaimName: mine, source: {resourceClaimName: mine}",
    ] {
        let converted = converted(&pod(claim));
        let claims = &converted.values().next().unwrap()["spec"]["resourceClaims"];
        assert_eq!(*claims, json!([{"name": "a", "resourceClaimName": "mine"}]), "{claim}");
    }
}

#[test]
fn tolerations_are_warned_of_where_none_of_them_does() {
    for (tolerations, is_told) in [
        ("{key: nvidia.com/gpu, operator: Equal, value: 'true', effect: NoSchedule}", true),
        ("{key: nvidia.com/gpu, value: 'true'}", true),
        ("{key: nvidia.com/gpu}", true),
        (
            "{key: nvidia.com/gpu, value: 'true'}, {key: nvidia.com/gpu, operator: Exists, effect: NoExecute}",
            true,
        ),
        ("{key: nvidia.com/gpu, value: 'true'}, {key: other, operator: Exists}", true),
        ("{key: nvidia.com/gpu, value: 'true'}, {operator: Exists}", false),
        (
            "{key: nvidia.com/gpu, value: 'true'}, {key: nvidia.com/gpu, value: present, effect: NoSchedule}",
            false,
        ),
        ("{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}", false),
        ("{key: other, value: 'true'}", false),
    ] {
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {{tolerations: [{tolerations}]}}\n"
        );
        let told = warnings(&converted(&pod));
        assert_eq!(told.len(), usize::from(is_told), "{tolerations}: {told:?}");
    }
}

#[test]
fn lists_of_a_kind_and_streams_of_json_are_read() {
    let config = json!({"metadata": {"name": "p", "namespace": "n"}, "data": {"gpu-count": "2"}});
    let list = json!({"apiVersion": "v1", "kind": "ConfigMapList", "items": [config]});
    let claim = json!({
        "apiVersion": "resource.k8s.io/v1alpha2", "kind": "ResourceClaim", "metadata": {"name": "c", "namespace": "n"},
        "spec": {"resourceClassName": "g", "parametersRef": {"name": "p"}},
    });
    for text in
        [format!("{list}{claim}"), format!("{list:#}\n\n{claim:#}\n"), format!("{list}\n---\n{claim}\n")]
    {
        let converted = converted(&text);
        let [first, second] = converted.values().collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert_eq!(*first, list, "it needs no change");
        assert_eq!(second["spec"]["devices"]["requests"][0]["exactly"]["count"], 2);
        let again = convert(&converted.yaml().unwrap(), DRIVER).unwrap();
        assert_eq!(again.values().collect::<Vec<_>>(), [first, second]);
    }
    let pod = "{\"apiVersion\": \"v1\", \"kind\": \"Pod\"}";
    let told = errors(&format!("{pod}\n{pod}\n{{\"kind\": "));
    assert!(told[0].starts_with("the document at line "), "{told:?}");
    let unnamed = "{\"apiVersion\": \"resource.k8s.io/v1beta1\", \"kind\": \"ResourceSlice\"}";
    let told = warnings(&converted(&format!("{pod}\n\n{unnamed}\n")));
    assert!(told[0].starts_with("ResourceSlice at line 3, kind: drivers write ResourceSlices"), "{told:?}");
}
