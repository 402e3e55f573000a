//! A fill that holds its source and finds no memory does not wait for it.

use super::*;

/// A fill that waited with a source in hand would wait for others that do the same, until the limit, and then
/// all would fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_fill_without_memory_writes_its_source_to_disk_and_is_done_later() {
    let memory = Memory::new(12 << 20);
    let fixture = Fixture::with(StoreOptions {
        memory: memory.clone(),
        // So that the file is visible.
        unnamed_files: 0,
        ..options()
    });
    fixture.put("a.b", &whisper(&[1, 3]));
    let budget = memory.receiving;
    let held = budget.share(budget.free_bytes()).await.unwrap();
    tokio::task::spawn_blocking(move || {
        let begun = std::time::Instant::now();
        let mut batch = VolumeBatch::new(&fixture.store);
        batch.take(&member("a.b", &whisper(&[1, 2])));
        batch.take(&member("a.new", &whisper(&[5])));
        // Waiting for memory would take 20 s.
        assert!(begun.elapsed() < Duration::from_secs(19), "it waited {:?}", begun.elapsed());
        assert_eq!(fixture.leftovers().len(), 2, "both wait in temporary files");
        drop(held);
        let lines = batch.finish().0;
        assert_eq!((lines[0].outcome, lines[0].points), (HealOutcome::Filled, 1), "{lines:?}");
        assert_eq!(lines[1].outcome, HealOutcome::Created, "{lines:?}");
        assert_eq!(fine_points(&fs::read(fixture.path("a.b")).unwrap()), 3);
        assert!(fixture.leftovers().is_empty());
    })
    .await
    .unwrap();
}
