//! Why an attempt came to nothing, what that says of the endpoint, and what the client is told.

use std::time::Duration;

use wharf_core::{Error, ErrorKind};

/// The longest text of a peer that a client reads, in characters.
const MAX_TEXT: usize = 300;

/// What a client is told to wait where the peer does not say.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The longest wait that a peer may ask a client for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why an attempt came to nothing. The texts are for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// No connection: nothing was sent.
    #[error("no connection could be made")]
    Unreachable(#[source] Source),
    /// As many connections are open as may be: nothing was sent.
    #[error("max_connections = {0} are open")]
    Full(usize),
    /// A connection that had been kept was closed before a byte of the answer: the peer may not have seen the request.
    #[error("the kept connection was closed")]
    Stale(#[source] Source),
    /// The connection broke, or what came over it was no message.
    #[error("the exchange broke off")]
    Broken(#[source] Source),
    /// It took longer than an attempt may.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The peer says that it has no room now.
    #[error("the peer has no room")]
    Busy(Option<Duration>),
    /// The peer says that its own time for the request is over.
    #[error("the peer ran out of time")]
    GaveUp,
    /// The time is over that the client gave, or that it took itself.
    #[error("the time of the request is over")]
    Late,
    /// The peer refuses what the client sent.
    #[error("the peer refuses the request: {text}")]
    Refused {
        kind: ErrorKind,
        text: String,
        retry_after: Option<Duration>,
    },
    /// The peer does not know what it is asked for.
    #[error("the peer does not have the model: {0}")]
    Gone(String),
    /// Something between here and the peer has no answer from it.
    #[error("a gateway in front of the peer answered {0}")]
    Gateway(String),
    /// The peer failed, or does not want to talk to this server.
    #[error("the peer answered {0}")]
    Failed(String),
    /// The answer is not one to what was asked.
    #[error("the answer is not what was asked for: {0}")]
    Lying(String),
    /// What the client sends broke off.
    #[error("the client's body ended early")]
    Client(Error),
}

impl Fault {
    /// Whether the same may be sent again: nothing was done, or doing it twice does no harm and another endpoint may do better.
    pub(crate) fn is_worth_another_try(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::Full(_)
            | Self::Stale(_)
            | Self::Broken(_)
            | Self::TimedOut(_)
            | Self::GaveUp
            | Self::Busy(_)
            | Self::Gateway(_) => true,
            Self::Failed(_)
            | Self::Late
            | Self::Refused { .. }
            | Self::Gone(_)
            | Self::Lying(_)
            | Self::Client(_) => false,
        }
    }

    /// Whether nothing can have been done for the request.
    pub(crate) fn is_before_anything(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Full(_))
    }

    /// Whether it speaks against the endpoint.
    pub(crate) fn is_the_endpoints(&self, counts_unavailable: bool) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::Broken(_)
            | Self::TimedOut(_)
            | Self::GaveUp
            | Self::Gone(_)
            | Self::Gateway(_)
            | Self::Failed(_)
            | Self::Lying(_) => true,
            Self::Busy(_) => counts_unavailable,
            Self::Full(_)
            | Self::Stale(_)
            | Self::Late
            | Self::Refused { .. }
            | Self::Client(_) => false,
        }
    }

    /// Whether the model there is not what it was when it was last asked.
    pub(crate) fn is_a_change(&self) -> bool {
        matches!(self, Self::Gone(_) | Self::Lying(_))
    }

    /// The name for metrics.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Unreachable(_) => Outcome::Unreachable,
            Self::Full(_) => Outcome::Full,
            Self::Stale(_) | Self::Broken(_) => Outcome::Broken,
            Self::TimedOut(_) | Self::GaveUp | Self::Late => Outcome::Timeout,
            Self::Busy(_) => Outcome::Busy,
            Self::Refused { .. } | Self::Client(_) => Outcome::Refused,
            Self::Gone(_) | Self::Gateway(_) | Self::Failed(_) => Outcome::Failed,
            Self::Lying(_) => Outcome::Lying,
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let unavailable = |message: &'static str, wait| {
            Error::new(ErrorKind::Unavailable, message).with_retry_after(wait)
        };
        match fault {
            Fault::Client(error) => error,
            Fault::Refused {
                kind,
                text,
                retry_after,
            } => {
                let error = Error::new(kind, format!("the upstream refused it: {text}"));
                match retry_after {
                    Some(wait) => error.with_retry_after(wait.min(MAX_RETRY_AFTER)),
                    None => error,
                }
            }
            Fault::Busy(wait) => {
                let wait = wait.unwrap_or(RETRY_AFTER).min(MAX_RETRY_AFTER);
                unavailable("the upstream has no room now; try again later", wait)
            }
            Fault::Full(_) => unavailable(
                "too many connections to the upstream; try again later",
                RETRY_AFTER,
            )
            .with_source(fault),
            Fault::Unreachable(_) => unavailable(
                "the upstream cannot be reached; try again later",
                RETRY_AFTER,
            )
            .with_source(fault),
            Fault::TimedOut(_) | Fault::GaveUp | Fault::Late => {
                let message = "the upstream took too long";
                Error::new(ErrorKind::Deadline, message).with_source(fault)
            }
            Fault::Stale(_) | Fault::Broken(_) => {
                let message = "the upstream broke off before it had answered";
                Error::new(ErrorKind::UpstreamFault, message).with_source(fault)
            }
            Fault::Gone(_) | Fault::Gateway(_) | Fault::Failed(_) => {
                let message = "the upstream failed; its own log has the details";
                Error::new(ErrorKind::UpstreamFault, message).with_source(fault)
            }
            Fault::Lying(_) => {
                let message = "the upstream answered with something else than it was asked for";
                Error::new(ErrorKind::UpstreamFault, message).with_source(fault)
            }
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Refused,
    Busy,
    Unreachable,
    Full,
    Timeout,
    Broken,
    Failed,
    Lying,
    Cancelled,
}

