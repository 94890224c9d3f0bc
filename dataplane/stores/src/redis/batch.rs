//! Several keys at once. One server takes them all in a script; of a cluster each master gets its own in a pipeline of
//! commands for a single key, as keys of several hash slots cannot be named together.

use std::sync::Arc;

use birbnest_core::{EntryId, Partition};
use bytes::Bytes;
use futures::future::join_all;
use redis::{Cmd, FromRedisValue, Pipeline, RedisError};

use super::{
    Cache, CacheError, Cached,
    generation::Tag,
    masters::{Masters, Session},
    slot,
};

/// A key in a cluster, and its master while one is known.
struct Sought {
    key: String,
    at: Option<(Arc<Session>, Tag)>,
}

impl Cache {
    /// What the cache knows of the first of several keys, in their order: one round trip, in a cluster two. Fewer than were
    /// asked for when these already have more than `most_bytes`, but at least one.
    ///
    /// # Errors
    /// When Redis cannot be asked. A cluster of which some masters cannot be asked knows nothing of their keys.
    pub async fn get_some(
        &self,
        ids: &[(Partition, EntryId)],
        most_bytes: usize,
    ) -> Result<Vec<Cached>, CacheError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        match &*self.shared.masters()? {
            Masters::One(session) => self.get_some_from(session, ids, most_bytes).await,
            cluster @ Masters::Cluster(..) => self.get_some_from_each(cluster, ids, most_bytes).await,
        }
    }

    async fn get_some_from(
        &self,
        session: &Session,
        ids: &[(Partition, EntryId)],
        most_bytes: usize,
    ) -> Result<Vec<Cached>, CacheError> {
        let tags: Vec<Tag> = ids
            .iter()
            .map(|(partition, _)| self.tag(session.life, *partition))
            .collect::<Result<_, _>>()?;
        let mut call = self.scripts.get_some.prepare_invoke();
        call.arg(most_bytes);
        for (_, id) in ids {
            call.key(self.key(id));
        }
        let slots: Vec<Option<Bytes>> = self.invoke(session, &call).await?;
        let parsed = slots.iter().zip(tags).map(|(slot, tag)| {
            slot.as_ref()
                .map_or(Cached::Unknown, |slot| slot::parse(slot, tag))
        });
        Ok(parsed.collect())
    }

    /// First how long the slots are, then as many of them as are wanted. One that has another length by then is not taken:
    /// no master can be told how much the others send.
    async fn get_some_from_each(
        &self,
        cluster: &Masters,
        ids: &[(Partition, EntryId)],
        most_bytes: usize,
    ) -> Result<Vec<Cached>, CacheError> {
        let mut sought: Vec<Sought> = ids
            .iter()
            .map(|(partition, id)| self.seek(cluster, *partition, id))
            .collect::<Result<_, _>>()?;
        let lengths: Vec<Option<usize>> = self
            .ask_each(&sought, |_, key| Some(redis::cmd("STRLEN").arg(key).take()))
            .await;
        sought.truncate(wanted(&lengths, most_bytes));
        let length = |index: usize| lengths[index].filter(|length| *length > 0);
        let slots: Vec<Option<Bytes>> = self
            .ask_each(&sought, |index, key| {
                let last = length(index)?;
                // The byte behind the last shows whether it grew.
                Some(redis::cmd("GETRANGE").arg(key).arg(0).arg(last).take())
            })
            .await;
        let parsed = sought
            .iter()
            .zip(slots)
            .zip(lengths)
            .map(|((sought, slot), length)| {
                let whole = slot.filter(|slot| Some(slot.len()) == length);
                let judged = whole.zip(sought.at.as_ref());
                judged.map_or(Cached::Unknown, |(slot, (_, tag))| slot::parse(&slot, *tag))
            });
        Ok(parsed.collect())
    }

    fn seek(&self, cluster: &Masters, partition: Partition, id: &EntryId) -> Result<Sought, CacheError> {
        let key = self.key(id);
        let session = cluster.serving(&key).cloned();
        let at = session.map(|session| {
            let tag = self.tag(session.life, partition)?;
            Ok::<_, CacheError>((session, tag))
        });
        Ok(Sought {
            at: at.transpose()?,
            key,
        })
    }

    /// The answer for each key to which there is a command, `None` where it could not be asked.
    async fn ask_each<T: FromRedisValue>(
        &self,
        sought: &[Sought],
        command: impl Fn(usize, &str) -> Option<Cmd>,
    ) -> Vec<Option<T>> {
        let asked = sought.iter().enumerate().filter_map(|(index, sought)| {
            let (session, _) = sought.at.as_ref()?;
            Some((index, (Arc::clone(session), command(index, &sought.key)?)))
        });
        let (places, commands): (Vec<usize>, Vec<_>) = asked.unzip();
        let mut answers: Vec<Option<T>> = sought.iter().map(|_| None).collect();
        let told = at_once(&commands).await;
        for ((index, (session, _)), answer) in places.into_iter().zip(&commands).zip(told) {
            answers[index] = self.noted(session, answer).ok();
        }
        answers
    }
}

