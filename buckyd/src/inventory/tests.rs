use super::*;
use bucky_placement::NoSeries;

fn names(inventory: &Inventory) -> Vec<String> {
    let mut names = Vec::new();
    let list = inventory.list().unwrap();
    let _ = walk_metrics(&list, Span::default(), |metric| {
        names.push(metric.to_string());
        ControlFlow::<()>::Continue(())
    });
    names
}

fn metric(name: &str) -> MetricName {
    name.parse().unwrap()
}

#[test]
fn changes_by_the_daemon_during_a_scan_are_in_the_list_whether_the_scan_saw_them_or_not() {
    let prefix = tempfile::tempdir().unwrap();
    std::fs::write(prefix.path().join("gone.wsp"), b"").unwrap();
    let inventory = Inventory::new(prefix.path(), Duration::from_secs(60));
    inventory.begin().unwrap();
    let scan = scan::scan(prefix.path(), None, &NoSeries, &mut scan::Ignore).unwrap();
    inventory.removed(&metric("gone"));
    inventory.added(&metric("late"));
    inventory.finished(scan, Instant::now());
    assert_eq!(names(&inventory), ["late"]);
    inventory.added(&metric("later"));
    assert_eq!(names(&inventory), ["late", "later"]);
    assert_eq!(inventory.len(), Some(2));
}

#[test]
fn of_many_changes_during_a_scan_each_is_in_its_list_and_the_last_of_a_name_counts() {
    let prefix = tempfile::tempdir().unwrap();
    let inventory = Inventory::new(prefix.path(), Duration::from_secs(60));
    inventory.begin().unwrap();
    let scan = scan::scan(prefix.path(), None, &NoSeries, &mut scan::Ignore).unwrap();
    let name = |number: usize| metric(&format!("m.{number:05}"));
    for number in 0..SINCE_AT_ONCE * 2 {
        inventory.added(&name(number));
    }
    for number in (0..SINCE_AT_ONCE).step_by(2) {
        inventory.removed(&name(number));
    }
    inventory.finished(scan, Instant::now());
    let expected: Vec<String> = (0..SINCE_AT_ONCE * 2)
        .filter(|number| *number >= SINCE_AT_ONCE || number % 2 == 1)
        .map(|number| name(number).to_string())
        .collect();
    assert_eq!(names(&inventory), expected);
    assert_eq!(inventory.len(), Some(expected.len() as u64));
}

#[test]
fn with_many_changes_the_list_gets_a_new_bulk_while_it_is_read_and_changed() {
    let prefix = tempfile::tempdir().unwrap();
    let inventory = Inventory::new(prefix.path(), Duration::from_secs(60));
    inventory.begin();
    inventory.scan();
    let count = 60_000;
    for number in 0..count {
        inventory.added(&metric(&format!("m.{number:05}")));
        if number % 3 == 2 {
            inventory.removed(&metric(&format!("m.{:05}", number - 1)));
        }
        if number % 10_000 == 0 {
            assert_eq!(names(&inventory).len() as u64, inventory.len().unwrap());
        }
    }
    let expected: Vec<String> = (0..count)
        .filter(|number| number % 3 != 1)
        .map(|number| format!("m.{number:05}"))
        .collect();
    assert_eq!(names(&inventory), expected);
    let until = Instant::now() + Duration::from_secs(60);
    while inventory.list().unwrap().in_bulk() < expected.len() as u64 / 4 {
        assert!(Instant::now() < until, "it is not made whole");
        std::thread::sleep(Duration::from_millis(5));
        // A slow thread may have been notified before the last changes were made. More changes request
        // another run.
        inventory.added(&metric("other"));
        inventory.removed(&metric("other"));
    }
    assert_eq!(names(&inventory), expected);
    assert_eq!(inventory.len(), Some(expected.len() as u64));
}

#[test]
fn a_scan_wanted_while_one_runs_is_another_one() {
    let prefix = tempfile::tempdir().unwrap();
    let inventory = Inventory::new(prefix.path(), Duration::from_secs(60));
    assert_eq!(inventory.begin(), Some(1));
    assert_eq!(inventory.request(), 2);
    assert_eq!(inventory.request(), 2);
    assert_eq!(inventory.begin(), Some(2));
    assert_eq!(inventory.begin(), None);
}

#[test]
fn a_failed_scan_keeps_the_old_list_and_says_why() {
    let prefix = tempfile::tempdir().unwrap();
    std::fs::write(prefix.path().join("a.wsp"), b"").unwrap();
    let inventory = Inventory::new(prefix.path(), Duration::from_secs(60));
    inventory.begin();
    inventory.scan();
    std::fs::remove_dir_all(prefix.path()).unwrap();
    inventory.request();
    inventory.begin();
    inventory.scan();
    assert_eq!(names(&inventory), ["a"]);
    assert!(inventory.status().problem.contains("cannot open the prefix"));
    assert_eq!(inventory.status().state, InventoryState::Ready);
    assert!(inventory.list_of(1).is_some());
    assert!(inventory.list_of(2).is_none(), "the old list is not the failed scan's");
}

#[test]
fn a_first_scan_that_failed_is_tried_again_when_the_list_is_asked_for() {
    let prefix = tempfile::tempdir().unwrap();
    let path = prefix.path().join("late");
    let inventory = Inventory::new(&path, Duration::from_secs(60));
    inventory.begin();
    inventory.scan();
    assert_eq!(inventory.status().state, InventoryState::Failed);
    std::fs::create_dir(&path).unwrap();
    assert!(inventory.list().is_none());
    assert_eq!(inventory.begin(), Some(2));
    inventory.scan();
    assert!(names(&inventory).is_empty());
}

#[tokio::test]
async fn d18_fresh_waits_for_a_scan_that_began_after_the_question() {
    let prefix = tempfile::tempdir().unwrap();
    let inventory = Arc::new(Inventory::new(prefix.path(), Duration::from_secs(60)));
    let scanner = tokio::spawn(Arc::clone(&inventory).run());
    inventory.wait_for(1).await;
    std::fs::write(prefix.path().join("new.wsp"), b"").unwrap();
    assert!(names(&inventory).is_empty());
    inventory.fresh().await;
    assert_eq!(names(&inventory), ["new"]);
    scanner.abort();
}
