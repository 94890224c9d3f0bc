//! From PostgreSQL back to the queue, once NATS is there again.
//!
//! A publish of an earlier epoch may still be held somewhere: in a connection, or in a server that was frozen. If it
//! arrived after the first one of the next epoch, it would take the place of a message that PostgreSQL does not have. So
//! NATS must have answered without a break for a horizon, counted from after the last lease ended; meanwhile PostgreSQL
//! goes on taking the writes. Whoever could not reach NATS a moment ago holds the way back off.

use std::time::{Duration, Instant};

use async_nats::jetstream::Context;
use birbnest_core::{Incarnation, OnQueueOutage, StreamNames};
use tokio::time::sleep;

use super::{
    lives::Lives,
    provision,
    session::{Connector, SessionError},
};
use crate::{
    Connectivity,
    epoch::Remembered,
    fence::{Fence, Mode},
    postgres::Raised,
};

/// How often NATS is asked.
const INTERVAL: Duration = Duration::from_millis(300);
/// Answers further apart than this are a break: NATS may have stood still in between.
const BREAK: Duration = Duration::from_secs(1);

/// Since when answers have come without a break.
#[derive(Default)]
struct Calm(Option<(Instant, Instant)>);

/// A stream that answers.
struct Seen {
    incarnation: Incarnation,
    last_sequence: u64,
    /// An epoch that NATS remembers and the fence does not know.
    later: Option<Remembered>,
}

impl Calm {
    /// An answer came now; returns for how long they have.
    fn note(&mut self, now: Instant) -> Duration {
        let since = match self.0 {
            Some((since, last)) if now.duration_since(last) <= BREAK => since,
            _ => now,
        };
        self.0 = Some((since, now));
        now.duration_since(since)
    }
}

impl Connector {
    /// Notes what an attempt to connect says of NATS.
    pub(super) async fn note(&self, error: &SessionError) {
        if error.is_answered() {
            return self.reach.reached();
        }
        self.reach.missed();
        if self.on_outage == OnQueueOutage::WriteThrough
            && self.reach.is_away()
            && self.fences.is_written_through()
            && let Err(error) = self.postgres.note_queue_outage(self.holder).await
        {
            tracing::debug!(%error, "nobody else knows that nats cannot be reached from here");
        }
    }

    /// If PostgreSQL takes the writes, returns once the queue takes them again.
    pub(super) async fn take_back(&self, lives: &Lives, context: &Context) -> Result<(), SessionError> {
        let mut calm = Calm::default();
        let mut waited_for = Vec::new();
        loop {
            let through = self.written_through().await?;
            if through.is_empty() {
                return Ok(());
            }
            // A partition that has just been given to PostgreSQL waits for its own horizon.
            let terms: Vec<_> = through
                .iter()
                .map(|fence| (fence.partition, fence.epoch))
                .collect();
            if terms != waited_for {
                (calm, waited_for) = (Calm::default(), terms);
            }
            let status = Connectivity::lost(&"postgresql takes the writes, and the queue again soon");
            self.status.send_replace(status);
            // The fence was read before: the calm begins after the last lease ended.
            let mut streams = Vec::with_capacity(through.len());
            for fence in &through {
                let stream = self.look(fence, lives, context).await?;
                self.go_on(fence, &stream).await?;
                streams.push(stream);
            }
            self.reach.reached();
            let calm = calm.note(Instant::now());
            let missed = self.postgres.others_miss_the_queue(self.holder).await?;
            if calm > self.config.horizon.get() && !missed {
                for (fence, stream) in through.iter().zip(&streams) {
                    self.reopen(fence, stream).await?;
                }
            } else {
                sleep(INTERVAL).await;
            }
        }
    }

    async fn written_through(&self) -> Result<Vec<Fence>, SessionError> {
        let fences = self.postgres.fences().await?.into_iter();
        Ok(fences.filter(|fence| fence.mode == Mode::Through).collect())
    }

    /// The queue may have taken the writes again already, and PostgreSQL have lost that: then there is nothing to wait for.
    async fn go_on(&self, fence: &Fence, stream: &Seen) -> Result<(), SessionError> {
        let (partition, epoch) = (fence.partition, fence.epoch);
        if let Some(lost) = &stream.later
            && lost.lives_in(&stream.incarnation)
            && let Raised::Here(now) = self.postgres.restore_epoch(partition, epoch, lost).await?
        {
            tracing::warn!(%partition, epoch, now = now.epoch, "postgresql had lost that the queue takes the writes");
        }
        Ok(())
    }

    async fn reopen(&self, fence: &Fence, stream: &Seen) -> Result<(), SessionError> {
        let (partition, epoch) = (fence.partition, fence.epoch);
        let reopened = self.postgres.reopen_queue(
            partition,
            epoch,
            &stream.incarnation,
            stream.last_sequence,
            stream.later.as_ref(),
        );
        if reopened.await? {
            tracing::warn!(%partition, epoch, "nats is back: the queue takes the writes, in another epoch");
        }
        Ok(())
    }

    /// What the partition's stream says of itself.
    async fn look(&self, fence: &Fence, lives: &Lives, context: &Context) -> Result<Seen, SessionError> {
        let name = StreamNames::new(&self.config.prefix).stream(fence.partition);
        let stream = match context.get_stream(&name).await {
            Ok(stream) => stream,
            Err(source) => return Err(SessionError::Stream { stream: name, source }),
        };
        let info = stream.cached_info();
        Ok(Seen {
            incarnation: lives.incarnation(info).await?,
            last_sequence: info.state.last_sequence,
            later: provision::epoch_after(context, &name, fence.epoch).await?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_break_between_two_answers_begins_the_wait_anew() {
        let (mut calm, start) = (Calm::default(), Instant::now());
        let mut at = |millis| calm.note(start + Duration::from_millis(millis));
        assert_eq!(at(0), Duration::ZERO);
        assert_eq!(at(900), Duration::from_millis(900));
        assert_eq!(at(1_900), Duration::from_millis(1_900));
        assert_eq!(at(2_901), Duration::ZERO);
        assert_eq!(at(3_000), Duration::from_millis(99));
    }
}