impl Outcome {
    pub(crate) const ALL: [Self; 10] = [
        Self::Ok,
        Self::Refused,
        Self::Busy,
        Self::Unreachable,
        Self::Full,
        Self::Timeout,
        Self::Broken,
        Self::Failed,
        Self::Lying,
        Self::Cancelled,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::Unreachable => "unreachable",
            Self::Full => "full",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Failed => "failed",
            Self::Lying => "lying",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A peer's text as a client may read it: one line, of no more than a few hundred characters that can be seen.
pub(crate) fn safe(text: &str) -> String {
    let mut safe: String = text
        .chars()
        .take(MAX_TEXT)
        .map(|char| {
            if char.is_control() || is_invisible(char) {
                ' '
            } else {
                char
            }
        })
        .collect();
    if text.chars().nth(MAX_TEXT).is_some() {
        safe.push('…');
    }
    let trimmed = safe.trim();
    match trimmed.is_empty() {
        true => "it does not say why".to_owned(),
        false => trimmed.to_owned(),
    }
}

/// Marks that change the order of what is shown, or show nothing.
fn is_invisible(char: char) -> bool {
    matches!(char, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_text_is_short_and_harmless() {
        assert_eq!(safe("a\r\nb\u{1b}[31m\u{202e}c"), "a  b [31m c");
        assert_eq!(safe(" \n"), "it does not say why");
        let long = safe(&"x".repeat(10_000));
        assert_eq!(long.chars().count(), MAX_TEXT + 1);
    }

    #[test]
    fn what_the_peer_refuses_is_the_clients_and_the_rest_the_peers() {
        let refused = Fault::Refused {
            kind: ErrorKind::QuotaExceeded,
            text: "slower".to_owned(),
            retry_after: Some(Duration::MAX),
        };
        assert!(!refused.is_the_endpoints(true) && !refused.is_worth_another_try());
        let error = Error::from(refused);
        assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
        assert_eq!(error.retry_after(), Some(MAX_RETRY_AFTER));
        let busy = Fault::Busy(None);
        assert!(busy.is_the_endpoints(true) && !busy.is_the_endpoints(false));
        assert!(Fault::Lying(String::new()).is_the_endpoints(false));
        let error = Error::from(Fault::Failed("500".to_owned()));
        assert_eq!(error.kind(), ErrorKind::UpstreamFault);
        assert!(!error.message().contains("500"));
    }
}
