//! Several tenants in one queue.

use super::*;

/// So many requests of so many rows each, of a tenant.
fn send(queue: &mut Queue<()>, tenant: &str, requests: usize, rows: u64) {
    send_at(queue, tenant, requests, (0, rows));
}

/// The same of a level.
fn send_at(queue: &mut Queue<()>, tenant: &str, requests: usize, job: (usize, u64)) {
    let now = Instant::now();
    for _ in 0..requests {
        push_of(queue, named(tenant), job, (now, now + 500 * MS));
    }
}

/// Nobody is one tenant, too.
fn named(tenant: &str) -> Option<&str> {
    Some(tenant).filter(|tenant| !tenant.is_empty())
}

/// The tenants of the next runs of so many rows, one after another.
fn served(queue: &mut Queue<()>, runs: usize, rows: u64) -> Vec<String> {
    let jobs = served_at(queue, runs, rows);
    jobs.into_iter().map(|(tenant, _)| tenant).collect()
}

/// The same with their levels.
fn served_at(queue: &mut Queue<()>, runs: usize, rows: u64) -> Vec<(String, usize)> {
    let mut tenants = Vec::new();
    for _ in 0..runs {
        let turn = queue.next(
            forming(rows, &[], Duration::ZERO),
            Instant::now(),
            &mut Vec::new(),
        );
        let Turn::Ready(picked) = turn else { break };
        let places = picked.places.iter().rev();
        let jobs: Vec<_> = places.filter_map(|place| queue.serve(*place)).collect();
        let of = |job: &Job| {
            let tenant = job.tenant.as_deref().unwrap_or_default();
            (tenant.to_owned(), job.level)
        };
        tenants.extend(jobs.iter().rev().map(of));
    }
    tenants
}

fn count_of(tenant: &str, served: &[String]) -> usize {
    served.iter().filter(|of| *of == tenant).count()
}

#[test]
fn tenants_are_served_in_turn_however_much_one_sends() {
    let (mut queue, _) = queue(1);
    send(&mut queue, "hot", 10, 1);
    assert_eq!(served(&mut queue, 1, 1), ["hot"]);
    send(&mut queue, "quiet", 3, 1);
    send(&mut queue, "", 2, 1);
    let order = served(&mut queue, 8, 1);
    assert_eq!(count_of("quiet", &order), 3, "{order:?}");
    assert_eq!(count_of("", &order), 2, "{order:?}");
    assert!(order[..3].contains(&"quiet".to_owned()), "{order:?}");
    assert_eq!(served(&mut queue, 100, 1), ["hot"; 6]);
    assert!(queue.is_empty());
}

#[test]
fn shares_are_of_rows_and_not_of_requests() {
    let (mut queue, _) = queue(1);
    send(&mut queue, "large", 20, 8);
    send(&mut queue, "small", 80, 1);
    // Runs of eight rows: one of the large requests, or eight of the small ones.
    let order = served(&mut queue, 10, 8);
    let rows = 8 * count_of("large", &order);
    let small = count_of("small", &order);
    assert!(rows.abs_diff(small) <= 16, "{rows} rows against {small}");
}

#[test]
fn who_comes_back_after_each_answer_is_not_favoured() {
    let (mut queue, _) = queue(1);
    send(&mut queue, "many", 64, 1);
    let mut rows = 0;
    for _ in 0..4 {
        send(&mut queue, "wide", 1, 8);
        while count_of("wide", &served(&mut queue, 1, 8)) == 0 {
            rows += 8;
        }
    }
    // Four times eight rows of the one: about as many of the other.
    assert!((16..=48).contains(&rows), "{rows} rows of the other");
}

#[test]
fn a_queue_of_one_tenant_is_served_in_the_order_of_arrival() {
    let (mut queue, backlog) = queue(1);
    let now = Instant::now();
    let ids: Vec<_> = (1..=5)
        .map(|rows| push_of(&mut queue, Some("one"), (0, rows), (now, now + 500 * MS)))
        .collect();
    let left = queue.remove(ids[2]).unwrap();
    assert_eq!(left.units, 3);
    let mut rows = Vec::new();
    while let Ok((jobs, _)) = batch(&mut queue, forming(1, &[], Duration::ZERO), now) {
        rows.extend(jobs.into_iter().map(|(_, rows)| rows));
    }
    assert_eq!(rows, [1, 2, 4, 5]);
    assert_eq!(backlog.depths().0, 0);
}

#[test]
fn who_holds_more_than_its_share_makes_room() {
    let (mut queue, backlog) = queue(1);
    send(&mut queue, "hot", 6, 1);
    let tenant = |name: &str| named(name).map(Arc::from);
    assert!(
        queue.displace(&tenant("hot"), 1).is_empty(),
        "it displaces itself"
    );
    let mut room = || {
        let displaced = queue.displace(&tenant("quiet"), 1);
        assert!(
            displaced
                .iter()
                .all(|job| job.tenant.as_deref() == Some("hot"))
        );
        if !displaced.is_empty() {
            send(&mut queue, "quiet", 1, 1);
        }
        displaced.len()
    };
    assert_eq!(
        [room(), room(), room(), room()],
        [1, 1, 1, 0],
        "until both have the same"
    );
    assert_eq!(backlog.depths().0, 6);
    let order = served(&mut queue, 6, 1);
    assert_eq!((count_of("hot", &order), count_of("quiet", &order)), (3, 3));
}

