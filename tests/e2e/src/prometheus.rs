//! A Prometheus that runs beside a test, and is asked through its HTTP API.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Duration, Instant, sleep};

use crate::api::GUARD;

/// How often something is looked at that is waited for: about as often as Prometheus scrapes.
const PACE: Duration = Duration::from_millis(250);

/// A series of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its labels, without the metric's name.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// A Prometheus. Dropping it ends it.
#[derive(Debug)]
pub struct Prometheus {
    address: String,
    folder: TempDir,
    child: Child,
}

impl Prometheus {
    /// Starts the Prometheus that the environment variable `PROMETHEUS` names, and waits until it is ready.
    pub async fn start(config: &Value) -> Self {
        let program = std::env::var_os("PROMETHEUS").expect("`cargo xtask prometheus` prints PROMETHEUS");
        let folder = TempDir::new().expect("make a folder for Prometheus");
        // JSON is YAML.
        fs_err::write(folder.path().join("prometheus.yaml"), config.to_string())
            .expect("write the configuration");
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("find a free port");
        let log = fs_err::File::create(folder.path().join("log")).expect("make Prometheus' log").into_file();
        let child = Command::new(program)
            .arg(format!("--config.file={}", folder.path().join("prometheus.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("start Prometheus");
        let mut started = Self { address: port.to_string(), folder, child };
        let end = Instant::now() + GUARD;
        while !started.is_ready().await {
            let ended = started.child.try_wait().expect("look whether Prometheus runs");
            assert!(ended.is_none() && Instant::now() < end, "Prometheus did not start:\n{}", started.log());
            sleep(PACE).await;
        }
        started
    }

    /// What it wrote until now.
    #[must_use]
    pub fn log(&self) -> String {
        fs_err::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    async fn is_ready(&self) -> bool {
        self.ask("GET /-/ready HTTP/1.0\r\n\r\n").await.is_ok_and(|answer| answer.starts_with("HTTP/1.0 200"))
    }

    async fn ask(&self, request: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&self.address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// Evaluates an expression now.
    ///
    /// # Panics
    /// When Prometheus refuses it.
    pub async fn query(&self, expression: &str) -> Vec<Sample> {
        let body = format!("query={}", escaped(expression));
        let request = format!(
            "POST /api/v1/query HTTP/1.0\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = self.ask(&request).await.expect("Prometheus answers");
        let (_, json) = answer.split_once("\r\n\r\n").expect("an answer has a head and a body");
        let json: Value =
            serde_json::from_str(json).unwrap_or_else(|e| panic!("{expression}: {e} in {answer}"));
        assert_eq!(json["status"], "success", "{expression}: {json}");
        let result = &json["data"]["result"];
        let number = |value: &Value| {
            let text = value[1].as_str().expect("a value is a text");
            text.parse().expect("Prometheus writes numbers as Rust reads them")
        };
        match json["data"]["resultType"].as_str() {
            Some("scalar") => vec![Sample { labels: BTreeMap::new(), value: number(result) }],
            Some("vector") => {
                let series = result.as_array().expect("a vector is a list").iter();
                series
                    .map(|one| Sample { labels: labels(&one["metric"]), value: number(&one["value"]) })
                    .collect()
            }
            _ => panic!("{expression} is neither a number nor a vector: {json}"),
        }
    }

    /// Evaluates an expression until its answer is as wanted, and returns that; after [`GUARD`] what it was last.
    ///
    /// # Errors
    /// The last answer was not as wanted.
    pub async fn until(
        &self,
        expression: &str,
        wanted: impl Fn(&[Sample]) -> bool,
    ) -> Result<Vec<Sample>, Vec<Sample>> {
        let end = Instant::now() + GUARD;
        loop {
            let answer = self.query(expression).await;
            if wanted(&answer) {
                return Ok(answer);
            }
            if Instant::now() > end {
                return Err(answer);
            }
            sleep(PACE).await;
        }
    }
}

fn labels(metric: &Value) -> BTreeMap<String, String> {
    let all = metric.as_object().into_iter().flatten().filter(|(name, _)| *name != "__name__");
    all.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// A text as a form's value has it.
fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}
