//! HTTP load from `wrk`: a C program that costs a fraction of what it measures. The report's ceiling shows what it
//! reaches when the service has nothing to do.

use std::{fs, process::Command};

use anyhow::{Context, ensure};
use birbnest_e2e::servers::{fresh_directory, program};
use serde::Deserialize;

use crate::{Settings, measure::Run};

/// The requests are made before the clock starts; `done` prints what wrk itself only rounds.
const TEMPLATE: &str = r#"
local requests = {}
function init(arguments)
  math.randomseed(tonumber(tostring(requests):match("0x(%x+)"), 16))
  for line in io.lines("LINES") do requests[#requests + 1] = REQUEST end
end
function request() return requests[math.random(#requests)] end
function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format('\n{"requests": %d, "micros": %d, "errors": %d, "p50": %d, "p99": %d, "p999": %d}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
"#;

/// What the script prints; times in microseconds.
#[derive(Deserialize)]
struct Summary {
    requests: f64,
    micros: f64,
    errors: u64,
    p50: f64,
    p99: f64,
    p999: f64,
}

const JSON: &str = r#"{["content-type"] = "application/json"}"#;
const PERSISTED: &str = r#"{["content-type"] = "application/json", ["prefer"] = "durability=persisted"}"#;

/// GETs of random paths.
pub(crate) fn get(base: &str, paths: &[String], settings: &Settings) -> anyhow::Result<Run> {
    run(base, paths, settings, r#"wrk.format("GET", line)"#)
}

/// POSTs of one JSON body to random paths.
pub(crate) fn post(base: &str, paths: &[String], body: &str, settings: &Settings) -> anyhow::Result<Run> {
    let request = format!(r#"wrk.format("POST", line, {JSON}, [==[{body}]==])"#);
    run(base, paths, settings, &request)
}

/// The same, each answered when PostgreSQL has it.
pub(crate) fn post_persisted(
    base: &str,
    paths: &[String],
    body: &str,
    settings: &Settings,
) -> anyhow::Result<Run> {
    let request = format!(r#"wrk.format("POST", line, {PERSISTED}, [==[{body}]==])"#);
    run(base, paths, settings, &request)
}

/// POSTs of random JSON bodies to one path.
pub(crate) fn post_any(
    base: &str,
    path: &str,
    bodies: &[String],
    settings: &Settings,
) -> anyhow::Result<Run> {
    let request = format!(r#"wrk.format("POST", "{path}", {JSON}, line)"#);
    run(base, bodies, settings, &request)
}

/// Random ones of the requests that the Lua expression makes of each `line`.
fn run(base: &str, lines: &[String], settings: &Settings, request: &str) -> anyhow::Result<Run> {
    let directory = fresh_directory("wrk");
    let (list, file) = (directory.join("lines"), directory.join("load.lua"));
    fs::write(&list, lines.join("\n"))?;
    let script = TEMPLATE.replace("LINES", &list.display().to_string());
    fs::write(&file, script.replace("REQUEST", request))?;
    let output = Command::new(program("wrk", "BIRBNEST_WRK", &[]))
        .args(["--threads", "1", "--latency", "--script"])
        .arg(&file)
        .args(["--connections", &settings.connections.to_string()])
        .args(["--duration", &format!("{}s", settings.seconds)])
        .arg(base)
        .output()
        .context("wrk")?;
    fs::remove_dir_all(directory)?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.success(),
        "wrk: {text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let json = text
        .lines()
        .find(|line| line.starts_with('{'))
        .context("wrk printed no figures")?;
    let summary: Summary = serde_json::from_str(json)?;
    Ok(Run {
        per_second: summary.requests / (summary.micros / 1e6),
        p50_ms: summary.p50 / 1e3,
        p99_ms: summary.p99 / 1e3,
        p999_ms: summary.p999 / 1e3,
        errors: summary.errors,
    })
}
