//! What is kept of a claim on disk, and how it is written.
//!
//! Two lines of JSON: what the second one is (schema and SHA-256 of its bytes), and the record. The checksum is
//! over the bytes as they are, never over what a program makes of them, so that a field more or less in a later
//! version does not make it wrong.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::allocation::{Access, hex};
use super::plan::Plan;
use super::{ClaimRef, PreparedDevice};
use crate::node::Epoch;

/// The schema that this version writes. It grows when an older version would misread a record.
pub const SCHEMA: u32 = 1;

/// What is kept of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The claim.
    pub claim: ClaimRef,
    /// The pods that might use it when it was prepared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<String>,
    /// The hash of its allocation.
    pub hash: String,
    /// What it holds for.
    pub epoch: Epoch,
    /// When the claim's preparation began.
    pub since: Timestamp,
    /// The same in milliseconds since the machine started, which no setting of the clock changes. 0 if the claim
    /// was prepared before, and only its record was lost.
    pub uptime_ms: u64,
    /// What is to be, or was, done.
    pub plan: Plan,
    /// How far it is.
    pub stage: Stage,
}

/// How far a claim is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// The plan is being carried out; any part of it may be done.
    Intent,
    /// The plan is carried out.
    Done {
        /// What the kubelet was told, or would have been.
        answer: Vec<PreparedDevice>,
    },
    /// The plan is being undone; any part of it may be left.
    Undoing,
    /// The claim was over, and its devices went to other claims before it was unprepared. Nothing is left of it.
    Tombstone,
}

impl Stage {
    /// The word for it, for people.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Intent => "preparing",
            Self::Done { .. } => "prepared",
            Self::Undoing => "unpreparing",
            Self::Tombstone => "taken over",
        }
    }
}

/// What a record's file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A record.
    Record(Box<Record>),
    /// A record of a newer schema.
    Newer(Newer),
    /// No record.
    Broken(Broken),
}

/// What can be read of a record of a newer schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newer {
    /// Its schema.
    pub schema: u32,
    /// The claim.
    pub claim: Option<ClaimRef>,
    /// The hash of its allocation.
    pub hash: Option<String>,
    /// The devices.
    pub devices: Vec<(String, Access)>,
    /// What the kubelet was told.
    pub answer: Option<Vec<PreparedDevice>>,
}

/// A file that is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// What is wrong with it.
    pub reason: String,
    /// The claim, where that can still be read. It is checked against the API server before it counts.
    pub claim: Option<ClaimRef>,
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    schema: u32,
    #[serde(default)]
    sha256: String,
}

impl Record {
    /// The record as it is written.
    ///
    /// # Errors
    /// None that a record can cause; the writer of JSON says so in its type.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let body = serde_json::to_vec(self)?;
        let mut bytes = serde_json::to_vec(&Head { schema: SCHEMA, sha256: hex(&Sha256::digest(&body)) })?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&body);
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The devices with the ways in which the claim has them.
    pub fn devices(&self) -> impl Iterator<Item = (&str, Access)> {
        self.plan.devices.iter().map(|planned| (planned.device.as_str(), planned.access))
    }
}

/// Reads the content of a record's file.
#[must_use]
pub fn decode(bytes: &[u8]) -> Decoded {
    let broken = |reason: String| Decoded::Broken(Broken { reason, claim: salvaged(bytes) });
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let head: Head = match serde_json::from_slice(lines.next().unwrap_or_default()) {
        Ok(head) => head,
        Err(error) => return broken(format!("its first line cannot be read: {error}")),
    };
    let body = lines.next().unwrap_or_default();
    let Some(body) = body.strip_suffix(b"\n") else {
        return broken("its end is missing".to_owned());
    };
    if head.sha256 != hex(&Sha256::digest(body)) {
        return broken("its content does not match its checksum".to_owned());
    }
    if head.schema == 0 {
        return broken("there is no schema 0".to_owned());
    }
    if head.schema > SCHEMA {
        return Decoded::Newer(newer(head.schema, body));
    }
    match serde_json::from_slice(body) {
        Ok(record) => Decoded::Record(Box::new(record)),
        Err(error) => broken(format!("its content cannot be read: {error}")),
    }
}

/// What later schemas will not change: where claim, hash, devices and answer stand.
fn newer(schema: u32, body: &[u8]) -> Newer {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let devices = value["plan"]["devices"].as_array();
    let device = |planned: &Value| {
        let access = serde_json::from_value(planned["access"].clone()).unwrap_or(Access::Exclusive);
        Some((planned["device"].as_str()?.to_owned(), access))
    };
    Newer {
        schema,
        claim: serde_json::from_value(value["claim"].clone()).ok(),
        hash: value["hash"].as_str().map(ToOwned::to_owned),
        devices: devices.into_iter().flatten().filter_map(device).collect(),
        answer: serde_json::from_value(value["stage"]["done"]["answer"].clone()).ok(),
    }
}

