//! The open loop: requests are sent when they are due. One that finds every connection busy waits for one, and that
//! waiting is part of its latency, so that a server that stalls is not spared what it would have been sent meanwhile.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Shard;
use super::line::Line;
use crate::cli::bench::schedule::{Pacer, Schedule};

/// The requests that are due, and the lines that wait for one. It holds numbers only: when a request is due follows from
/// its number, so that a server that is behind by millions costs no memory here.
struct Due {
    state: Mutex<State>,
    most_lines: u32,
}

#[derive(Default)]
struct State {
    /// How many requests were due so far.
    due: u64,
    /// How many of them were taken by a line.
    taken: u64,
    /// The line that rested last goes first: few lines stay warm, and more are used only where they must be.
    resting: Vec<mpsc::Sender<Option<u64>>>,
    lines: u32,
    /// How many of them have no connection yet.
    connecting: u32,
    closed: bool,
}

/// Sends every request of the schedule; gives how many lines that took.
///
/// # Errors
/// Where the system gives no thread.
pub(super) async fn run(shard: &Arc<Shard>, rate: f64, stop: &CancellationToken) -> Result<u32> {
    let schedule = Schedule::new(shard.window.start, shard.window.end, rate);
    let due = Arc::new(Due {
        state: Mutex::default(),
        most_lines: shard.load.connections,
    });
    let mut lines = JoinSet::new();
    let pacer = Pacer::start(schedule).context("the system gives no thread")?;
    let sent = async {
        loop {
            pacer.tick().await;
            let now = schedule.due(Instant::now());
            for _ in 0..due.advance(now) {
                lines.spawn(serve(Arc::clone(shard), Arc::clone(&due), schedule));
            }
            if now == schedule.total {
                break;
            }
        }
        due.close();
        while lines.join_next().await.is_some() {}
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = sent => {}
    }
    let first_measured = schedule.due(shard.window.measured).saturating_sub(1);
    let state = due.state();
    shard.recorder().unsent = state.due - state.taken.max(first_measured).min(state.due);
    Ok(state.lines)
}

/// One line: takes what is due, and rests while nothing is.
async fn serve(shard: Arc<Shard>, due: Arc<Due>, schedule: Schedule) {
    let mut line = Line::new(&shard);
    // It takes a request only when it has a connection: until then another line may be free sooner.
    line.connect().await;
    due.connected();
    let (wake, mut woken) = mpsc::channel(1);
    let mut next = due.take(&wake);
    loop {
        let number = match next {
            Next::Take(number) => number,
            Next::Rest => match woken.recv().await.flatten() {
                Some(number) => number,
                None => break,
            },
            Next::End => break,
        };
        if Instant::now() >= shard.window.last {
            due.put_back();
            break;
        }
        let sample = line.call(schedule.at(number)).await;
        shard.record(sample);
        next = due.take(&wake);
    }
}

enum Next {
    Take(u64),
    Rest,
    End,
}

impl Due {
    /// Notes how many requests are due by now, and hands them to lines that rest. Gives how many more lines are wanted.
    fn advance(&self, due: u64) -> u32 {
        let mut state = self.state();
        state.due = due;
        while state.taken < due
            && let Some(resting) = state.resting.pop()
        {
            // A line that rests has room for the one number that it waits for.
            if resting.try_send(Some(state.taken)).is_ok() {
                state.taken += 1;
            }
        }
        let waiting = (due - state.taken).saturating_sub(u64::from(state.connecting));
        let room = self.most_lines - state.lines;
        let wanted = u32::try_from(waiting).map_or(room, |waiting| waiting.min(room));
        state.lines += wanted;
        state.connecting += wanted;
        wanted
    }

    /// A line has its connection.
    fn connected(&self) {
        self.state().connecting -= 1;
    }

    /// The next request, if one is due; otherwise the line is woken when one is.
    fn take(&self, wake: &mpsc::Sender<Option<u64>>) -> Next {
        let mut state = self.state();
        if state.taken < state.due {
            state.taken += 1;
            return Next::Take(state.taken - 1);
        }
        if state.closed {
            return Next::End;
        }
        state.resting.push(wake.clone());
        Next::Rest
    }

    /// The time is over for a request that was taken.
    fn put_back(&self) {
        self.state().taken -= 1;
    }

    /// Nothing more will be due: the lines end when nothing is left.
    fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        for resting in state.resting.drain(..) {
            // A line that ended needs no word.
            let _ = resting.try_send(None);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_requests_go_to_resting_lines_then_to_new_ones() {
        let due = Due {
            state: Mutex::default(),
            most_lines: 2,
        };
        assert_eq!(due.advance(1), 1);
        assert_eq!(due.advance(1), 0, "one line is on its way");
        due.connected();
        let (wake, mut woken) = mpsc::channel(1);
        assert!(matches!(due.take(&wake), Next::Take(0)));
        assert!(matches!(due.take(&wake), Next::Rest));
        // One for the line that rests, one for a second line; there is no third line.
        assert_eq!(due.advance(4), 1);
        due.connected();
        assert_eq!(woken.try_recv(), Ok(Some(1)));
        assert_eq!(due.advance(5), 0);
        assert!(matches!(due.take(&wake), Next::Take(2)));
        due.close();
        assert!(matches!(due.take(&wake), Next::Take(3)));
        assert!(matches!(due.take(&wake), Next::Take(4)));
        assert!(matches!(due.take(&wake), Next::End));
    }
}
