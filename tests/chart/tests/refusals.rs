//! What the chart refuses, and how it says so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use chart::helm::{render, render_for};

#[test]
fn mistakes_are_refused_with_the_place_and_the_reason() {
    for (mistake, arguments, message) in [
        (
            "a key with a typing error",
            "driver.nmae=x",
            "at '/driver': additional properties 'nmae' not allowed",
        ),
        (
            "a key of another chart",
            "nvidiaCDIHookPath=/x",
            "at '': additional properties 'nvidiaCDIHookPath' not allowed",
        ),
        ("capitals in the name", "driver.name=GPU", "at '/driver/name': 'GPU' does not match pattern"),
        (
            "a slash in the name",
            "driver.name=nvidia.com/gpu",
            "at '/driver/name': 'nvidia.com/gpu' does not match pattern",
        ),
        ("a digit first", "driver.name=1gpu", "at '/driver/name': '1gpu' does not match pattern"),
        ("an empty part", "driver.name=gpu..com", "at '/driver/name': 'gpu..com' does not match pattern"),
        ("a name of one letter", "driver.name=g", "at '/driver/name': minLength: got 1, want 2"),
        ("a number as the name", "driver.name=17", "at '/driver/name': got number, want string"),
        ("yes for true", "driver.enableCPU=yes", "at '/driver/enableCPU': got string, want boolean"),
        ("nothing at all", "driver.enableGPU=false", "set driver.enableGPU=true"),
        (
            "a policy that is none",
            "image.pullPolicy=Sometimes",
            "at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'",
        ),
        (
            "a digest without its kind",
            "image.digest=abc",
            "at '/image/digest': 'abc' does not match pattern '^(sha256:[0-9a-f]{64})?$'",
        ),
        (
            "a tag with the repository",
            "image.tag=dra-driver:1",
            "at '/image/tag': 'dra-driver:1' does not match pattern",
        ),
        (
            "a secret that is only a name",
            "imagePullSecrets={harbor}",
            "at '/imagePullSecrets/0': got string, want object",
        ),
        (
            "a relative path",
            "nvidiaDriverRoot=run/nvidia",
            "at '/nvidiaDriverRoot': 'run/nvidia' does not match pattern",
        ),
        (
            "a time without a unit",
            "uninstall.timeout=300",
            "at '/uninstall/timeout': got number, want string",
        ),
        (
            "a time that is none",
            "kubeletPlugin.gpuTimeout=soon",
            "at '/kubeletPlugin/gpuTimeout': 'soon' does not match pattern",
        ),
        (
            "a label with its value",
            "kubeletPlugin.yield.label=example.com/gpu-driver=false",
            "at '/kubeletPlugin/yield/label': 'example.com/gpu-driver=false' does not match pattern",
        ),
        (
            "too patient",
            "webhook.timeoutSeconds=60",
            "at '/webhook/timeoutSeconds': maximum: got 60, want 30",
        ),
        (
            "a typing error in the controller's values",
            "controller.replica=2",
            "at '/controller': additional properties 'replica' not allowed",
        ),
        (
            "no controller of one",
            "controller.replicas=0",
            "at '/controller/replicas': minimum: got 0, want 1",
        ),
        (
            "a patience without a unit",
            "controller.explainAfter=10",
            "at '/controller/explainAfter': got number, want string",
        ),
        (
            "a limit below nothing",
            "controller.claimInfoLimit=-1",
            "at '/controller/claimInfoLimit': minimum: got -1, want 0",
        ),
        (
            "a switch that is a section",
            "controller.translation=false",
            "at '/controller/translation': got boolean, want object",
        ),
        (
            "a typing error below it",
            "controller.translation.enable=false",
            "at '/controller/translation': additional properties 'enable' not allowed",
        ),
        (
            "a class that can be none",
            "controller.deviceClasses={GPUs}",
            "at '/controller/deviceClasses/0': 'GPUs' does not match pattern",
        ),
        (
            "a toleration that is a word",
            "kubeletPlugin.tolerations=all",
            "at '/kubeletPlugin/tolerations': got string, want array",
        ),
        (
            "an operator that is none",
            "kubeletPlugin.tolerations[0].operator=exists",
            "at '/kubeletPlugin/tolerations/0/operator': value must be one of",
        ),
        (
            "a resource without a domain",
            "deviceClasses.gpu.extendedResourceName=gpu",
            "at '/deviceClasses/gpu/extendedResourceName': 'gpu' does not match pattern",
        ),
        (
            "a resource of no class",
            "deviceClasses.gpu.create=false,deviceClasses.gpu.extendedResourceName=nvidia.com/gpu",
            "set deviceClasses.gpu.create=true",
        ),
        (
            "two classes of one name",
            "deviceClasses.alias.name=gpu.eks-hybrid-dra",
            "choose another, or set deviceClasses.alias.create=false",
        ),
    ] {
        let error = render(&["--set", arguments]).expect_err(mistake).to_string();
        assert!(error.contains(message), "{mistake}: {error:?} should contain {message:?}");
    }
}

#[test]
fn names_that_the_plugin_takes_are_taken() {
    for name in ["eks-hybrid-dra", "gpu.nvidia.com", "a1", "x--y.z9", &"a".repeat(63)] {
        render(&["--set", &format!("driver.name={name}")]).unwrap();
    }
    let error = render(&["--set", &format!("driver.name={}", "a".repeat(64))]).unwrap_err().to_string();
    assert!(error.contains("at '/driver/name': maxLength: got 64, want 63"), "{error}");
}

#[test]
fn a_cluster_before_1_34_is_refused() {
    let error = render_for("1.33.9", &[]).unwrap_err().to_string();
    assert!(error.contains("requires kubeVersion: >=1.34.0-0"), "{error}");
    // As EKS has it.
    render_for("1.34.1-eks-ac2d5a0", &[]).unwrap();
}
