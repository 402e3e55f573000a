//! `POST /v1/digests`: what files hold, as figures that can be compared.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use bucky_api::token::Operation;
use bucky_api::{DigestFound, DigestLine, DigestRequest, Problem, chain, paths};
use bucky_whisper::MetricName;

use super::json::JsonBody;
use crate::app::App;
use crate::auth::Caller;
use crate::blocking::BodyWriter;
use crate::http::lines;
use crate::http::respond::ApiError;
use crate::store::DigestReader;

pub(super) async fn post(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    JsonBody { value: request, share, .. }: JsonBody<DigestRequest>,
) -> Result<Response, ApiError> {
    // It reads as much from the disk as an archive does.
    let permit = app.transfers.send()?;
    Ok(lines::stream(permit, paths::NDJSON, move |writer| {
        let _share = share;
        let mut answer = DigestAnswer {
            files: DigestReader::new(&app.store),
            caller: &caller,
            request: &request,
            written: Instant::now(),
        };
        request.metrics.iter().try_for_each(|metric| answer.add(metric, writer))
    }))
}

struct DigestAnswer<'a> {
    files: DigestReader<'a>,
    caller: &'a Caller,
    request: &'a DigestRequest,
    /// When something was last sent.
    written: Instant,
}

impl DigestAnswer<'_> {
    fn add(&mut self, metric: &MetricName, writer: &mut BodyWriter) -> io::Result<()> {
        let found = self.find(metric, writer);
        lines::write_line(writer, &DigestLine { metric: metric.clone(), found })?;
        if self.written.elapsed() >= lines::HEARTBEAT {
            self.written = Instant::now();
            writer.flush()?;
        }
        Ok(())
    }

    fn find(&mut self, metric: &MetricName, writer: &mut BodyWriter) -> DigestFound {
        if let Err(denied) = self.caller.may(Operation::Read, metric) {
            let reason = denied.to_string();
            return DigestFound::Unread { problem: Problem::Forbidden, reason };
        }
        let written = &mut self.written;
        // A long file takes time.
        let between = || {
            if written.elapsed() >= lines::HEARTBEAT {
                *written = Instant::now();
                // If the client is gone, writing the line fails as well.
                let _ = writer.write_all(b"\n").and_then(|()| writer.flush());
            }
        };
        match self.files.read(metric, self.request.window(), between) {
            Ok(summary) => DigestFound::of(summary, self.request.archives),
            Err(error) => {
                DigestFound::Unread { problem: error.as_source_problem(), reason: chain(&error) }
            }
        }
    }
}
