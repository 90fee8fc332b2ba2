//! Expressions of selectors, as people write them, and some that end in an error.

use super::dice::Dice;
use super::features::Features;
use super::words::{MODELS, PORTS, ROOTS, VERSIONS};

/// A device's attributes and capacity under its own driver's domain.
const OWN: &str = "device.attributes[device.driver]";
const CAPACITY: &str = "device.capacity[device.driver]";

/// An expression that is true for some devices. It fails on a device that lacks what it reads, in half of the cases.
pub(crate) fn sound(dice: &mut Dice, features: &Features) -> String {
    let model = *dice.pick(&MODELS);
    match dice.range(0, 17) {
        0..=2 => format!(r#"{OWN}.model == "{model}""#),
        3 => format!(r#"{OWN}.model in ["{model}", "b"]"#),
        4 => format!("{OWN}.numa == {}", dice.range(0, 1)),
        5 => format!("{OWN}.healthy"),
        6 => format!(r#"{OWN}.version.isGreaterThan(semver("{}"))"#, dice.pick(&VERSIONS)),
        7 => format!(r#"{OWN}.?model.orValue("a") != "{model}""#),
        8 => format!(r#""model" in {OWN} && {OWN}.model.matches("^[{model}b]$")"#),
        9 => format!("has({OWN}.index) && {OWN}.index % 2 == {}", dice.range(0, 1)),
        10 => format!(
            r#""memory" in {CAPACITY} && {CAPACITY}.memory.compareTo(quantity("{}Gi")) >= 0"#,
            [10, 40, 80][dice.range(0, 2)]
        ),
        11 => r#"device.driver.endsWith("example.com")"#.to_owned(),
        12 => format!(r#"cel.bind(own, {OWN}, own.numa < 2 && own.model != "{model}")"#),
        13 => format!(
            r#"device.attributes["resource.kubernetes.io"].?pcieRoot.orValue("none") != "{}""#,
            dice.pick(&ROOTS)
        ),
        14 => format!(r#"["{model}", "c"].exists(m, {OWN}.model == m)"#),
        15 => format!(r#"{OWN}.version.compareTo(semver("2.0.0")) <= 0 || {OWN}.healthy"#),
        16 if features.lists() => {
            format!(r#""ports" in {OWN} && {OWN}.ports.includes("{}")"#, dice.pick(&PORTS))
        }
        17 if features.have("ConsumableCapacity") => {
            ["device.allowMultipleAllocations", "!device.allowMultipleAllocations"][dice.range(0, 1)]
                .to_owned()
        }
        _ => format!(r#"device.driver != "nic.example.com" || {OWN}.model != "{model}""#),
    }
}

/// An expression that is true for most devices.
pub(crate) fn lenient(dice: &mut Dice) -> String {
    let model = *dice.pick(&MODELS);
    match dice.range(0, 5) {
        0 => format!(r#"{OWN}.model != "{model}""#),
        1 => format!(r#"{OWN}.model in ["a", "b", "{model}"]"#),
        2 => format!(r#"{OWN}.healthy || {OWN}.numa == 0"#),
        3 => format!(r#"{OWN}.version.isLessThan(semver("3.0.0"))"#),
        4 => format!(r#"{OWN}.?index.orValue(0) < 5"#),
        _ => format!(r#"{OWN}.model.matches("^[a{model}]$")"#),
    }
}

/// One that does not compile, or fails on some devices.
pub(crate) fn broken(dice: &mut Dice) -> String {
    match dice.range(0, 9) {
        0 => format!("{OWN}.nothing == 1"),
        1 => "device.nothing".to_owned(),
        2 => format!("{OWN}.model"),
        3 => "device.driver".to_owned(),
        4 => format!("1 / {OWN}.numa == 1"),
        5 => format!("{OWN}.model > 5"),
        6 => "device.driver == ".to_owned(),
        7 => format!(r#"{OWN}.version.isLessThan(semver("not one"))"#),
        8 => r#"device.attributes["nic.example.com"].model == "a""#.to_owned(),
        _ => format!(r#"{CAPACITY}.memory.isGreaterThan(quantity("1Gi"))"#),
    }
}