#[test]
fn nobody_makes_room_with_all_that_it_has() {
    let (mut queue, _) = queue(1);
    let tenant = |name: &str| named(name).map(Arc::from);
    send(&mut queue, "wide", 1, 8);
    assert!(queue.displace(&tenant("quiet"), 1).is_empty());
    send(&mut queue, "hot", 6, 1);
    let displaced = queue.displace(&tenant("quiet"), 1);
    let displaced: Vec<_> = displaced.iter().map(|job| job.tenant.clone()).collect();
    assert_eq!(displaced, [tenant("hot")]);
}

#[test]
fn the_newest_make_room_until_it_is_enough() {
    let (mut queue, _) = queue(1);
    send(&mut queue, "hot", 20, 1);
    let displaced = queue.displace(&named("wide").map(Arc::from), 4);
    let ids: Vec<_> = displaced.iter().map(|job| job.id).collect();
    assert_eq!(ids.len(), 4);
    assert!(
        ids.is_sorted_by(|one, other| one > other),
        "the newest first"
    );
}

#[test]
fn an_overload_sheds_from_who_has_most() {
    let (mut queue, _) = queue(1);
    send(&mut queue, "quiet", 2, 1);
    send(&mut queue, "hot", 8, 1);
    let shed = queue.shed(4);
    assert_eq!(shed.len(), 6);
    assert!(shed.iter().all(|job| job.tenant.as_deref() == Some("hot")));
    let shed = queue.shed(0);
    assert_eq!(shed.len(), 2);
    assert_eq!(
        served(&mut queue, 2, 1),
        ["quiet", "hot"],
        "each keeps one, and neither stands behind what is gone"
    );
}

#[test]
fn levels_order_the_requests_of_each_tenant_and_no_others() {
    let (mut queue, _) = queue(3);
    send_at(&mut queue, "quiet", 3, (1, 1));
    send_at(&mut queue, "hot", 3, (2, 1));
    send_at(&mut queue, "hot", 3, (0, 1));
    let of = |tenant: &str, level| (tenant.to_owned(), level);
    let mut expected = Vec::new();
    for _ in 0..3 {
        expected.extend([of("quiet", 1), of("hot", 0)]);
    }
    expected.extend([of("hot", 2), of("hot", 2), of("hot", 2)]);
    assert_eq!(served_at(&mut queue, 9, 1), expected);

    // Large ones that stand back cost the other tenant nothing either.
    send_at(&mut queue, "hot", 2, (2, 8));
    send_at(&mut queue, "quiet", 10, (1, 1));
    send_at(&mut queue, "hot", 1, (0, 1));
    let order = served_at(&mut queue, 12, 8);
    assert_eq!(order.first(), Some(&of("quiet", 1)));
    let first = order.iter().position(|job| *job == of("hot", 2));
    let quiet = order[..first.unwrap()].iter();
    assert!(
        quiet.filter(|job| job.0 == "quiet").count() >= 8,
        "{order:?}"
    );
}

#[test]
fn what_is_given_up_leaves_no_gap() {
    let (mut queue, _) = queue(1);
    let now = Instant::now();
    let ids: Vec<_> = (0..10)
        .map(|_| push_of(&mut queue, Some("hot"), (0, 1), (now, now + 500 * MS)))
        .collect();
    send(&mut queue, "quiet", 4, 1);
    for id in &ids[..8] {
        assert!(queue.remove(*id).is_some());
    }
    let order = served(&mut queue, 4, 1);
    assert_eq!(count_of("hot", &order), 2, "{order:?}");
}

#[test]
fn a_tenant_is_known_to_wait() {
    let (mut queue, _) = queue(1);
    let tenant = |name: &str| named(name).map(Arc::from);
    assert!(!queue.has_any_of(&None));
    send(&mut queue, "hot", 2, 1);
    assert!(queue.has_any_of(&tenant("hot")) && !queue.has_any_of(&None));
    send(&mut queue, "quiet", 1, 1);
    assert!(queue.has_any_of(&tenant("quiet")));
    served(&mut queue, 2, 1);
    assert!(queue.has_any_of(&tenant("hot")) && !queue.has_any_of(&tenant("quiet")));
}

#[test]
fn strangers_are_forgotten_when_they_have_been_served() {
    let (mut queue, backlog) = queue(1);
    send(&mut queue, "steady", 2, 1);
    for stranger in 0..1000 {
        send(&mut queue, &format!("stranger-{stranger}"), 1, 1);
        served(&mut queue, 1, 1);
        assert!(queue.line.flows() <= 64, "{} flows", queue.line.flows());
    }
    served(&mut queue, 1000, 1);
    assert!(queue.is_empty());
    assert_eq!(queue.line.flows(), 0);
    assert!(backlog.units() == 0);
}
