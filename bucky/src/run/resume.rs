//! How far an earlier run was with one source, by the journal.

use std::collections::BTreeSet;

use bucky_whisper::MetricName;

/// How far an earlier run was with a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resume {
    through: Option<MetricName>,
    failed: BTreeSet<MetricName>,
    all_again: bool,
}

impl Resume {
    /// The name after which reading the source starts.
    pub(crate) fn read_after(&self) -> Option<&MetricName> {
        if self.all_again || !self.failed.is_empty() { None } else { self.through.as_ref() }
    }

    /// The name up to which everything except the failed metrics is finished.
    pub(crate) fn through(&self) -> Option<&MetricName> {
        if self.all_again { None } else { self.through.as_ref() }
    }

    /// Whether an earlier run finished this metric.
    pub(crate) fn is_finished(&self, metric: &MetricName) -> bool {
        self.through().is_some_and(|through| metric <= through) && !self.failed.contains(metric)
    }

    /// Whether this metric failed in an earlier run.
    pub(crate) fn has_failed(&self, metric: &MetricName) -> bool {
        self.failed.contains(metric)
    }

    /// Notes that everything up to `metric` is finished.
    pub(super) fn finish_through(&mut self, metric: MetricName) {
        self.through = Some(metric);
    }

    /// Removes a metric that had failed and was moved now; returns whether it was remembered.
    pub(super) fn remove_failed(&mut self, metric: &MetricName) -> bool {
        self.failed.remove(metric)
    }

    /// Remembers a metric that failed; returns whether it is new.
    pub(super) fn add_failed(&mut self, metric: MetricName) -> bool {
        !self.all_again && self.failed.insert(metric)
    }

    /// Notes that more metrics failed than can be remembered: all of the source is read again. Returns how
    /// many were remembered.
    pub(super) fn forget_failed(&mut self) -> usize {
        self.all_again = true;
        std::mem::take(&mut self.failed).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MetricName {
        MetricName::parse(text).unwrap()
    }

    #[test]
    fn reading_goes_on_after_the_mark_unless_something_failed_before_it() {
        let mut resume = Resume::default();
        assert_eq!(resume.read_after(), None);
        resume.finish_through(name("m"));
        assert_eq!(resume.read_after(), Some(&name("m")));
        resume.add_failed(name("c"));
        assert_eq!((resume.read_after(), resume.through()), (None, Some(&name("m"))));
        assert!(resume.is_finished(&name("b")) && !resume.is_finished(&name("c")));
        resume.remove_failed(&name("c"));
        assert_eq!(resume.read_after(), Some(&name("m")));
    }

    #[test]
    fn with_too_many_failures_to_remember_all_is_looked_at_again() {
        let mut resume = Resume::default();
        resume.finish_through(name("z"));
        assert!(resume.add_failed(name("a")) && !resume.add_failed(name("a")));
        assert_eq!(resume.forget_failed(), 1);
        assert!(!resume.add_failed(name("b")), "nothing is remembered any more");
        assert_eq!((resume.read_after(), resume.through()), (None, None));
        assert!(!resume.is_finished(&name("a")));
    }
}
