//! What happened to the points of a source whose owner has another storage schema: a check that shares no
//! code with the code under test.

use crate::layout_pair::LayoutPair;
use crate::plain_file::{PlainArchive, PlainFile};

/// How many seconds apart two clocks that agree may seem, because messages take time.
const CLOCK_ERROR: u32 = 5;

/// The policy for points without a place in an owner's file: `--on-schema-difference`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaPolicy {
    /// The source stays.
    Keep,
    /// The owner's file gets the archives of both.
    Reshape,
    /// A coarser point that covers it is enough.
    Coarsen,
    /// They are given up.
    Drop,
}

impl SchemaPolicy {
    /// The flags of `bucky rebalance` for the policy.
    pub fn args(self) -> &'static [&'static str] {
        match self {
            Self::Keep => &[],
            Self::Reshape => &["--on-schema-difference", "reshape"],
            Self::Coarsen => &["--on-schema-difference", "coarsen"],
            Self::Drop => &["--on-schema-difference", "drop", "--yes"],
        }
    }
}

/// When the files were written and when they were checked, by the clock that is behind.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// When they were written.
    pub laid: u32,
    /// When they were checked: points that had expired by both clocks then do not count.
    pub end: u32,
    /// The time of the check by the owner's clock, which alone decides about the owner's own points.
    pub owners_end: u32,
}

/// What happened to the points of one source.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// The number of points that count.
    pub points: u64,
    /// The number of points that the owner's file holds.
    pub held: u64,
    /// Of those held, the number held by a newer turn of their slot.
    newer: u64,
    /// The number of points for which the owner's file has no slot.
    without_place: u64,
    /// Of these, the number of points that a coarser archive of the owner has a point for.
    coarser: u64,
    /// The number of points in the future whose slot has an older point that has not expired: one of the two
    /// must wait.
    early: u64,
    /// Whether either file has points in the future. They take the slots of the oldest points; an operator
    /// must check that.
    has_future: bool,
    /// Whether points that the owner does not hold have expired since the files were written.
    has_expired: bool,
    /// The points for which the owner has a slot that holds something else.
    missing: Vec<(u32, u32)>,
    /// The owner's own points that are missing or changed, and points whose value differs from the source's.
    changed_points: Vec<String>,
}

impl Account {
    /// Looks for the points of the pair's source in the owner's file at the end.
    pub fn of(pair: &LayoutPair, owned: Option<&PlainFile>, times: Times) -> Self {
        let archives = pair.source.archives.iter();
        let mut archives = archives.chain(pair.owner.iter().flat_map(|owner| &owner.archives));
        let is_future = |(time, _): &(u32, f64)| *time > times.laid;
        let has_future = archives.any(|archive| archive.slots.iter().any(is_future));
        let mut account = Self { has_future, ..Self::default() };
        for archive in &pair.source.archives {
            let there = owned.and_then(|owned| owned.archive(archive.step));
            let mut expired = archive
                .valid(times.laid - CLOCK_ERROR)
                .filter(|p| !archive.reaches(p.0, times.end));
            account.has_expired |=
                expired.any(|(time, _)| there.is_none_or(|there| there.value(time).is_none()));
            for (time, value) in archive.valid(times.end) {
                account.count_point(archive, owned, time, times);
                account.compare(pair, owned, (archive.step, time), value);
            }
        }
        if let Some(before) = &pair.owner {
            account.check_owners_points(before, owned, times.owners_end);
        }
        account
    }

    fn count_point(
        &mut self,
        archive: &PlainArchive,
        owned: Option<&PlainFile>,
        time: u32,
        Times { laid, end, .. }: Times,
    ) {
        self.points += 1;
        match owned.and_then(|owned| owned.archive(archive.step)) {
            // It may have left the owner's shorter window since it was filled.
            Some(there) if there.reaches(time, laid) && there.holds(time) => {
                self.held += 1;
            }
            Some(there) if !there.reaches(time, end) => self.has_no_place(archive, owned, time),
            Some(there) if there.holds(time) => {
                self.held += 1;
                self.newer += u64::from(there.value(time).is_none());
            }
            Some(_) if time > laid => self.early += 1,
            Some(_) => self.missing.push((archive.step, time)),
            None => self.has_no_place(archive, owned, time),
        }
    }

    fn has_no_place(&mut self, archive: &PlainArchive, owned: Option<&PlainFile>, time: u32) {
        self.without_place += 1;
        self.coarser += u64::from(owned.is_some_and(|owned| is_covered(owned, archive, time)));
    }

    /// Checks that a gap of the owner's finest archive got the source's value.
    fn compare(
        &mut self,
        pair: &LayoutPair,
        owned: Option<&PlainFile>,
        (step, time): (u32, u32),
        value: f64,
    ) {
        let Some(owned) = owned.filter(|owned| finest(owned) == step) else { return };
        let found = owned.archive(step).and_then(|there| there.value(time));
        let had = pair.owner.as_ref().and_then(|owner| owner.archive(step)?.value(time));
        match found {
            Some(found) if had.is_none() && found.to_bits() != value.to_bits() => {
                self.changed_points.push(format!("{step} s: {time} is {found} and was {value}"));
            }
            _ => {}
        }
    }

    /// Checks that the owner's own points remain. Coarser slots may have been rolled up again, so they only
    /// have to exist.
    fn check_owners_points(&mut self, before: &PlainFile, owned: Option<&PlainFile>, end: u32) {
        for archive in &before.archives {
            let step = archive.step;
            let is_finest = owned.is_some_and(|owned| finest(owned) == step);
            let there = owned.and_then(|owned| owned.archive(step));
            for (time, value) in archive.valid(end) {
                let found = there.and_then(|there| there.value(time));
                let is_changed =
                    is_finest && found.is_some_and(|found| found.to_bits() != value.to_bits());
                if is_changed || !there.is_some_and(|there| there.holds(time)) {
                    self.changed_points.push(format!("{step} s: the owner's {time} is {found:?}"));
                }
            }
        }
    }

