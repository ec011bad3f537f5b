//! The token filters of one generated text, one behind the other.

use futures_util::{Stream, StreamExt, stream};
use wharf_core::{Result, Token, TokenFilter, Verdict};

/// The most tokens that go into the filters at once.
const MOST_AT_ONCE: usize = 64;

/// The filters of one text, in their order: each sees what the one before it gave. Dropping it ends the text in all of
/// them, whatever they still hold.
///
/// A filter that fails ends the text. No failure policy can help there: the tokens that it held are gone with it.
pub struct FilterChain {
    filters: Vec<Box<dyn TokenFilter>>,
}

impl FilterChain {
    /// Takes the filters of a text that begins.
    #[must_use]
    pub fn new(filters: Vec<Box<dyn TokenFilter>>) -> Self {
        Self { filters }
    }

    /// Takes the tokens that came since the last call, and gives those that came through.
    ///
    /// Where a filter stops the text, the filters behind it are ended with what it gave last. A stop of theirs lies before
    /// its own in the text, so its reason is the one that counts. After a stop or an error the chain takes nothing more.
    ///
    /// # Errors
    /// Those of the filters.
    pub async fn push(&mut self, tokens: Vec<Token>) -> Result<Verdict> {
        let mut tokens = tokens;
        for at in 0..self.filters.len() {
            if tokens.is_empty() {
                return Ok(Verdict::Emit(tokens));
            }
            match self.filters[at].push(tokens).await {
                Ok(Verdict::Emit(given)) => tokens = given,
                Ok(Verdict::Stop { tokens, reason }) => {
                    let behind = self.filters.split_off(at + 1);
                    self.filters.clear();
                    return flush(behind, tokens, Some(reason)).await;
                }
                Err(error) => {
                    self.filters.clear();
                    return Err(error);
                }
            }
        }
        Ok(Verdict::Emit(tokens))
    }

    /// Ends the text: each filter gives what it kept back to the next one, which ends after it.
    ///
    /// # Errors
    /// Those of the filters.
    pub async fn finish(self) -> Result<Verdict> {
        flush(self.filters, Vec::new(), None).await
    }

    /// Filters the tokens of a generator as they come. Those that came while the filters worked go in together. The last
    /// verdict ends the text, with a reason or as its generator did; an error of either is the last as well.
    pub fn filter<S>(self, tokens: S) -> impl Stream<Item = Result<Verdict>> + Send
    where
        S: Stream<Item = Result<Token>> + Send + 'static,
    {
        let tokens = Box::pin(tokens.ready_chunks(MOST_AT_ONCE));
        stream::unfold(Some((self, tokens, Ok(()))), |text| async {
            let (mut chain, mut source, failed) = text?;
            if let Err(error) = failed {
                return Some((Err(error), None));
            }
            let Some(chunk) = source.next().await else {
                return Some((chain.finish().await, None));
            };
            // What came before a failure goes before it.
            let mut failed = Ok(());
            let mut tokens = Vec::with_capacity(chunk.len());
            for token in chunk {
                match token {
                    Ok(token) => tokens.push(token),
                    Err(error) => {
                        failed = Err(error);
                        break;
                    }
                }
            }
            let verdict = chain.push(tokens).await;
            let goes_on = matches!(verdict, Ok(Verdict::Emit(_)));
            Some((verdict, goes_on.then_some((chain, source, failed))))
        })
    }
}

/// Ends filters with the last tokens that come to them.
async fn flush(
    filters: Vec<Box<dyn TokenFilter>>,
    mut tokens: Vec<Token>,
    mut reason: Option<String>,
) -> Result<Verdict> {
    for mut filter in filters {
        let given = match tokens.is_empty() {
            true => Verdict::Emit(Vec::new()),
            false => filter.push(tokens).await?,
        };
        tokens = match given {
            Verdict::Emit(mut given) => {
                given.extend(filter.finish().await?);
                given
            }
            Verdict::Stop {
                tokens,
                reason: earlier,
            } => {
                reason = Some(earlier);
                tokens
            }
        };
    }
    Ok(match reason {
        Some(reason) => Verdict::Stop { tokens, reason },
        None => Verdict::Emit(tokens),
    })
}
