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
  for line in io.lines("PATHS") do requests[#requests + 1] = wrk.format("METHOD", line, HEADERS, BODY) end
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

/// GETs of random paths.
pub(crate) fn get(base: &str, paths: &[String], settings: &Settings) -> anyhow::Result<Run> {
    run(
        base,
        paths,
        settings,
        &TEMPLATE
            .replace("METHOD", "GET")
            .replace("HEADERS", "nil")
            .replace("BODY", "nil"),
    )
}

/// POSTs of one JSON body to random paths.
pub(crate) fn post(base: &str, paths: &[String], body: &str, settings: &Settings) -> anyhow::Result<Run> {
    let headers = r#"{["content-type"] = "application/json"}"#;
    let script = TEMPLATE.replace("METHOD", "POST").replace("HEADERS", headers);
    run(
        base,
        paths,
        settings,
        &script.replace("BODY", &format!("[==[{body}]==]")),
    )
}

fn run(base: &str, paths: &[String], settings: &Settings, script: &str) -> anyhow::Result<Run> {
    let directory = fresh_directory("wrk");
    let (list, file) = (directory.join("paths"), directory.join("load.lua"));
    fs::write(&list, paths.join("\n"))?;
    fs::write(&file, script.replace("PATHS", &list.display().to_string()))?;
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