    /// Whether the policy allows the source to be deleted.
    fn may_go(&self, policy: SchemaPolicy) -> bool {
        let is_filled = self.missing.is_empty() && self.early == 0;
        is_filled
            && match policy {
                SchemaPolicy::Keep | SchemaPolicy::Reshape => self.without_place == 0,
                SchemaPolicy::Coarsen => self.without_place == self.coarser,
                SchemaPolicy::Drop => true,
            }
    }

    /// The violations. `left` is the source's file, if it still exists.
    pub fn problems(
        &self,
        policy: SchemaPolicy,
        pair: &LayoutPair,
        left: Option<&PlainFile>,
        is_reported: bool,
    ) -> Vec<String> {
        let mut problems = self.changed_points.clone();
        if !self.missing.is_empty() {
            let some = &self.missing[..self.missing.len().min(3)];
            problems.push(format!("the owner has a place for {some:?}, and lacks them"));
        }
        problems.extend(
            match left {
                None if !self.may_go(policy) => Some("points are lost"),
                None if is_reported => Some("it was moved, and reported"),
                None => None,
                Some(left) if *left != pair.source => Some("the source has changed"),
                Some(_) if !is_reported => Some("it was kept, and not reported"),
                Some(_) if self.must_go(policy, pair) => Some("it could have been moved"),
                Some(_) => None,
            }
            .map(str::to_owned),
        );
        problems
    }

    /// Whether there was no reason to keep the source. Points that have expired since are a reason.
    fn must_go(&self, policy: SchemaPolicy, pair: &LayoutPair) -> bool {
        let is_plain = !self.has_future && !self.has_expired;
        let has_room = policy == SchemaPolicy::Reshape && pair.fits_together();
        is_plain && (has_room || self.may_go(policy))
    }

    /// The counts, for messages.
    pub fn summary(&self) -> String {
        format!(
            "{} points, {} held, {} of them by newer ones, {} without place, {} of them in coarser ones, {} early, {} \
             missing",
            self.points,
            self.held,
            self.newer,
            self.without_place,
            self.coarser,
            self.early,
            self.missing.len()
        )
    }
}

fn finest(file: &PlainFile) -> u32 {
    file.archives.iter().map(|archive| archive.step).min().unwrap()
}

/// Whether a coarser archive of `owned` has a point for the slot of `archive` at `time`.
fn is_covered(owned: &PlainFile, archive: &PlainArchive, time: u32) -> bool {
    let mut coarser = owned.archives.iter().filter(|coarser| coarser.step > archive.step);
    coarser.any(|coarser| coarser.value(time - time % coarser.step).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u32 = 1_790_000_000;

    /// A source with three points; a shorter owner has no place for the oldest.
    fn pair() -> LayoutPair {
        let mut source = PlainFile::empty(&[(10, 20)], 1, 0.5);
        for age in [0, 50, 150] {
            source.archives[0].put(NOW - age, f64::from(age));
        }
        LayoutPair { source, owner: Some(PlainFile::empty(&[(10, 10), (100, 10)], 1, 0.5)) }
    }

    fn problems(
        policy: SchemaPolicy,
        left: bool,
        is_reported: bool,
        owned: impl FnOnce(&mut PlainFile),
    ) -> Vec<String> {
        let pair = pair();
        let mut there = pair.owner.clone().unwrap();
        owned(&mut there);
        let account =
            Account::of(&pair, Some(&there), Times { laid: NOW, end: NOW, owners_end: NOW });
        account.problems(policy, &pair, left.then_some(&pair.source), is_reported)
    }

    fn filled(file: &mut PlainFile) {
        for age in [0, 50] {
            file.archives[0].put(NOW - age, f64::from(age));
        }
    }

    #[test]
    fn lost_unfilled_and_unreported_points_are_reported() {
        let keep = SchemaPolicy::Keep;
        assert_eq!(problems(keep, true, true, filled), [""; 0]);
        assert_eq!(problems(keep, true, false, filled), ["it was kept, and not reported"]);
        assert_eq!(problems(keep, false, false, filled), ["points are lost"]);
        assert_eq!(
            problems(SchemaPolicy::Reshape, true, true, filled),
            ["it could have been moved"]
        );
        let unfilled = problems(keep, true, true, |_| ());
        assert!(unfilled[0].starts_with("the owner has a place for"), "{unfilled:?}");
        let changed = problems(keep, true, true, |file| {
            filled(file);
            file.archives[0].slots[0].1 = 9.0;
        });
        assert_eq!(changed.len(), 1, "{changed:?}");
    }

    #[test]
    fn the_policy_decides_whether_a_coarser_point_is_enough() {
        let coarse = |file: &mut PlainFile| {
            filled(file);
            let time = NOW - 150;
            file.archives[1].put(time - time % 100, 1.0);
        };
        assert_eq!(problems(SchemaPolicy::Coarsen, false, false, coarse), [""; 0]);
        assert_eq!(problems(SchemaPolicy::Coarsen, false, false, filled), ["points are lost"]);
        assert_eq!(problems(SchemaPolicy::Drop, false, false, filled), [""; 0]);
        assert_eq!(problems(SchemaPolicy::Drop, true, true, filled), ["it could have been moved"]);
    }
}
