//! Which permission a request needs, by its method and path: the table of `docs/internals/http-api.md`. Pure.

use axum::http::Method;
use bucky_api::paths;
use bucky_api::token::Operation;

/// What a request needs before any of its body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand<'a> {
    /// Nothing: every daemon of this kind gives the same answer.
    Nothing,
    /// A valid token, whatever it allows.
    Token,
    /// Permission to list metrics.
    List,
    /// Permission for this operation on one metric, whose name is this part of the path.
    Metric(Operation, &'a str),
    /// Permission for these operations on some metrics. The body names them.
    Operations(&'static [Operation]),
}

/// What a request with this method and this raw path needs.
pub(crate) fn of<'a>(method: &Method, path: &'a str) -> Demand<'a> {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    match path {
        paths::METRICS => Demand::List,
        paths::V1_METRICS if *method == Method::POST => Demand::Operations(&[Operation::Read]),
        paths::V1_METRICS
        | paths::V1_NOT_SERVED
        | paths::V1_MISPLACED
        | paths::V1_SAMPLE
        | paths::V1_PLAN => Demand::List,
        paths::V1_ARCHIVE if is_read => Demand::List,
        paths::V1_ARCHIVE | paths::V1_CONFIRM | paths::V1_DIGESTS | paths::V1_POINTS => {
            Demand::Operations(&[Operation::Read])
        }
        paths::V1_HEAL => Demand::Operations(&[Operation::Update]),
        paths::V1_PULL => Demand::Operations(&[Operation::Update, Operation::Read]),
        paths::V1_DELETE => Demand::Operations(&[Operation::Delete]),
        paths::HASHRING | "/v1" => Demand::Token,
        path if path.starts_with("/v1/") => Demand::Token,
        path => match path.strip_prefix(paths::METRICS).and_then(|rest| rest.strip_prefix('/')) {
            Some(name) if !name.is_empty() => {
                operation(method).map_or(Demand::Nothing, |op| Demand::Metric(op, name))
            }
            _ => Demand::Nothing,
        },
    }
}

/// What the method does to a metric. `None` for a method that does nothing.
fn operation(method: &Method) -> Option<Operation> {
    match *method {
        Method::HEAD | Method::GET => Some(Operation::Read),
        Method::POST => Some(Operation::Update),
        Method::PUT => Some(Operation::Replace),
        Method::DELETE => Some(Operation::Delete),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_needs_what_the_contract_and_the_document_say() {
        use Operation::{Delete, Read, Replace, Update};
        for (request, demand) in [
            ("GET /metrics", Demand::List),
            ("POST /metrics", Demand::List),
            ("PATCH /metrics", Demand::List),
            ("HEAD /metrics/a.b", Demand::Metric(Read, "a.b")),
            ("GET /metrics/a%2fb", Demand::Metric(Read, "a%2fb")),
            ("POST /metrics/a", Demand::Metric(Update, "a")),
            ("PUT /metrics/a", Demand::Metric(Replace, "a")),
            ("DELETE /metrics/a", Demand::Metric(Delete, "a")),
            ("PATCH /metrics/a", Demand::Nothing),
            ("GET /metrics/", Demand::Nothing),
            ("GET /hashring", Demand::Token),
            ("POST /hashring", Demand::Token),
            ("GET /hashring/", Demand::Nothing),
            ("GET /", Demand::Nothing),
            ("GET /metricsx", Demand::Nothing),
            ("GET /v1x", Demand::Nothing),
            ("GET /v1", Demand::Token),
            ("GET /v1/nosuch", Demand::Token),
            ("GET /v1/status", Demand::Token),
            ("GET /v1/metrics", Demand::List),
            ("HEAD /v1/metrics", Demand::List),
            ("POST /v1/metrics", Demand::Operations(&[Read])),
            ("GET /v1/misplaced", Demand::List),
            ("POST /v1/plan", Demand::List),
            ("GET /v1/not-served", Demand::List),
            ("GET /v1/archive", Demand::List),
            ("HEAD /v1/archive", Demand::List),
            ("POST /v1/archive", Demand::Operations(&[Read])),
            ("POST /v1/confirm", Demand::Operations(&[Read])),
            ("POST /v1/digests", Demand::Operations(&[Read])),
            ("POST /v1/points", Demand::Operations(&[Read])),
            ("POST /v1/heal", Demand::Operations(&[Update])),
            ("POST /v1/pull", Demand::Operations(&[Update, Read])),
            ("POST /v1/delete", Demand::Operations(&[Delete])),
        ] {
            let (method, path) = request.split_once(' ').unwrap();
            assert_eq!(of(&method.parse().unwrap(), path), demand, "{request}");
        }
    }
}
