//! A file of a live metric: whether it has a point in the slot where it was written.

use bucky_whisper::{ArchiveView, Image, Point};

use crate::written::{LiveMetric, PointLocation};

/// The file of a metric on one node.
pub(crate) struct LiveCopy<'c> {
    content: &'c [u8],
    image: Option<Image<'c>>,
    now: u32,
}

impl<'c> LiveCopy<'c> {
    pub(crate) fn new(content: &'c [u8], now: u32) -> Self {
        Self { content, image: Image::parse(content).ok(), now }
    }

    /// Whether it has the point in the archive that it was written to.
    pub(crate) fn has(&self, metric: &LiveMetric, place: &PointLocation) -> bool {
        self.values(metric, place).any(|(time, step, value)| metric.may_be(time, step, value))
    }

    /// Whether the slot has another value.
    pub(crate) fn has_another(&self, metric: &LiveMetric, place: &PointLocation) -> bool {
        self.values(metric, place).any(|(time, step, value)| !metric.may_be(time, step, value))
    }

    /// The points with values that no process can have written.
    pub(crate) fn strange(&self, metric: &LiveMetric) -> Vec<(u32, Point)> {
        let of_archive = |view: ArchiveView<'c>| {
            let step = view.archive().seconds_per_point;
            let points = view.points_valid(self.now).map(move |point| (step, point));
            points.collect::<Vec<(u32, Point)>>()
        };
        let points = self.archives().flat_map(of_archive);
        points.filter(|(step, point)| !metric.may_be(point.timestamp, *step, point.value)).collect()
    }

    /// Describes the content of a point's slot.
    pub(crate) fn describe(&self, metric: &LiveMetric, place: &PointLocation) -> String {
        if self.content.is_empty() {
            return "no file, or an empty one".into();
        }
        let Some(image) = &self.image else { return "a damaged file".into() };
        let layout = image.header().layout();
        if let Some((_, _, value)) = self.values(metric, place).next() {
            return format!("{value} ({layout})");
        }
        let stored = self.slots(metric, place).find_map(|(view, time)| {
            view.position_of(time).and_then(|position| view.stored(position))
        });
        match stored {
            Some(stored) => {
                format!("{} at {} in that slot ({layout})", stored.value, stored.timestamp)
            }
            None => format!("a file without that point ({layout})"),
        }
    }

    /// The values in the slots that the point may have been written to, with their times and resolutions.
    fn values(
        &self,
        metric: &LiveMetric,
        place: &PointLocation,
    ) -> impl Iterator<Item = (u32, u32, f64)> {
        let found = self.slots(metric, place).filter_map(|(view, time)| {
            Some((time, view.archive().seconds_per_point, view.valid(time, self.now)?))
        });
        found.collect::<Vec<_>>().into_iter()
    }

    /// The slots that the point may have been written to. A carbon writes to the finest archive of the file
    /// that it finds.
    fn slots(
        &self,
        metric: &LiveMetric,
        place: &PointLocation,
    ) -> impl Iterator<Item = (ArchiveView<'c>, u32)> {
        let (finest, common) = (metric.schemas.finest_step(), metric.schemas.common_step());
        let (wanted, timestamp) = (place.seconds_per_point, place.timestamp);
        self.archives().filter_map(move |view| {
            let step = view.archive().seconds_per_point;
            let is_there = match wanted {
                Some(wanted) => step == wanted,
                None => step == finest || step == common,
            };
            is_there.then(|| (view, timestamp - timestamp % step))
        })
    }

    fn archives(&self) -> impl Iterator<Item = ArchiveView<'c>> {
        let views: Vec<ArchiveView<'c>> =
            self.image.iter().flat_map(|image| image.archives()).collect();
        views.into_iter()
    }
}
