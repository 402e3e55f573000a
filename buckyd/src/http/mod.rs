//! The HTTP that all routes need: bodies and queries read with limits, answers line by line, errors as
//! answers.

pub(crate) mod body;
pub(crate) mod lines;
pub(crate) mod paced;
pub(crate) mod query;
pub(crate) mod respond;