fn salvaged(bytes: &[u8]) -> Option<ClaimRef> {
    let body = bytes.split(|byte| *byte == b'\n').nth(1)?;
    let mut value: Value = serde_json::from_slice(body).ok()?;
    serde_json::from_value(value["claim"].take()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::plan::PlannedDevice;
    use crate::config::Settings;

    /// The second line of a record of schema 1. It has to be readable for ever.
    const WRITTEN: &str = concat!(
        "{\"claim\":{\"namespace\":\"ns\",\"name\":\"c\",\"uid\":\"u\"},\"pods\":[\"p\"],\"hash\":\"h\",",
        "\"epoch\":{\"bootId\":\"b\",\"driverVersion\":\"550.163.01\"},\"since\":\"1970-01-01T00:00:00Z\",",
        "\"uptimeMs\":7,\"plan\":{\"devices\":[{\"device\":\"gpu-a\",\"pool\":\"n/gpu\",\"requests\":[\"r\"],",
        "\"uuid\":\"GPU-1\",\"minor\":3,\"access\":\"exclusive\",\"settings\":SETTINGS}]},\"stage\":{\"done\":{",
        "\"answer\":[{\"requests\":[\"r\"],\"pool\":\"n/gpu\",\"device\":\"gpu-a\",\"cdiIds\":[\"i\"]}]}}}",
    );

    fn record() -> Record {
        Record {
            claim: ClaimRef { namespace: "ns".to_owned(), name: "c".to_owned(), uid: "u".to_owned() },
            pods: vec!["p".to_owned()],
            hash: "h".to_owned(),
            epoch: Epoch { boot_id: "b".to_owned(), driver_version: Some("550.163.01".to_owned()) },
            since: Timestamp::UNIX_EPOCH,
            uptime_ms: 7,
            plan: Plan {
                devices: vec![PlannedDevice {
                    device: "gpu-a".to_owned(),
                    pool: "n/gpu".to_owned(),
                    requests: vec!["r".to_owned()],
                    uuid: "GPU-1".to_owned(),
                    minor: 3,
                    access: Access::Exclusive,
                    share_id: None,
                    tolerated: Vec::new(),
                    settings: Settings::default(),
                }],
            },
            stage: Stage::Done {
                answer: vec![PreparedDevice {
                    requests: vec!["r".to_owned()],
                    pool: "n/gpu".to_owned(),
                    device: "gpu-a".to_owned(),
                    cdi_ids: vec!["i".to_owned()],
                    share_id: None,
                }],
            },
        }
    }

    /// The body in an envelope of this schema.
    fn sealed(schema: u32, body: &str) -> Vec<u8> {
        let sha256 = hex(&Sha256::digest(body));
        format!("{{\"schema\":{schema},\"sha256\":\"{sha256}\"}}\n{body}\n").into_bytes()
    }

    fn body() -> String {
        String::from_utf8(record().encode().unwrap()).unwrap().lines().nth(1).unwrap().to_owned()
    }

    #[test]
    fn what_is_written_can_be_read() {
        assert_eq!(decode(&record().encode().unwrap()), Decoded::Record(Box::new(record())));
        for stage in [Stage::Intent, Stage::Undoing, Stage::Tombstone] {
            let record = Record { stage, ..record() };
            assert_eq!(decode(&record.encode().unwrap()), Decoded::Record(Box::new(record)));
        }
    }

    #[test]
    fn the_form_on_disk_does_not_change() {
        let settings = serde_json::to_string(&Settings::default()).unwrap();
        let written = WRITTEN.replace("SETTINGS", &settings);
        assert_eq!(body(), written);
        assert_eq!(decode(&sealed(1, &written)), Decoded::Record(Box::new(record())));
    }

    #[test]
    fn fields_of_later_versions_are_passed_over() {
        let longer = body().replacen('{', "{\"later\":[1],", 1);
        assert_eq!(decode(&sealed(1, &longer)), Decoded::Record(Box::new(record())));
    }

    #[test]
    fn a_newer_schema_is_answered_from() {
        let longer = body().replace("\"access\":\"exclusive\"", "\"access\":\"exclusive\",\"new\":{}");
        let Decoded::Newer(newer) = decode(&sealed(2, &longer)) else { panic!("not newer") };
        let Stage::Done { answer } = record().stage else { panic!("not done") };
        assert_eq!(newer.schema, 2);
        assert_eq!(newer.claim, Some(record().claim));
        assert_eq!(newer.hash.as_deref(), Some("h"));
        assert_eq!(newer.devices, [("gpu-a".to_owned(), Access::Exclusive)]);
        assert_eq!(newer.answer, Some(answer));
        let Decoded::Newer(strange) = decode(&sealed(9, "[]")) else { panic!("not newer") };
        assert_eq!((strange.claim, strange.answer, strange.devices), (None, None, vec![]));
    }

    #[test]
    fn any_damage_is_noticed() {
        let whole = record().encode().unwrap();
        for length in 0..whole.len() {
            assert!(matches!(decode(&whole[..length]), Decoded::Broken(_)), "cut to {length}");
        }
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 1;
            assert!(matches!(decode(&damaged), Decoded::Broken(_)), "changed at {place}");
        }
    }

    #[test]
    fn of_a_broken_record_the_claim_may_still_be_read() {
        let wrong = String::from_utf8(record().encode().unwrap())
            .unwrap()
            .replace("\"hash\":\"h\"", "\"hash\":\"x\"");
        let Decoded::Broken(broken) = decode(wrong.as_bytes()) else { panic!("not broken") };
        assert_eq!(broken.claim, Some(record().claim));
        assert!(broken.reason.contains("checksum"), "{}", broken.reason);
        for bytes in [&b""[..], b"\n", b"\n{\"claim\":3}\n", b"{}\n{}\n", b"\xff\n\xff\n"] {
            let Decoded::Broken(broken) = decode(bytes) else { panic!("not broken: {bytes:?}") };
            assert_eq!(broken.claim, None);
        }
    }
}