/// How many of the first slots there are until they have more than so many bytes.
fn wanted(lengths: &[Option<usize>], most_bytes: usize) -> usize {
    let mut bytes = 0;
    let full = lengths.iter().position(|length| {
        bytes += length.unwrap_or_default();
        bytes > most_bytes
    });
    full.map_or(lengths.len(), |last| last + 1)
}

/// Sends each master its commands in one pipeline, all of them at once. What each command was answered, in their order.
pub(super) async fn at_once<T: FromRedisValue>(
    commands: &[(Arc<Session>, Cmd)],
) -> Vec<Result<T, RedisError>> {
    let groups = by_master(commands.iter().map(|(session, _)| session));
    let sent = groups.iter().map(|(session, indices)| async move {
        let mut pipe = Pipeline::with_capacity(indices.len());
        for index in indices {
            pipe.add_command(commands[*index].1.clone());
        }
        let mut connection = session.connection.clone();
        let told = pipe.ignore_errors().query_async::<Vec<_>>(&mut connection).await;
        told.unwrap_or_else(|error| indices.iter().map(|_| Err(error.clone())).collect())
    });
    let told = join_all(sent).await;
    let indices = groups.iter().flat_map(|(_, indices)| indices);
    let mut told: Vec<_> = indices.zip(told.into_iter().flatten()).collect();
    told.sort_unstable_by_key(|(index, _)| **index);
    told.into_iter().map(|(_, answer)| answer).collect()
}

/// Equal ones together, each with the places where it stands.
fn by_master<'a, T>(each: impl Iterator<Item = &'a Arc<T>>) -> Vec<(&'a Arc<T>, Vec<usize>)> {
    let mut groups: Vec<(&Arc<T>, Vec<usize>)> = Vec::new();
    for (index, one) in each.enumerate() {
        // There are few masters.
        match groups.iter_mut().find(|(other, _)| Arc::ptr_eq(other, one)) {
            Some((_, places)) => places.push(index),
            None => groups.push((one, vec![index])),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_slots_are_wanted_until_they_have_more_bytes_than_asked_for() {
        let lengths = [Some(3), None, Some(4), Some(1)];
        assert_eq!(wanted(&lengths, 0), 1);
        assert_eq!(wanted(&lengths, 3), 3);
        assert_eq!(wanted(&lengths, 7), 4);
        assert_eq!(wanted(&lengths, 100), 4);
        assert_eq!(wanted(&[], 0), 0);
    }

    #[test]
    fn what_goes_to_one_master_is_sent_together() {
        let (a, b) = (Arc::new("a"), Arc::new("b"));
        let groups = by_master([&a, &b, &a, &a, &b].into_iter());
        let groups: Vec<_> = groups
            .into_iter()
            .map(|(master, places)| (**master, places))
            .collect();
        assert_eq!(groups, [("a", vec![0, 2, 3]), ("b", vec![1, 4])]);
    }
}
