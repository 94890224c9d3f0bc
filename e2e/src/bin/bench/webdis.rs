//! webdis: Redis over HTTP, by others. It is compared with when it is installed.

use std::{env, fs, path::PathBuf};

use birbnest_e2e::{
    house::House,
    servers::{Process, Recipe, free_port, fresh_directory},
    wait::eventually,
};
use serde_json::json;

/// A webdis in front of the Redis of a house.
pub(crate) struct Webdis {
    base: String,
    _process: Process,
}

impl Webdis {
    /// Starts it; `None` when it is not installed.
    pub(crate) async fn start(house: &House) -> anyhow::Result<Option<Self>> {
        let Some(program) = installed() else {
            return Ok(None);
        };
        let directory = fresh_directory("webdis");
        let (file, port) = (directory.join("webdis.json"), free_port());
        let redis = reqwest::Url::parse(&house.redis.url())?;
        let settings = json!({
            "redis_host": "127.0.0.1", "redis_port": redis.port(), "redis_auth": null,
            "http_host": "127.0.0.1", "http_port": port, "threads": 2, "pool_size": 20,
            "daemonize": false, "websockets": false, "database": 0, "verbosity": 0,
            "logfile": directory.join("webdis.log"), "acl": [],
        });
        fs::write(&file, settings.to_string())?;
        let recipe = Recipe {
            program,
            arguments: vec![file.into()],
            ..Recipe::default()
        };
        let process = Process::new("webdis", recipe, &directory);
        process.start();
        let base = format!("http://127.0.0.1:{port}");
        eventually("webdis answers", || async {
            reqwest::get(format!("{base}/PING")).await?.error_for_status()
        })
        .await;
        Ok(Some(Self {
            base,
            _process: process,
        }))
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }
}

fn installed() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join("webdis"))
        .find(|file| file.is_file())
}
