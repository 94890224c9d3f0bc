//! What clients were promised, to be compared with what is stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;

use crate::{client::Answer, table::Row};

/// The promises of one story. Every write must have a value of its own, else a lost one cannot be told.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    keys: BTreeMap<String, Account>,
    /// Answers that were no acknowledgement, and connections without one.
    pub failures: Vec<String>,
    /// Writes that were acknowledged.
    pub acknowledged: usize,
}

#[derive(Clone, Debug, Default)]
struct Account {
    /// The acknowledged write with the highest version.
    promised: Option<(u64, Value)>,
    /// Writes whose outcome the client does not know: any of them may be stored or not.
    open: BTreeSet<String>,
}

/// A promise that was not kept.
#[derive(Debug, PartialEq)]
pub struct Broken(String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Ledger {
    /// Notes how a write ended.
    pub fn note(&mut self, key: &str, value: &Value, outcome: &reqwest::Result<Answer>) {
        let account = self.keys.entry(key.to_owned()).or_default();
        match outcome {
            Ok(answer) if matches!(answer.status.as_u16(), 201 | 202) => {
                self.acknowledged += 1;
                let version = answer.version();
                if account
                    .promised
                    .as_ref()
                    .is_none_or(|(highest, _)| version > *highest)
                {
                    account.promised = Some((version, value.clone()));
                }
            }
            Ok(answer) => {
                account.open.insert(value.to_string());
                self.failures
                    .push(format!("{key}: {} {}", answer.status, answer.text));
            }
            Err(error) => {
                account.open.insert(value.to_string());
                self.failures.push(format!("{key}: {error:?}"));
            }
        }
    }

    /// Takes over what another ledger holds.
    pub fn merge(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.failures.extend(other.failures);
        for (key, theirs) in other.keys {
            let ours = self.keys.entry(key).or_default();
            ours.open.extend(theirs.open);
            ours.promised = match (ours.promised.take(), theirs.promised) {
                (Some(a), Some(b)) => Some(if a.0 >= b.0 { a } else { b }),
                (a, b) => a.or(b),
            };
        }
    }

    /// Keys with a promise.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let promised = self.keys.iter().filter(|(_, account)| account.promised.is_some());
        promised.map(|(key, _)| key.as_str())
    }

    /// Compares with what PostgreSQL holds.
    ///
    /// # Errors
    /// Names the promises that were not kept: a row that is missing, is older than the promise, or has another value than
    /// its version had when it was acknowledged.
    pub fn check(&self, rows: &BTreeMap<String, Row>) -> Result<(), Broken> {
        let broken: Vec<_> = self
            .keys
            .iter()
            .filter_map(|(key, account)| account.broken_by(key, rows.get(key)))
            .collect();
        if broken.is_empty() {
            return Ok(());
        }
        let (count, of) = (broken.len(), self.keys.len());
        let examples = broken
            .iter()
            .take(5)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("; ");
        Err(Broken(format!(
            "{count} of {of} promises are not kept: {examples}"
        )))
    }
}

impl Account {
    fn broken_by(&self, key: &str, row: Option<&Row>) -> Option<String> {
        let (version, value) = self.promised.as_ref()?;
        let Some(row) = row else {
            return Some(format!("{key} has no row, version {version} was acknowledged"));
        };
        let stored = row.version.cast_unsigned();
        let (text, value) = (row.value.as_deref().unwrap_or_default(), value.to_string());
        let kept = if stored == *version {
            text == value
        } else {
            stored > *version && self.open.contains(text)
        };
        (!kept).then(|| format!("{key} is {text} of version {stored}, acknowledged was {value} of {version}"))
    }
}

#[cfg(test)]
mod tests {
    use reqwest::{StatusCode, Version, header::HeaderMap};
    use serde_json::json;

    use super::*;

    fn answer(status: u16, version: u64) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            http: Version::HTTP_11,
            headers: HeaderMap::new(),
            text: json!({ "version": version }).to_string(),
        }
    }

    fn stored(version: i64, value: &str) -> BTreeMap<String, Row> {
        let row = Row {
            key: "robin".to_owned(),
            version,
            value: Some(value.to_owned()),
            tombstone: false,
        };
        BTreeMap::from([("robin".to_owned(), row)])
    }

    #[test]
    fn the_highest_acknowledged_version_is_the_promise_whatever_the_order_of_answers() {
        let mut ledger = Ledger::default();
        ledger.note("robin", &json!(2), &Ok(answer(201, 8)));
        ledger.note("robin", &json!(1), &Ok(answer(202, 7)));
        assert_eq!(ledger.check(&stored(8, "2")), Ok(()));
        assert!(ledger.check(&stored(7, "1")).is_err());
        assert!(ledger.check(&stored(8, "1")).is_err());
        assert!(ledger.check(&BTreeMap::new()).is_err());
    }

    #[test]
    fn a_write_without_an_acknowledgement_may_be_stored_or_not() {
        let mut ledger = Ledger::default();
        ledger.note("robin", &json!(1), &Ok(answer(201, 7)));
        ledger.note("robin", &json!(2), &Ok(answer(503, 0)));
        assert_eq!(ledger.check(&stored(7, "1")), Ok(()));
        assert_eq!(ledger.check(&stored(8, "2")), Ok(()));
        assert!(ledger.check(&stored(8, "3")).is_err());
        assert_eq!(ledger.failures.len(), 1);
    }
}
