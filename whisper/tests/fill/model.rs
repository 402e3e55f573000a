//! A second implementation of fill, following the rules of `docs/internals/fill.md`: slot by slot, looking
//! everything up each time. It is slow and simple, independent of the crate, and is compared with it.

use std::collections::{BTreeMap, BTreeSet};

use bucky_whisper::AggregationSix;

use crate::file::{Archive, File};

/// The destination after the fill, and the number of slots that it still lacks although the source has a
/// value.
pub(crate) fn fill(
    source: &File,
    destination: &File,
    now: u32,
    six: AggregationSix,
) -> (File, u64) {
    let mut left_out = 0;
    let mut after = destination.clone();
    let method = Method { code: after.aggregation, six, x_files_factor: after.x_files_factor };
    let mut finer: Option<usize> = None;
    for number in destination.finest_first() {
        let before = &destination.archives[number];
        let from_source = offers_of_source(source, before, &method, now);
        let rolled_up = finer.map_or_else(BTreeMap::new, |finer| {
            offers_of_finer(
                &destination.archives[finer],
                &after.archives[finer],
                before,
                &method,
                now,
            )
        });
        settle(&mut after.archives[number], &from_source, &rolled_up, now);
        let missing = |t: &u32| after.archives[number].valid(*t, now).is_none();
        left_out += from_source.keys().copied().filter(missing).count() as u64;
        finer = Some(number);
    }
    (after, left_out)
}

type Offers = BTreeMap<u32, f64>;

/// R2: the values of the source for the slots of an archive.
fn offers_of_source(source: &File, archive: &Archive, method: &Method, now: u32) -> Offers {
    let in_window = |t: u32| t != 0 && i64::from(t) > i64::from(now) - archive.retention();
    let order = source.finest_first();
    if let Some(same) = order.iter().find(|n| source.archives[**n].step == archive.step) {
        let points = source.archives[*same].points(now);
        return points.into_iter().filter(|(t, _)| in_window(*t)).collect();
    }
    // The coarsest of the finer archives is used first.
    let mut offers = Offers::new();
    for number in order.into_iter().rev() {
        let finer = &source.archives[number];
        for t in coarser_slots(finer.points(now).into_iter().map(|(t, _)| t), archive.step) {
            if in_window(t)
                && !offers.contains_key(&t)
                && let Some(value) = method.roll_up(finer, t, archive.step, now)
            {
                offers.insert(t, value);
            }
        }
    }
    offers
}

/// R3: the roll-ups of those coarser slots under which the next finer archive has gained a point.
fn offers_of_finer(
    before: &Archive,
    after: &Archive,
    coarser: &Archive,
    method: &Method,
    now: u32,
) -> Offers {
    // Compare stored bits, not validity: in an archive that was empty, leftover slots may become valid with
    // its base. That is not a gain.
    let gained = |t: &u32| {
        let position = after.position(after.base(), *t);
        let bits = |archive: &Archive| {
            let (stored, value) = archive.slots[position];
            (stored, value.to_bits())
        };
        bits(before) != bits(after)
    };
    let gains = after.points(now).into_iter().map(|(t, _)| t).filter(gained);
    coarser_slots(gains, coarser.step)
        .into_iter()
        .filter(|t| *t != 0 && i64::from(*t) > i64::from(now) - coarser.retention())
        .filter_map(|t| Some((t, method.roll_up(after, t, coarser.step, now)?)))
        .collect()
}

fn coarser_slots(finer: impl Iterator<Item = u32>, step: u32) -> BTreeSet<u32> {
    finer.map(|t| t - t % step).collect()
}

/// Writes the offered values: slots up to now before slots after now, R2 before R3.
fn settle(archive: &mut Archive, from_source: &Offers, rolled_up: &Offers, now: u32) {
    let base = match archive.base() {
        0 => from_source.keys().chain(rolled_up.keys()).min().copied().unwrap_or(0),
        base => base,
    };
    if base == 0 {
        return;
    }
    for later in [false, true] {
        let mut offer = |offers: &Offers, replaces: bool| {
            for (t, value) in offers.iter().filter(|(t, _)| (**t > now) == later) {
                let position = archive.position(base, *t);
                if may_write(archive, base, position, *t, replaces, now) {
                    archive.slots[position] = (*t, *value);
                }
            }
        };
        offer(from_source, false);
        offer(rolled_up, true);
    }
}

fn may_write(
    archive: &Archive,
    base: u32,
    position: usize,
    t: u32,
    replaces: bool,
    now: u32,
) -> bool {
    let (stored, value) = archive.slots[position];
    let is_point = stored != 0
        && stored % archive.step == 0
        && archive.position(base, stored) == position
        && !value.is_nan()
        && i64::from(stored) > i64::from(now) - archive.retention();
    if stored == t { !is_point || replaces } else { stored < t && !is_point }
}

/// How the destination rolls up finer points.
struct Method {
    code: u32,
    six: AggregationSix,
    x_files_factor: f32,
}

impl Method {
    /// The coarser slot `t`, if the finer archive's window covers all of it and enough of it is known.
    fn roll_up(&self, finer: &Archive, t: u32, step: u32, now: u32) -> Option<f64> {
        let divides = step > finer.step && step.is_multiple_of(finer.step);
        let (oldest, retention) = (i64::from(now) - finer.retention(), finer.retention());
        let newest = i64::from(now - now % finer.step);
        let end = i64::from(t) + i64::from(step);
        let covered = i64::from(t) > oldest && end <= newest + i64::from(finer.step) + retention;
        if !divides || i64::from(step) > retention || !covered {
            return None;
        }
        let span: Vec<Option<f64>> = (0..step / finer.step)
            .map(|n| t.checked_add(n * finer.step).and_then(|finer_t| finer.valid(finer_t, now)))
            .collect();
        let known: Vec<f64> = span.iter().flatten().copied().collect();
        if known.is_empty()
            || (known.len() as f64 / span.len() as f64) < f64::from(self.x_files_factor)
        {
            return None;
        }
        let value = self.aggregate(&known, span.len());
        (!value.is_nan()).then_some(value)
    }

    fn aggregate(&self, known: &[f64], slots: usize) -> f64 {
        let mut sum = 0.0;
        for value in known {
            sum += value;
        }
        let first_by = |better: fn(f64, f64) -> bool| {
            let mut best = known[0];
            for value in known {
                if better(*value, best) {
                    best = *value;
                }
            }
            best
        };
        match self.code {
            1 | 1_025.. => sum / known.len() as f64,
            2 => sum,
            3 => known[known.len() - 1],
            4 => first_by(|a, b| a > b),
            5 => first_by(|a, b| a < b),
            6 if self.six == AggregationSix::First => known[0],
            6 => sum / slots as f64,
            7 => first_by(|a, b| a.abs() > b.abs()),
            8 => first_by(|a, b| a.abs() < b.abs()),
            code => unreachable!("aggregation {code}"),
        }
    }
}
