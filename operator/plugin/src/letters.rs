//! Dead letters: writes that were acknowledged and that PostgreSQL rejects.

use std::fmt::Write;

use clap::Subcommand;
use serde_json::Value;

use crate::http_api::HttpApi;

/// What is to be done with them.
#[derive(Debug, Default, Subcommand)]
pub(crate) enum Letters {
    /// A line for each, oldest first (default)
    #[default]
    List,
    /// One of them, with the write
    Show {
        /// Its id
        id: String,
    },
    /// Writes it again, unless its key has been written since
    Replay {
        /// Its id; several may be named
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Gives the write up
    Discard {
        /// Its id; several may be named
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

impl Letters {
    /// Does it, and says what came of it.
    pub(crate) async fn run(self, api: &HttpApi) -> anyhow::Result<String> {
        match self {
            Self::List => list(api).await,
            Self::Show { id } => {
                let letter = api.get(&path(&id)).await?;
                Ok(serde_json::to_string_pretty(&letter)? + "\n")
            }
            Self::Replay { ids } => {
                let mut told = String::new();
                for id in ids {
                    let written = api.post(&format!("{}/replay", path(&id)), None).await?;
                    let version = written
                        .get("version")
                        .map(|version| format!(" with version {version}"));
                    writeln!(told, "{id}: written again{}", version.unwrap_or_default())?;
                }
                Ok(told)
            }
            Self::Discard { ids } => {
                let mut told = String::new();
                for id in ids {
                    api.delete(&path(&id)).await?;
                    writeln!(told, "{id}: given up")?;
                }
                Ok(told)
            }
        }
    }
}

fn path(id: &str) -> String {
    format!("/v1/admin/dead-letters/{id}")
}

async fn list(api: &HttpApi) -> anyhow::Result<String> {
    let mut lines = String::new();
    let mut after = String::new();
    loop {
        let page = api
            .get(&format!("/v1/admin/dead-letters?limit=100{after}"))
            .await?;
        for letter in page["dead_letters"].as_array().into_iter().flatten() {
            writeln!(lines, "{}", line(letter))?;
        }
        let Some(next) = page.get("next").map(text) else {
            break;
        };
        after = format!("&after={next}");
    }
    Ok(if lines.is_empty() {
        "there are none\n".to_owned()
    } else {
        lines
    })
}

fn line(letter: &Value) -> String {
    let parts = ["id", "time", "instance", "key", "reason"].map(|field| text(&letter[field]));
    parts.join("  ")
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::line;

    #[test]
    fn a_letter_is_a_line() {
        let letter = json!({
            "id": 7, "time": "2026-01-02T03:04:05Z", "instance": "global", "key": "robin", "reason": "violates check",
        });
        assert_eq!(
            line(&letter),
            "7  2026-01-02T03:04:05Z  global  robin  violates check"
        );
    }
}
