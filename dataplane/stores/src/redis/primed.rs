//! The sign in Redis that its entries were loaded, or are being loaded. It is gone when everything else is, and says
//! nothing to another cache generation.

use std::time::Duration;

use super::{Cache, CacheError, generation::Tag, millis};

/// So that the sign does not outlive its nest for long.
const LIFETIME: Duration = Duration::from_hours(24 * 7);

impl Cache {
    /// Whether the sign is there, of the current generation of every partition.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn is_primed(&self) -> Result<bool, CacheError> {
        let (key, sign) = (self.sign_key(), self.sign()?);
        let session = self.shared.serving(&key)?;
        let mut connection = session.connection.clone();
        let found = redis::cmd("GET")
            .arg(key)
            .query_async::<Option<Vec<u8>>>(&mut connection)
            .await;
        Ok(self.noted(&session, found)? == Some(sign))
    }

    /// Puts the sign there.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn note_primed(&self) -> Result<(), CacheError> {
        let (key, sign) = (self.sign_key(), self.sign()?);
        let session = self.shared.serving(&key)?;
        let mut connection = session.connection.clone();
        let put = redis::cmd("SET")
            .arg(key)
            .arg(sign)
            .arg("PX")
            .arg(millis(LIFETIME))
            .query_async::<()>(&mut connection)
            .await;
        self.noted(&session, put)
    }

    /// It names every master: one of them being another, what it held is gone.
    fn sign(&self) -> Result<Vec<u8>, CacheError> {
        let life = self.shared.masters()?.life().ok_or(CacheError::NotConnected)?;
        let layout = self.generations.layout().ok_or(CacheError::UnknownGeneration)?;
        let tags: Vec<Tag> = layout
            .partitions()
            .map(|partition| self.tag(life, partition))
            .collect::<Result<_, _>>()?;
        Ok(tags.iter().flat_map(Tag::as_bytes).copied().collect())
    }

    /// No entry has this key: the name of its instance is not empty.
    fn sign_key(&self) -> String {
        [&*self.key_prefix, "", "primed"].join(":")
    }
}
