//! Who takes part, what may go wrong, and which rule is left out.

/// A rule of the protocol that can be left out, to see what breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A write stores only over an older copy, never into an absent key.
    WriteReplacesOnly,
    /// A reader stores only over its own lease.
    FillNeedsLease,
    /// The worker's invalidation removes leases too.
    InvalidationEndsLeases,
    /// Another Redis process is another cache generation.
    GenerationFollowsProcess,
    /// The worker acknowledges only after it has invalidated, or raised the cache generation.
    AckAfterInvalidation,
    /// A reader joins another's question only before the stream was asked.
    JoinBeforeStreamRead,
    /// The stream's leader answers, not a follower that lags.
    LeaderAnswers,
    /// Redis is filled only if both sources answered.
    FillFromBoth,
    /// Tombstones are swept only at or below the mark.
    SweepBehindMark,
    /// Readers ignore a message at or below the mark.
    ReaderIgnoresGhosts,
    /// The worker ignores a message at or below the mark.
    WorkerIgnoresGhosts,
    /// The worker reads the mark in the transaction of its upsert.
    MarkReadWithUpsert,
    /// The mark is recorded before the purge is ordered.
    MarkBeforePurge,
    /// The purge waits until writes that were in flight are over.
    Horizon,
    /// A condition is compared with the higher version of stream and table.
    CompareWithBoth,
    /// A conditional write names the writes it builds on, so that a repetition recognises itself.
    OperationIds,
    /// After a failover of PostgreSQL everything that the stream holds is delivered again.
    FailoverReplays,
    /// It is delivered by another consumer, which no late acknowledgement reaches.
    ReplayRenewsConsumer,
    /// A replay raises the cache generation above every one that there was.
    ReplayRaisesGeneration,
    /// What the janitor observed before a failover is not recorded after it.
    JanitorBoundToHistory,
    /// The standby lags behind by less than the horizon.
    LagBelowHorizon,
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It writes.
    Put,
    /// It deletes.
    Delete,
    /// It increments by a conditional write.
    Increment,
    /// It reads.
    Get,
}

/// How often each thing may go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Redis loses the key: eviction, expiry, `FLUSHALL`.
    pub evictions: u8,
    /// An API process dies in the middle of a write.
    pub api_deaths: u8,
    /// NATS is killed; a purged message may come back.
    pub nats_kills: u8,
    /// The acknowledgement of a publish is lost.
    pub lost_acks: u8,
    /// A publish is held in a connection after its client was told that the outcome is unknown.
    pub late_publishes: u8,
    /// A command does not reach Redis.
    pub redis_errors: u8,
    /// Redis restarts with an older snapshot.
    pub redis_restarts: u8,
    /// PostgreSQL's standby takes over, and lacks what it has not seen.
    pub failovers: u8,
}

/// One question to the model.
#[derive(Clone, Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is there or not, whatever the others are"
)]
pub struct Setting {
    /// Up to four clients that do one thing after the other: what, and how often.
    pub clients: Vec<(Deed, u8)>,
    /// Workers, one or two.
    pub workers: usize,
    /// Whether there is a janitor.
    pub janitor: bool,
    /// Whether tombstones are swept.
    pub sweep: bool,
    /// Whether readers ask for at least the version that they saw.
    pub carry: bool,
    /// Whether readers share questions.
    pub flights: bool,
    /// Whether readers may find the stream away.
    pub nats_cut: bool,
    /// Whether readers may find PostgreSQL away.
    pub postgres_cut: bool,
    /// Whether a killed NATS forgets acknowledgements of the consumer.
    pub floor_goes_back: bool,
    /// What may go wrong.
    pub faults: Faults,
    /// The rules that are left out.
    pub without: &'static [Rule],
}

impl Setting {
    pub(super) fn keeps(&self, rule: Rule) -> bool {
        !self.without.contains(&rule)
    }

    pub(super) fn deed(&self, client: usize) -> Option<Deed> {
        self.clients.get(client).map(|(deed, _)| *deed)
    }
}
