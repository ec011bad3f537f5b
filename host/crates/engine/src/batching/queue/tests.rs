use super::*;

mod tenants;

/// Levels and rows.
type Jobs = Vec<(usize, u64)>;

const MS: Duration = Duration::from_millis(1);

/// A queue with an idle instance.
fn queue(levels: usize) -> (Queue<()>, Arc<Backlog>) {
    let backlog = Arc::new(Backlog::new(levels, 1));
    (Queue::new(vec![()], Arc::clone(&backlog)), backlog)
}

fn forming(max_rows: u64, preferred: &[u64], delay: Duration) -> Forming<'_> {
    Forming {
        max_rows,
        preferred_rows: preferred,
        delay,
    }
}

/// A request of so many rows that came at a time and waits until then.
fn push(queue: &mut Queue<()>, job: (usize, u64), came: Instant, until: Instant) -> u64 {
    push_of(queue, None, job, (came, until))
}

/// The same of a tenant.
fn push_of(
    queue: &mut Queue<()>,
    tenant: Option<&str>,
    (level, rows): (usize, u64),
    (came, until): (Instant, Instant),
) -> u64 {
    let id = queue.next_id();
    let values = vec![0_u8; rows as usize];
    queue.push(Job {
        id,
        end: 0,
        level,
        tenant: tenant.map(Arc::from),
        inputs: vec![Tensor::from_vec("x", [rows, 1], values).unwrap()],
        rows: Some(rows),
        units: rows,
        bytes: 0,
        enqueued: came,
        patience: Patience {
            deadline: came + 1000 * MS,
            queue: Some(until),
        },
        reply: oneshot::channel().0,
        run: Arc::default(),
    });
    id
}

/// The levels and rows of the next batch, and why it is closed.
fn batch(
    queue: &mut Queue<()>,
    forming: Forming<'_>,
    now: Instant,
) -> Result<(Jobs, Closing), &'static str> {
    match queue.next(forming, now, &mut Vec::new()) {
        Turn::Wait => Err("wait"),
        Turn::WaitUntil(_) => Err("gather"),
        Turn::Ready(picked) => {
            let mut jobs = Vec::new();
            for place in picked.places.iter().rev() {
                jobs.extend(queue.serve(*place));
            }
            let of = |job: &Job| (job.level, job.units);
            Ok((jobs.iter().rev().map(of).collect(), picked.closing))
        }
    }
}

#[test]
fn higher_levels_go_first_and_lower_ones_fill_the_batch() {
    let (mut queue, backlog) = queue(3);
    let (now, later) = (Instant::now(), Instant::now() + 500 * MS);
    for (level, rows) in [(2, 1), (1, 2), (0, 1), (2, 3), (1, 1)] {
        push(&mut queue, (level, rows), now, later);
    }
    assert_eq!(backlog.depths().0, 5);
    let forming = forming(5, &[], Duration::ZERO);
    assert_eq!(
        batch(&mut queue, forming, now),
        Ok((vec![(0, 1), (1, 2), (1, 1), (2, 1)], Closing::Full))
    );
    assert_eq!(
        batch(&mut queue, forming, now),
        Ok((vec![(2, 3)], Closing::Idle))
    );
    assert_eq!(batch(&mut queue, forming, now), Err("wait"));
    assert_eq!(backlog.depths().0, 0);
}

#[test]
fn the_largest_preferred_batch_is_closed_at_once_and_others_wait() {
    let (mut queue, _) = queue(1);
    let now = Instant::now();
    let later = now + 500 * MS;
    let forming = forming(16, &[4, 8], 10 * MS);
    for _ in 0..3 {
        push(&mut queue, (0, 1), now, later);
    }
    assert_eq!(batch(&mut queue, forming, now), Err("gather"));
    for _ in 0..7 {
        push(&mut queue, (0, 1), now + MS, later);
    }
    assert_eq!(
        batch(&mut queue, forming, now + MS),
        Ok((vec![(0, 1); 8], Closing::Preferred))
    );
    assert_eq!(batch(&mut queue, forming, now + MS), Err("gather"));
    assert_eq!(
        batch(&mut queue, forming, now + 11 * MS),
        Ok((vec![(0, 1); 2], Closing::Delay))
    );
    for _ in 0..17 {
        push(&mut queue, (0, 1), now, later);
    }
    assert_eq!(
        batch(&mut queue, forming, now),
        Ok((vec![(0, 1); 16], Closing::Full))
    );
}

#[test]
fn idle_instances_divide_what_waits() {
    let (mut queue, _) = queue(1);
    queue.give_idle(());
    let now = Instant::now();
    let later = now + 500 * MS;
    let at_once = forming(16, &[], Duration::ZERO);
    for rows in [2, 3, 1, 1] {
        push(&mut queue, (0, rows), now, later);
    }
    // Half of seven rows is four; three more would be too many.
    assert_eq!(
        batch(&mut queue, at_once, now),
        Ok((vec![(0, 2), (0, 1), (0, 1)], Closing::Idle))
    );
    // The other instance is busy now: one takes all that is left.
    queue.take_idle(0);
    push(&mut queue, (0, 4), now, later);
    assert_eq!(
        batch(&mut queue, at_once, now),
        Ok((vec![(0, 3), (0, 4)], Closing::Idle))
    );
    // Who asks for sizes, or for time to fill a batch, gets them.
    queue.give_idle(());
    for _ in 0..8 {
        push(&mut queue, (0, 1), now, later);
    }
    assert_eq!(
        batch(&mut queue, forming(16, &[8], Duration::ZERO), now),
        Ok((vec![(0, 1); 8], Closing::Preferred))
    );
}

#[test]
fn what_waited_too_long_is_in_no_batch() {
    let (mut queue, backlog) = queue(1);
    let now = Instant::now();
    let first = push(&mut queue, (0, 1), now, now + MS);
    push(&mut queue, (0, 2), now, now + 500 * MS);
    let last = push(&mut queue, (0, 3), now, now + MS);
    let mut expired = Vec::new();
    let forming = forming(8, &[], Duration::ZERO);
    let Turn::Ready(picked) = queue.next(forming, now + MS, &mut expired) else {
        panic!("one is left");
    };
    assert_eq!((picked.places, picked.rows), (vec![0], 2));
    assert_eq!(
        expired.iter().map(|job| job.id).collect::<Vec<_>>(),
        [first]
    );
    assert_eq!(backlog.depths().0, 2);
    // Its own timer takes it out.
    assert!(queue.remove(first).is_none());
    assert!(queue.remove(last).is_some());
}

#[test]
fn an_overload_sheds_the_oldest_of_the_lowest_level() {
    let (mut queue, backlog) = queue(2);
    let now = Instant::now();
    let ids: Vec<u64> = [(1, 2), (0, 1), (1, 2), (1, 2)]
        .map(|job| push(&mut queue, job, now, now + MS))
        .into();
    let shed = queue.shed(3);
    assert_eq!(
        shed.iter().map(|job| job.id).collect::<Vec<_>>(),
        [ids[0], ids[2]]
    );
    assert_eq!(backlog.depths().0, 2);
    assert!(queue.shed(3).is_empty());
    assert_eq!(queue.shed(0).len(), 2);
    assert!(queue.is_empty());
}
