//! What removes old copies: a write, and a worker before it acknowledges. In a cluster it follows a slot on the move.
//!
//! A key that has gone ahead to the master that gets its slot is removed or replaced there: deleting is right wherever it is,
//! and nothing is stored where nothing was. So moving a slot voids no other copies. Readers do not follow: they ask the
//! sources, and have no lease.

use birbnest_core::{Entry, EntryId, Partition, Version};
use redis::{Cmd, ErrorKind, RedisError, Script, ScriptInvocation, ServerErrorKind};

use super::{
    Cache, CacheError,
    batch::at_once,
    generation::Tag,
    masters::{Masters, Session},
    slot,
};

/// Keys per invalidation script: Redis serves nobody else while one runs. As many are sent to a cluster at once.
const INVALIDATE_CHUNK: usize = 200;

impl Cache {
    /// After a write was acknowledged by the stream: replaces an older entry of this generation, and otherwise deletes
    /// what is there. Returns the `created_at` that the cached copy took over from the entry it replaced.
    ///
    /// # Errors
    /// When Redis cannot be asked: the copy may be old until the worker has refreshed it.
    pub async fn write(&self, partition: Partition, entry: &Entry) -> Result<Option<String>, CacheError> {
        let key = self.key(&entry.record.id);
        let call = |tag: Tag| {
            let mut call = self.scripts.write.prepare_invoke();
            call.key(&key)
                .arg(tag.as_bytes())
                .arg(slot::version_digits(entry.version))
                .arg(slot::of_entry(entry, tag))
                .arg(self.lifetime_ms(entry));
            call
        };
        let told = self.tell(partition, &key, &self.scripts.write, call).await;
        let created_at: Option<String> = told?;
        Ok(created_at.filter(|text| !text.is_empty()))
    }

    /// Before a worker acknowledges messages: removes every copy that is older than what PostgreSQL now holds, and
    /// every lease of a reader who may have read before. An entry of at least that version stays.
    ///
    /// # Errors
    /// When Redis cannot be asked: the messages must not be acknowledged before the generation was raised.
    pub async fn invalidate(
        &self,
        partition: Partition,
        persisted: &[(&EntryId, Version)],
    ) -> Result<(), CacheError> {
        for chunk in persisted.chunks(INVALIDATE_CHUNK) {
            match &*self.shared.masters()? {
                Masters::One(session) => self.invalidate_at(session, partition, chunk).await?,
                cluster @ Masters::Cluster(..) => self.invalidate_at_each(cluster, partition, chunk).await?,
            }
        }
        Ok(())
    }

    async fn invalidate_at(
        &self,
        session: &Session,
        partition: Partition,
        persisted: &[(&EntryId, Version)],
    ) -> Result<(), CacheError> {
        let tag = self.tag(session.life, partition)?;
        let mut call = self.scripts.invalidate.prepare_invoke();
        call.arg(tag.as_bytes());
        for (id, version) in persisted {
            call.key(self.key(id)).arg(slot::version_digits(*version));
        }
        let _deleted: u64 = self.invoke(session, &call).await?;
        Ok(())
    }

    /// Every master is told, also when another cannot be.
    async fn invalidate_at_each(
        &self,
        cluster: &Masters,
        partition: Partition,
        persisted: &[(&EntryId, Version)],
    ) -> Result<(), CacheError> {
        let (mut result, mut keys, mut commands) = (Ok(()), Vec::new(), Vec::new());
        for (id, version) in persisted {
            let (key, version) = (self.key(id), slot::version_digits(*version));
            let Some(session) = cluster.serving(&key) else {
                result = Err(CacheError::NotConnected);
                continue;
            };
            let tag = self.tag(session.life, partition)?;
            let command = Cmd::invoke_script(&self.removal(&key, &version, tag));
            commands.push((session.clone(), command));
            keys.push((key, version));
        }
        let told = at_once::<u64>(&commands).await;
        for ((answer, (session, _)), (key, version)) in told.into_iter().zip(&commands).zip(keys) {
            let Err(error) = answer else { continue };
            let told = if is_told_alone(&error) {
                let call = |tag| self.removal(&key, &version, tag);
                self.tell::<u64>(partition, &key, &self.scripts.invalidate, call)
                    .await
            } else {
                self.noted(session, Err(error))
            };
            result = result.and(told.map(drop));
        }
        result
    }

    fn removal(&self, key: &str, version: &str, tag: Tag) -> ScriptInvocation<'_> {
        let mut call = self.scripts.invalidate.prepare_invoke();
        call.key(key).arg(tag.as_bytes()).arg(version);
        call
    }

    /// Calls a script where the key is.
    async fn tell<'a, T: redis::FromRedisValue>(
        &self,
        partition: Partition,
        key: &str,
        script: &Script,
        call: impl Fn(Tag) -> ScriptInvocation<'a>,
    ) -> Result<T, CacheError> {
        let (session, tag) = self.session(partition, key)?;
        let refusal = match self.invoke(&session, &call(tag)).await {
            Err(CacheError::Redis(refusal)) => refusal,
            told => return told,
        };
        let masters = self.shared.masters()?;
        let target = asked_to(&refusal).and_then(|place| masters.at(place));
        let Some(target) = target else {
            return Err(refusal.into());
        };
        let mut pipe = redis::pipe();
        pipe.load_script(script).ignore().cmd("ASKING").ignore();
        pipe.invoke_script(&call(self.tag(target.life, partition)?));
        let told = pipe.query_async(&mut target.connection.clone()).await;
        let (told,): (T,) = self.noted(target, told)?;
        Ok(told)
    }
}

/// Whether it is no failure of the master, but of the way in which it was told.
fn is_told_alone(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) || asked_to(error).is_some()
}

/// The place that gets the slot, and has the key already.
fn asked_to(refusal: &RedisError) -> Option<&str> {
    let moves = refusal.kind() == ErrorKind::Server(ServerErrorKind::Ask);
    let (place, _) = refusal.redirect_node().filter(|_| moves)?;
    Some(place)
}
