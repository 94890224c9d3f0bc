//! Whether what an acknowledgement promises can be kept by what is there. Pure.

use std::iter;

use birbnest_stores::{postgres::PostgresPosture, redis::RedisMemory};

use super::conditions::{DURABILITY, Finding};
use crate::{posture::Facts, reconcile::facts::Why};

/// What is declared and what is there.
pub(in crate::reconcile) struct Posture<'a> {
    /// Why the streams are not as they should be, if they are not.
    pub(in crate::reconcile) streams: Option<&'a Why>,
    /// Copies that JetStream keeps of each write.
    pub(in crate::reconcile) copies: u8,
    /// The backends that the operator runs, which are single servers for trying out.
    pub(in crate::reconcile) managed: &'a [String],
    /// Whether NATS is one of them.
    pub(in crate::reconcile) runs_nats: bool,
    /// Connections to PostgreSQL that all pods may open together.
    pub(in crate::reconcile) connections: i64,
    /// What the other backends say of themselves.
    pub(in crate::reconcile) facts: &'a Facts,
}

/// Something by which an acknowledged write can be lost, or refused sooner than it must be.
struct Shortcoming {
    reason: &'static str,
    message: String,
}

/// The first shortcoming gives the reason, and all are told.
pub(super) fn assess(posture: &Posture<'_>) -> Finding {
    if let Some(why) = posture.streams {
        return Finding::fails(DURABILITY, why.clone());
    }
    let shortcomings = shortcomings(posture);
    let silent = silent(posture.facts);
    if let Some(worst) = shortcomings.first() {
        let messages = shortcomings.iter().map(|one| &one.message);
        let all: Vec<_> = messages.chain(&silent).map(String::as_str).collect();
        return Finding::fails(DURABILITY, Why::waiting(worst.reason, all.join("; ")));
    }
    let (reason, kept) = kept(posture);
    let all: Vec<_> = iter::once(kept).chain(silent).collect();
    Finding::holds(DURABILITY, reason, all.join("; "))
}

/// The worst first, and last what may be well and cannot be seen: alerts go by the first.
fn shortcomings(posture: &Posture<'_>) -> Vec<Shortcoming> {
    let Facts { postgres, redis } = posture.facts;
    let postgres = postgres.as_ref().and_then(|answer| answer.told.as_ref());
    let redis = redis.as_ref().and_then(|answer| answer.told.as_ref());
    let found = [
        postgres.and_then(commits),
        postgres.and_then(|postgres| connections(posture.connections, postgres)),
        redis.and_then(memory),
        single_copy(posture),
    ];
    found.into_iter().flatten().collect()
}

/// A write is purged from its stream when PostgreSQL has committed it.
fn commits(postgres: &PostgresPosture) -> Option<Shortcoming> {
    let setting = if !postgres.fsync {
        "fsync is off"
    } else if !postgres.full_page_writes {
        "full_page_writes is off"
    } else if postgres.synchronous_commit == "off" {
        "synchronous_commit is off"
    } else {
        return None;
    };
    Some(Shortcoming {
        reason: "CommitsNotDurable",
        message: format!(
            "PostgreSQL: {setting}, so a commit may be lost when its machine stops, after the queue has given up the write: turn \
             it on for the server, the database and the role of this nest"
        ),
    })
}

fn single_copy(posture: &Posture<'_>) -> Option<Shortcoming> {
    if posture.runs_nats || posture.copies > 1 {
        return None;
    }
    Some(Shortcoming {
        reason: "SingleCopy",
        message: "spec.nats.stream.replicas is 1, and whether that server writes to its disk before it acknowledges cannot be \
                  seen from here: set jetstream.sync_interval to always there, or use 3 replicas"
            .to_owned(),
    })
}

fn connections(needed: i64, postgres: &PostgresPosture) -> Option<Shortcoming> {
    let left = postgres.connections;
    (needed > left).then(|| Shortcoming {
        reason: "TooFewConnections",
        message: format!(
            "PostgreSQL: all API pods and workers together may open {needed} connections, and {left} are left for them: lower \
             spec.postgres.maxConnections or spec.worker.autoscaling.max, or raise max_connections or the limit of the role"
        ),
    })
}

/// Copies are to make room for others; without a limit the kernel decides what goes.
fn memory(redis: &RedisMemory) -> Option<Shortcoming> {
    let message = if redis.limit == 0 {
        "Redis: maxmemory is not set, so it grows until its machine ends it: set it, and maxmemory-policy to allkeys-lru"
    } else if redis.policy == "noeviction" {
        "Redis: maxmemory-policy is noeviction, so a full Redis refuses every new copy: set it to allkeys-lru"
    } else {
        return None;
    };
    Some(Shortcoming {
        reason: "RedisMemoryPolicy",
        message: message.to_owned(),
    })
}

/// Why nothing is missing.
fn kept(posture: &Posture<'_>) -> (&'static str, String) {
    if !posture.managed.is_empty() {
        let message = format!(
            "{}: single nodes, for trying out; an acknowledged write survives a restart of every pod, and is lost with the volume \
             that holds the only copy",
            posture.managed.join(", "),
        );
        return ("SingleNode", message);
    }
    let message = format!(
        "{} servers keep each write until PostgreSQL has it",
        posture.copies
    );
    ("Replicated", message)
}

