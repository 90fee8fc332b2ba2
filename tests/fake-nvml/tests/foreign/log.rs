//! The log that `nvidia-smi -q` prints, as data.

use std::collections::BTreeMap;

/// The fields of one GPU: "FB Memory Usage/Total" and the like, with what is printed for them.
pub(crate) type Fields = BTreeMap<String, String>;

/// Reads the log: what stands above the first GPU, and the GPUs.
pub(crate) fn read(log: &str) -> (Fields, Vec<Fields>) {
    let mut general = Fields::new();
    let mut gpus: Vec<Fields> = Vec::new();
    let mut sections: Vec<&str> = Vec::new();
    for line in log.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("====")) {
        let depth = (line.len() - line.trim_start().len()) / 4;
        let (name, value) = line.split_once(" : ").map_or((line, None), |(name, value)| (name, Some(value)));
        let name = name.trim();
        if depth == 0 && line.starts_with("GPU ") {
            gpus.push(Fields::new());
            sections.clear();
            continue;
        }
        let base = usize::from(!gpus.is_empty());
        sections.truncate(depth.saturating_sub(base));
        let path = sections.iter().chain([&name]).copied().collect::<Vec<_>>().join("/");
        if let Some(value) = value {
            let fields = gpus.last_mut().unwrap_or(&mut general);
            let before = fields.insert(path.clone(), value.trim().to_owned());
            assert!(before.is_none(), "{path} is printed twice");
        }
        sections.push(name);
    }
    (general, gpus)
}

#[test]
fn a_log_is_read_by_its_indentation() {
    let log = "\n==============NVSMI LOG==============\n\nCUDA Version    : 12.4\n\nGPU 00000000:1B:00.0\n    \
               Serial Number  : 165\n    PCI\n        Bus Id   : 00000000:1B:00.0\n        GPU Link Info\n            \
               Link Width\n                Max  : 16x\n        Replays  : 0\n    Fan Speed : N/A\n\
               GPU 00000000:43:00.0\n    Serial Number  : 166\n";
    let (general, gpus) = read(log);
    let fields = |pairs: &[(&str, &str)]| -> Fields {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(general, fields(&[("CUDA Version", "12.4")]));
    assert_eq!(
        gpus,
        [
            fields(&[
                ("Serial Number", "165"),
                ("PCI/Bus Id", "00000000:1B:00.0"),
                ("PCI/GPU Link Info/Link Width/Max", "16x"),
                ("PCI/Replays", "0"),
                ("Fan Speed", "N/A"),
            ]),
            fields(&[("Serial Number", "166")]),
        ]
    );
}
