//! Why the streams are not as they should be.

use async_nats::jetstream::{self, ErrorCode, context::RequestError};

/// Why the streams are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// JetStream did not answer. Trying again helps.
    #[error("JetStream did not answer about the stream {stream}: {source}")]
    Unreachable {
        /// The stream that was asked for.
        stream: String,
        /// What the client said.
        source: RequestError,
    },
    /// JetStream refused to create or change it.
    #[error("JetStream refused the stream {stream}: {source}{}", hint(source))]
    Refused {
        /// The stream.
        stream: String,
        /// What the server said.
        source: jetstream::Error,
    },
    /// A stream of that name belongs to somebody else.
    #[error(
        "the stream {stream} is not BirbNest's: {evidence}; rename or delete that stream, or choose another NATS account"
    )]
    Foreign {
        /// The stream.
        stream: String,
        /// By what one sees it.
        evidence: String,
    },
    /// It is ours, and differs in something that cannot be changed in place.
    #[error(
        "the {what} cannot be set right in place: {difference}; it is not recreated, since that would lose what only it \
         holds: once the queue is drained, delete it, and it is created anew"
    )]
    Fixed {
        /// Stream or consumer, with its name.
        what: String,
        /// What differs.
        difference: String,
    },
}

impl ProvisionError {
    /// Whether the cause is that nobody answered, so that trying again helps.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            // 503: no leader at the moment, JetStream starting.
            Self::Refused { source, .. } => source.code() == 503,
            Self::Foreign { .. } | Self::Fixed { .. } => false,
        }
    }

    /// A stable name for conditions and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "NatsUnreachable",
            Self::Refused { source, .. } if source.error_code() == ErrorCode::STREAM_SUBJECT_OVERLAP => {
                "ForeignStream"
            }
            Self::Refused { .. } => "StreamRefused",
            Self::Foreign { .. } => "ForeignStream",
            Self::Fixed { .. } => "StreamNotChangeable",
        }
    }
}

fn hint(error: &jetstream::Error) -> &'static str {
    match error.error_code() {
        ErrorCode::STREAM_SUBJECT_OVERLAP => {
            "; another stream stores these subjects: change its subjects or delete it"
        }
        ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED => {
            "; set nats.stream.replicas to 1 or run NATS as a cluster of at least that many servers"
        }
        ErrorCode::STORAGE_RESOURCES_EXCEEDED | ErrorCode::INSUFFICIENT_RESOURCES => {
            "; raise JetStream's max_file_store or lower nats.stream.maxBytes"
        }
        _ => "",
    }
}