/// Who did not answer: its pods may reach it all the same.
fn silent(facts: &Facts) -> Option<String> {
    let postgres = facts.postgres.as_ref().and_then(|answer| answer.silent.as_ref());
    let redis = facts.redis.as_ref().and_then(|answer| answer.silent.as_ref());
    let told = [("PostgreSQL", postgres), ("Redis", redis)]
        .into_iter()
        .filter_map(|(name, error)| {
            Some(format!(
                "{name} did not tell the operator how it is set up ({})",
                error?
            ))
        });
    let all: Vec<_> = told.collect();
    (!all.is_empty()).then(|| all.join("; "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::posture::Answer;

    fn told<T>(told: T) -> Answer<T> {
        Answer {
            told: Some(told),
            silent: None,
        }
    }

    fn good() -> Facts {
        Facts {
            postgres: Some(told(PostgresPosture {
                synchronous_commit: "on".to_owned(),
                fsync: true,
                full_page_writes: true,
                connections: 97,
            })),
            redis: Some(told(RedisMemory {
                limit: 1 << 30,
                policy: "allkeys-lru".to_owned(),
            })),
        }
    }

    fn judged(facts: &Facts, copies: u8, connections: i64) -> Finding {
        assess(&Posture {
            streams: None,
            copies,
            managed: &[],
            runs_nats: false,
            connections,
            facts,
        })
    }

    fn changed(change: impl FnOnce(&mut PostgresPosture, &mut RedisMemory)) -> Facts {
        let mut facts = good();
        let postgres = facts.postgres.as_mut().and_then(|answer| answer.told.as_mut());
        let redis = facts.redis.as_mut().and_then(|answer| answer.told.as_mut());
        if let (Some(postgres), Some(redis)) = (postgres, redis) {
            change(postgres, redis);
        }
        facts
    }

    #[test]
    fn three_copies_and_sound_backends_keep_what_is_declared() {
        let finding = judged(&good(), 3, 97);
        assert!(finding.holds, "{finding:?}");
        assert_eq!(finding.why.reason, "Replicated");
    }

    #[test]
    fn each_shortcoming_has_its_reason_and_says_what_to_do() {
        let cases: [(&str, &str, Facts, u8, i64); 7] = [
            (
                "CommitsNotDurable",
                "synchronous_commit",
                changed(|p, _| p.synchronous_commit = "off".to_owned()),
                3,
                1,
            ),
            (
                "CommitsNotDurable",
                "fsync",
                changed(|p, _| p.fsync = false),
                3,
                1,
            ),
            (
                "CommitsNotDurable",
                "full_page_writes",
                changed(|p, _| p.full_page_writes = false),
                3,
                1,
            ),
            ("SingleCopy", "3 replicas", good(), 1, 1),
            ("TooFewConnections", "98 connections, and 97", good(), 3, 98),
            (
                "RedisMemoryPolicy",
                "noeviction",
                changed(|_, r| r.policy = "noeviction".to_owned()),
                3,
                1,
            ),
            (
                "RedisMemoryPolicy",
                "maxmemory is not set",
                changed(|_, r| r.limit = 0),
                3,
                1,
            ),
        ];
        for (reason, told, facts, copies, connections) in cases {
            let finding = judged(&facts, copies, connections);
            assert!(!finding.holds, "{reason}");
            assert_eq!(finding.why.reason, reason);
            assert!(finding.why.message.contains(told), "{}", finding.why.message);
        }
    }

    #[test]
    fn what_loses_writes_comes_first_and_nothing_is_kept_back() {
        let facts = changed(|postgres, redis| {
            postgres.fsync = false;
            redis.limit = 0;
        });
        let finding = judged(&facts, 1, 98);
        assert_eq!(finding.why.reason, "CommitsNotDurable");
        for told in ["fsync", "replicas", "98 connections", "maxmemory"] {
            assert!(finding.why.message.contains(told), "{}", finding.why.message);
        }
    }

    #[test]
    fn what_cannot_be_seen_is_the_reason_only_where_nothing_else_is() {
        let facts = changed(|_, redis| redis.limit = 0);
        assert_eq!(judged(&facts, 1, 98).why.reason, "TooFewConnections");
        assert_eq!(judged(&facts, 1, 1).why.reason, "RedisMemoryPolicy");
    }

    #[test]
    fn what_was_told_before_a_backend_fell_silent_still_counts() {
        let mut facts = changed(|postgres, _| postgres.fsync = false);
        facts.postgres.as_mut().unwrap().silent = Some("too many clients".to_owned());
        let finding = judged(&facts, 3, 1);
        assert_eq!(finding.why.reason, "CommitsNotDurable");
        assert!(finding.why.message.contains("too many clients"), "{finding:?}");
    }

    #[test]
    fn a_backend_that_does_not_answer_the_operator_is_named_and_counts_against_nobody() {
        let facts = Facts {
            postgres: Some(Answer {
                told: None,
                silent: Some("no answer within 3 s".to_owned()),
            }),
            ..good()
        };
        let finding = judged(&facts, 3, 1_000);
        assert!(finding.holds, "{finding:?}");
        assert!(
            finding.why.message.contains("PostgreSQL did not tell"),
            "{finding:?}"
        );
    }

    proptest! {
        #[test]
        fn nothing_gets_worse_by_mending_one_thing(fsync: bool, synced: bool, limit in 0u64..2, copies in 1u8..4, left in 0i64..50) {
            let facts = |fsync| changed(|postgres, redis| {
                postgres.fsync = fsync;
                postgres.synchronous_commit = if synced { "on" } else { "off" }.to_owned();
                postgres.connections = left;
                redis.limit = limit;
            });
            let posture = |facts: &Facts| shortcomings(&Posture {
                streams: None,
                copies,
                managed: &[],
                runs_nats: false,
                connections: 20,
                facts,
            }).len();
            prop_assert!(posture(&facts(true)) <= posture(&facts(fsync)));
            let fine = synced && fsync && limit > 0 && copies > 1 && left >= 20;
            prop_assert_eq!(judged(&facts(fsync), copies, 20).holds, fine);
        }
    }
}
