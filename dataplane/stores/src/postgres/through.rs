//! Writes that do not pass through the queue, while PostgreSQL takes them.

use birbnest_core::{Entry, Partition, Record, Version};

use super::{
    Mode, Postgres, PostgresError,
    error::CorruptValue,
    fence::{Fence, store},
    upsert::put,
};

/// What became of writes past the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WrittenThrough {
    /// They are committed.
    Committed {
        /// Their versions, in the order of the writes.
        versions: Vec<Version>,
        /// The cache generation from then on.
        generation: u64,
    },
    /// PostgreSQL does not take writes of this partition: nothing was written.
    Closed,
}

impl Postgres {
    /// Commits writes of one partition in one transaction and gives them versions of its epoch, in their order: the fence row
    /// counts them under its lock, so versions of one key follow its commits. With `void_copies` every copy in Redis counts
    /// as absent from the same moment on.
    ///
    /// # Errors
    /// When PostgreSQL does not answer: it is then not known whether they were committed. When it refuses or rejects them,
    /// nothing was written.
    pub async fn write_through(
        &self,
        partition: Partition,
        records: &[Record],
        void_copies: bool,
    ) -> Result<WrittenThrough, PostgresError> {
        let written = self.locked(partition, async |connection, now| {
            if now.mode != Mode::Through {
                return Ok(WrittenThrough::Closed);
            }
            let (versions, entries) = numbered(now.highest_version, records)?;
            let kept = put(connection, partition, now.mark, &entries).await?;
            // Whatever has a higher version is of no epoch that was ever begun.
            if kept < u64::try_from(entries.len()).unwrap_or(u64::MAX) {
                return Err(CorruptValue::AboveTheEpoch.into());
            }
            let then = Fence {
                highest_version: versions.last().copied().unwrap_or(now.highest_version),
                generation: now.generation + u64::from(void_copies),
                ..now
            };
            store(connection, &then).await?;
            Ok(WrittenThrough::Committed {
                versions,
                generation: then.generation,
            })
        });
        written.await
    }
}

/// The versions that follow `highest`, and of each key the last write.
fn numbered(highest: Version, records: &[Record]) -> Result<(Vec<Version>, Vec<Entry>), CorruptValue> {
    let mut version = highest;
    let mut versions = Vec::with_capacity(records.len());
    let mut entries = Vec::with_capacity(records.len());
    for record in records {
        version = version.next()?;
        versions.push(version);
        entries.push(Entry {
            version,
            record: record.clone(),
        });
    }
    entries.sort_by(|a, b| a.record.id.cmp(&b.record.id).then(b.version.cmp(&a.version)));
    entries.dedup_by(|later, first| later.record.id == first.record.id);
    Ok((versions, entries))
}

#[cfg(test)]
mod tests {
    use birbnest_core::{Content, EntryId, Timestamp};

    use super::*;

    fn record(key: &str) -> Record {
        let at = Timestamp::from_micros(1);
        Record {
            id: EntryId::global(key.parse().unwrap()),
            content: Content::Tombstone,
            created_at: at,
            updated_at: at,
            expires_at: None,
            operation_ids: vec![],
        }
    }

    #[test]
    fn every_write_has_a_version_and_the_last_of_a_key_is_kept() {
        let records = ["b", "a", "b"].map(record);
        let (versions, entries) = numbered(Version::new(7).unwrap(), &records).unwrap();
        assert_eq!(versions.iter().map(|v| v.get()).collect::<Vec<_>>(), [8, 9, 10]);
        let kept: Vec<_> = entries
            .iter()
            .map(|entry| (entry.record.id.key.as_str(), entry.version.get()))
            .collect();
        assert_eq!(kept, [("a", 9), ("b", 10)]);
    }
}
