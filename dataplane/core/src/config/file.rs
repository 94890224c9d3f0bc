//! From a file to a configuration that can be used.

use std::{fs, io, path::Path};

use garde::Validate;

use super::Config;

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is no YAML of this shape; the message names field and line.
    #[error("the configuration file {path} is not valid:\n{message}")]
    Malformed {
        /// The file.
        path: String,
        /// Field, line and what was expected.
        message: String,
    },
    /// A field has a value out of bounds; one line a field.
    #[error("the configuration file {path} is not valid:\n{report}")]
    OutOfBounds {
        /// The file.
        path: String,
        /// One line a field: its path and the bound.
        report: garde::Report,
    },
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// When the file cannot be read, is no YAML of this shape, or has a value out of bounds.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(source) => return Err(ConfigError::Unreadable { path: name, source }),
        };
        Self::parse(&text, &name)
    }

    fn parse(text: &str, path: &str) -> Result<Self, ConfigError> {
        let path = path.to_owned();
        // A file of comments alone is no YAML mapping, and means "all defaults".
        let parsed = serde_yaml::from_str::<Option<Self>>(text).map(Option::unwrap_or_default);
        let config = match parsed {
            Ok(config) => config,
            Err(error) => {
                return Err(ConfigError::Malformed {
                    path,
                    message: error.to_string(),
                });
            }
        };
        match config.validate() {
            Ok(()) => Ok(config),
            Err(report) => Err(ConfigError::OutOfBounds { path, report }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Period;

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(Config::parse("", "f").unwrap(), Config::default());
        assert_eq!(Config::parse("# nothing yet\n", "f").unwrap(), Config::default());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut config = Config::default();
        config.worker.batch.size = 250;
        config.cache.default_ttl = Period::from_secs(90);
        let text = serde_yaml::to_string(&config).unwrap();
        assert_eq!(Config::parse(&text, "f").unwrap(), config);
    }

    #[test]
    fn a_value_out_of_bounds_names_its_field() {
        let error = Config::parse("worker: {batch: {size: 0}}", "f")
            .unwrap_err()
            .to_string();
        assert!(error.contains("worker.batch.size"), "{error}");
        let error = Config::parse("stream: {horizon: 5ms}", "f")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("stream.horizon") && error.contains("1s"),
            "{error}"
        );
    }

    #[test]
    fn an_unknown_field_or_a_wrong_type_names_itself() {
        let error = Config::parse("worker:\n  batsh: {}", "f")
            .unwrap_err()
            .to_string();
        assert!(error.contains("batsh"), "{error}");
        let error = Config::parse("worker:\n  batch:\n    size: many", "f")
            .unwrap_err()
            .to_string();
        assert!(error.contains("size") || error.contains("many"), "{error}");
    }
}
