//! Classes and claims.

use serde_json::{Value, json};

use super::dice::Dice;
use super::expressions;
use super::features::Features;
use super::hgx;
use super::profile::Profile;
use super::room;
use super::words::{ATTRIBUTES, CLASSES, DRIVERS, ROOT, TAINT_KEYS};

/// The classes of a case.
pub(crate) fn classes(dice: &mut Dice, profile: &Profile, features: &Features) -> Vec<Value> {
    let mut classes = Vec::new();
    let selectors: [(&str, &[&str]); 4] = [
        (CLASSES[0], &[]),
        (CLASSES[1], &[r#"device.driver.startsWith("gpu.")"#]),
        (CLASSES[2], &[r#"device.attributes[device.driver].?healthy.orValue(true)"#]),
        (CLASSES[3], &[r#"device.driver == "nic.example.com" || device.driver == "gpu.example.com""#]),
    ];
    for (name, expressions) in selectors {
        let mut selectors: Vec<Value> = expressions.iter().map(|expression| selector(expression)).collect();
        if dice.chance(8) {
            selectors.push(selector(&expressions::sound(dice, features)));
        }
        if dice.chance(profile.errors) {
            selectors.push(selector(&expressions::broken(dice)));
        }
        classes.push(class(dice, name, &selectors));
    }
    if profile.hgx > 0 {
        for kind in ["gpu", "mig"] {
            let expression = format!(
                r#"device.driver == "{0}" && device.attributes["{0}"].type == "{kind}""#,
                hgx::DRIVER
            );
            classes.push(class(dice, &format!("{kind}.nvidia.com"), &[selector(&expression)]));
        }
    }
    classes
}

fn class(dice: &mut Dice, name: &str, selectors: &[Value]) -> Value {
    let mut class = json!({"metadata": {"name": name}, "spec": {}});
    if !selectors.is_empty() {
        class["spec"]["selectors"] = json!(selectors);
    }
    if dice.chance(35) {
        class["spec"]["config"] =
            (0..dice.range(1, 2)).map(|_| json!({"opaque": parameters(dice)})).collect();
    }
    class
}

fn selector(expression: &str) -> Value {
    json!({"cel": {"expression": expression}})
}

fn parameters(dice: &mut Dice) -> Value {
    let parameters =
        json!({"kind": "GpuConfig", "sharing": dice.pick(&["MPS", "TimeSlicing"]), "a": [], "b": null});
    json!({"driver": dice.pick(&DRIVERS), "parameters": parameters})
}

/// The claims of a case.
///
/// Where GPUs are `partitioned`, requests may ask for partitions.
pub(crate) fn claims(
    dice: &mut Dice,
    profile: &Profile,
    features: &Features,
    partitioned: bool,
) -> Vec<Value> {
    let many = dice.range(profile.claims.0, profile.claims.1);
    (0..many)
        .map(|number| {
            Maker { profile, features, partitioned, tangled: dice.chance(profile.tangle) }
                .claim(dice, number, many)
        })
        .collect()
}

#[derive(Debug)]
struct Maker<'a> {
    profile: &'a Profile,
    features: &'a Features,
    partitioned: bool,
    /// Requests want parts of what the ones before them take.
    tangled: bool,
}

impl Maker<'_> {
    fn claim(&self, dice: &mut Dice, number: usize, of: usize) -> Value {
        // Upstream's time grows with the power of what all claims ask for together.
        let most = if of > 1 && !dice.chance(4) { 2 } else { self.profile.requests.1 };
        let many = dice.range(self.profile.requests.0.min(most), most);
        let mut requests: Vec<Value> = (0..many).map(|at| self.request(dice, at, many)).collect();
        if dice.chance(2) {
            requests.reverse();
        }
        let mut devices = json!({"requests": requests});
        if dice.chance(self.profile.constraints) {
            devices["constraints"] =
                (0..dice.range(1, 2)).map(|_| self.constraint(dice, &requests)).collect();
        }
        if dice.chance(25) {
            devices["config"] = (0..dice.range(1, 2)).map(|_| config(dice, &requests)).collect();
        }
        json!({
            "metadata": {"name": format!("claim-{number}"), "namespace": "default", "uid": format!("uid-{number}")},
            "spec": {"devices": devices},
        })
    }

    fn request(&self, dice: &mut Dice, at: usize, of: usize) -> Value {
        let name = format!("r{at}");
        if dice.chance(self.profile.alternatives) {
            let many = dice.range(1, 4);
            let alternatives = (0..many).map(|number| {
                let mut alternative = self.wanted(dice, at, of);
                alternative["name"] = json!(format!("s{number}"));
                alternative
            });
            let alternatives: Vec<Value> = alternatives.collect();
            return json!({"name": name, "firstAvailable": alternatives});
        }
        let mut exactly = self.wanted(dice, at, of);
        if dice.chance(self.profile.admin) {
            exactly["adminAccess"] = json!(dice.chance(85));
        }
        json!({"name": name, "exactly": exactly})
    }

    /// What a request and an alternative have in common.
    fn wanted(&self, dice: &mut Dice, at: usize, of: usize) -> Value {
        let mut wanted = if dice.chance(self.profile.all) {
            json!({"allocationMode": "All"})
        } else {
            let count = if dice.chance(60) { 1 } else { dice.range(1, self.profile.count) };
            json!({"allocationMode": "ExactCount", "count": count})
        };
        if dice.chance(self.profile.errors) {
            match dice.range(0, 4) {
                0 => wanted["count"] = json!(40),
                1 => wanted["allocationMode"] = json!("Some"),
                _ => {}
            }
        }
        if self.profile.hgx > 0 {
            self.wanted_of_hgx(dice, &mut wanted);
        } else if self.profile.room {
            room::wanted(dice, at, &mut wanted);
        } else {
            wanted["deviceClassName"] = json!(dice.pick(&["any", "any", "any", "gpu", "good", "nic"]));
            // The first requests of a tangle take anything, the last ones want what those have taken.
            let is_picky = if self.tangled {
                at + 1 == of || dice.chance(20)
            } else {
                dice.chance(self.profile.selectors)
            };
            let mut selectors = Vec::new();
            if is_picky {
                selectors.extend((0..self.selectors(dice)).map(|_| selector(&self.expression(dice))));
            }
            if dice.chance(self.profile.errors) {
                selectors.push(selector(&expressions::broken(dice)));
            }
            if !selectors.is_empty() {
                wanted["selectors"] = json!(selectors);
            }
        }
        if dice.chance(self.profile.errors / 2) {
            wanted["deviceClassName"] = json!(dice.pick(&["missing", ""]));
        }
        if dice.chance(self.profile.taints) {
            wanted["tolerations"] = (0..dice.range(1, 2)).map(|_| toleration(dice)).collect();
        }
        if self.profile.shared > 0 && dice.chance(self.profile.shared / 2 + 5) {
            wanted["capacity"] = json!({"requests": capacity(dice)});
        }
        wanted
    }

    fn selectors(&self, dice: &mut Dice) -> usize {
        if self.profile.plenty { 1 } else { dice.range(1, 2) }
    }

    fn expression(&self, dice: &mut Dice) -> String {
        if self.profile.plenty && dice.chance(60) {
            expressions::lenient(dice)
        } else {
            expressions::sound(dice, self.features)
        }
    }

    fn wanted_of_hgx(&self, dice: &mut Dice, wanted: &mut Value) {
        if self.partitioned && dice.chance(75) {
            wanted["deviceClassName"] = json!("mig.nvidia.com");
            let profile = dice.pick(&hgx::PARTITIONS).0;
            let expression = match dice.range(0, 5) {
                0 => {
                    r#"device.capacity["gpu.nvidia.com"].memory.compareTo(quantity("20Gi")) >= 0"#.to_owned()
                }
                1 => r#"device.attributes["gpu.nvidia.com"].profile.startsWith("1g.")"#.to_owned(),
                _ => format!(r#"device.attributes["gpu.nvidia.com"].profile == "{profile}""#),
            };
            wanted["selectors"] = json!([selector(&expression)]);
        } else {
            wanted["deviceClassName"] = json!(dice.pick(&["gpu.nvidia.com", "gpu.nvidia.com", "any"]));
            if dice.chance(30) {
                let expression = match dice.range(0, 2) {
                    0 => r#"device.attributes["gpu.nvidia.com"].productName.contains("H100")"#,
                    1 => r#"device.attributes["gpu.nvidia.com"].numa == 1"#,
                    _ => {
                        r#"device.attributes["gpu.nvidia.com"].driverVersion.isGreaterThan(semver("550.0.0"))"#
                    }
                };
                wanted["selectors"] = json!([selector(expression)]);
            }
        }
    }

    fn constraint(&self, dice: &mut Dice, requests: &[Value]) -> Value {
        if dice.chance(self.profile.errors / 2) {
            return json!({"requests": []});
        }
        let driver = if self.profile.hgx > 0 {
            hgx::DRIVER
        } else if dice.chance(75) {
            DRIVERS[0]
        } else {
            *dice.pick(&DRIVERS)
        };
        let names: &[&str] = if self.profile.hgx > 0 {
            &["numa", "productName", "productName", "architecture", "parentUUID"]
        } else {
            &ATTRIBUTES
        };
        let attribute = match dice.range(0, 9) {
            0 | 1 => ROOT.to_owned(),
            2 | 3 if self.features.lists() => format!("{driver}/{}", dice.pick(&["ports", "ports", "lanes"])),
            _ => format!("{driver}/{}", dice.pick(names)),
        };
        let is_match = dice.chance(65);
        let mut constraint = if is_match {
            json!({"matchAttribute": attribute})
        } else {
            json!({"distinctAttribute": attribute})
        };
        if dice.chance(40) {
            constraint["requests"] = json!(some_requests(dice, requests));
        }
        constraint
    }
}

fn toleration(dice: &mut Dice) -> Value {
    let mut toleration = match dice.range(0, 4) {
        0 => json!({"operator": "Exists"}),
        1 | 2 => json!({"operator": "Exists", "key": dice.pick(&TAINT_KEYS)}),
        3 => json!({"operator": "Equal", "key": dice.pick(&TAINT_KEYS), "value": dice.pick(&["yes", "no"])}),
        _ => json!({"key": dice.pick(&TAINT_KEYS), "value": "yes", "operator": "Equal"}),
    };
    if dice.chance(45) {
        toleration["effect"] = json!(dice.pick(&["NoSchedule", "NoExecute", "NoExecute", "None"]));
    }
    toleration
}

fn capacity(dice: &mut Dice) -> Value {
    let memory =
        dice.pick(&["1Gi", "4Gi", "5Gi", "7Gi", "10Gi", "12Gi", "20Gi", "30Gi", "41Gi", "1500m", "7e9"]);
    let mut requests = json!({"memory": memory});
    match dice.range(0, 9) {
        0 => requests["bandwidth"] = json!(dice.pick(&["1G", "300M", "0"])),
        1 => requests = json!({"bandwidth": dice.pick(&["1G", "2.5G"])}),
        2 => requests = json!({}),
        _ => {}
    }
    requests
}

fn config(dice: &mut Dice, requests: &[Value]) -> Value {
    let mut config = json!({"opaque": parameters(dice)});
    if dice.chance(70) {
        config["requests"] = json!(some_requests(dice, requests));
    }
    config
}

/// Names of requests and of alternatives.
fn some_requests(dice: &mut Dice, requests: &[Value]) -> Vec<String> {
    let mut names = Vec::new();
    for request in requests {
        let name = request["name"].as_str().unwrap_or_default();
        if dice.chance(55) {
            names.push(name.to_owned());
        }
        for alternative in request["firstAvailable"].as_array().into_iter().flatten() {
            if dice.chance(30) {
                names.push(format!("{name}/{}", alternative["name"].as_str().unwrap_or_default()));
            }
        }
    }
    if names.is_empty() {
        names.extend(requests.first().and_then(|request| request["name"].as_str()).map(str::to_owned));
    }
    names
}
