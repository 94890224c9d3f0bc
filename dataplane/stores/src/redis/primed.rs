//! The sign in Redis that its entries were loaded, or are being loaded. It is gone when everything else is, and says
//! nothing to another cache generation.

use std::{sync::Arc, time::Duration};

use birbnest_core::Partition;

use super::{Cache, CacheError, connection::Session, millis};

/// So that the sign does not outlive its nest for long.
const LIFETIME: Duration = Duration::from_hours(24 * 7);

impl Cache {
    /// Whether the sign is there, of the current generation of every partition.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn is_primed(&self) -> Result<bool, CacheError> {
        let (session, sign) = self.sign()?;
        let mut connection = session.connection.clone();
        let found = redis::cmd("GET")
            .arg(self.sign_key())
            .query_async::<Option<Vec<u8>>>(&mut connection)
            .await;
        Ok(self.noted(&session, found)? == Some(sign))
    }

    /// Puts the sign there.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn note_primed(&self) -> Result<(), CacheError> {
        let (session, sign) = self.sign()?;
        let mut connection = session.connection.clone();
        let put = redis::cmd("SET")
            .arg(self.sign_key())
            .arg(sign)
            .arg("PX")
            .arg(millis(LIFETIME))
            .query_async::<()>(&mut connection)
            .await;
        self.noted(&session, put)
    }

    fn sign(&self) -> Result<(Arc<Session>, Vec<u8>), CacheError> {
        let session = self.shared.session()?;
        let mut sign = Vec::new();
        for partition in (0..self.generations.partitions()).map(Partition) {
            sign.extend_from_slice(self.tag(&session, partition)?.as_bytes());
        }
        Ok((session, sign))
    }

    /// No entry has this key: the name of its instance is not empty.
    fn sign_key(&self) -> String {
        [&*self.key_prefix, "", "primed"].join(":")
    }
}
