//! Streams and consumers, where no operator creates them.

use async_nats::jetstream;
use birbnest_core::config::StreamConfig;
use birbnest_stores::jetstream::{addresses, connect, provision};

use crate::MigrateError;

/// Creates what is missing and repairs what was changed.
pub(crate) async fn provide(url: &str, config: &StreamConfig) -> Result<(), MigrateError> {
    let client = connect(&addresses(url)?, "birbnest-migrate").await?;
    for done in provision::ensure(&jetstream::new(client), config).await? {
        tracing::info!(
            stream = done.stream,
            stream_change = ?done.stream_change,
            consumer_change = ?done.consumer_change,
            "the stream is as it should be"
        );
    }
    Ok(())
}
