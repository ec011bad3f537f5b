//! The filters of one text or body that comes piece by piece, one behind the other.

use futures_util::{Stream, StreamExt, stream};
use wharf_core::{Filter, Portion, Result, Verdict};

/// The most pieces that go into the filters at once.
const MOST_AT_ONCE: usize = 64;

/// The filters of one text or body, in their order: each sees what the one before it gave. Dropping it ends the text in all of
/// them, whatever they still hold. A text is a `Vec<Token>` at a time, a body `Bytes`.
///
/// A filter that fails ends the text. No failure policy can help there: what it held is gone with it.
pub struct FilterChain<P: Portion> {
    filters: Vec<Box<dyn Filter<P>>>,
}

impl<P: Portion> FilterChain<P> {
    /// Takes the filters of a text that begins.
    #[must_use]
    pub fn new(filters: Vec<Box<dyn Filter<P>>>) -> Self {
        Self { filters }
    }

    /// Takes what came since the last call, and gives what came through.
    ///
    /// Where a filter stops the text, the filters behind it are ended with what it gave last. A stop of theirs lies before
    /// its own in the text, so its reason is the one that counts. After a stop or an error the chain takes nothing more.
    ///
    /// # Errors
    /// Those of the filters.
    pub async fn push(&mut self, portion: P) -> Result<Verdict<P>> {
        let mut portion = portion;
        for at in 0..self.filters.len() {
            if portion.is_empty() {
                return Ok(Verdict::Emit(portion));
            }
            match self.filters[at].push(portion).await {
                Ok(Verdict::Emit(given)) => portion = given,
                Ok(Verdict::Stop { last, reason }) => {
                    let behind = self.filters.split_off(at + 1);
                    self.filters.clear();
                    return flush(behind, last, Some(reason)).await;
                }
                Err(error) => {
                    self.filters.clear();
                    return Err(error);
                }
            }
        }
        Ok(Verdict::Emit(portion))
    }

    /// Ends the text: each filter gives what it kept back to the next one, which ends after it.
    ///
    /// # Errors
    /// Those of the filters.
    pub async fn finish(self) -> Result<Verdict<P>> {
        flush(self.filters, P::default(), None).await
    }

    /// Filters the pieces of a source as they come. Those that came while the filters worked go in together. The last
    /// verdict ends the text, with a reason or as its source did; an error of either is the last as well.
    pub fn filter<S>(self, pieces: S) -> impl Stream<Item = Result<Verdict<P>>> + Send
    where
        S: Stream<Item = Result<P::Piece>> + Send + 'static,
    {
        let pieces = Box::pin(pieces.ready_chunks(MOST_AT_ONCE));
        stream::unfold(Some((self, pieces, Ok(()))), |text| async {
            let (mut chain, mut source, failed) = text?;
            if let Err(error) = failed {
                return Some((Err(error), None));
            }
            let Some(came) = source.next().await else {
                return Some((chain.finish().await, None));
            };
            // What came before a failure goes before it.
            let mut failed = Ok(());
            let mut pieces = Vec::with_capacity(came.len());
            for piece in came {
                match piece {
                    Ok(piece) => pieces.push(piece),
                    Err(error) => {
                        failed = Err(error);
                        break;
                    }
                }
            }
            let verdict = chain.push(P::of_pieces(pieces)).await;
            let goes_on = matches!(verdict, Ok(Verdict::Emit(_)));
            Some((verdict, goes_on.then_some((chain, source, failed))))
        })
    }
}

/// Ends filters with the last that comes to them.
async fn flush<P: Portion>(
    filters: Vec<Box<dyn Filter<P>>>,
    mut last: P,
    mut reason: Option<String>,
) -> Result<Verdict<P>> {
    for mut filter in filters {
        let given = match last.is_empty() {
            true => Verdict::Emit(P::default()),
            false => filter.push(last).await?,
        };
        last = match given {
            Verdict::Emit(mut given) => {
                given.append(filter.finish().await?);
                given
            }
            Verdict::Stop {
                last,
                reason: earlier,
            } => {
                reason = Some(earlier);
                last
            }
        };
    }
    Ok(match reason {
        Some(reason) => Verdict::Stop { last, reason },
        None => Verdict::Emit(last),
    })
}
