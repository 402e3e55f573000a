//! carbon-relay-ng's TOML file: its routes with a hash ring.
//!
//! Facts: `cfg/cfg.go`, `cfg/table.go`, `imperatives/imperatives.go`, `route/consistent_hashing.go` and
//! `destination/destination.go` of 1.5.17.

mod command;
mod destination;
mod route;

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::route::{Kind, Route};
use crate::{
    Choice, Configuration, OtherFiles, Place, Program, Refusal, RefusalKind, Selector, SourceFile,
    Warning, WarningKind,
};

/// The most routes, and the most destinations of one.
const ROUTES_MOST: usize = 1000;

pub(crate) fn read(
    file: &SourceFile,
    _files: &mut dyn OtherFiles,
) -> Result<Configuration, Refusal> {
    let table = DeTable::parse(&file.text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        refuse(RefusalKind::Syntax, file.place(offset), format!("not TOML: {}", error.message()))
    })?;
    let source = Source { file };
    let (mut routes, mut rewrite) = (Vec::new(), None);
    if let Some(init) = source.get(table.get_ref(), "init")? {
        for (command, place) in source.commands(init)? {
            command::apply(&command, &place, &mut routes, &mut rewrite)?;
        }
    }
    if let Some(listed) = source.get(table.get_ref(), "route")? {
        for table in source.tables(listed)? {
            routes.push(source.route(table)?);
        }
    }
    if let Some(one_too_many) = routes.get(ROUTES_MOST) {
        let message = format!("more than {ROUTES_MOST} routes");
        return Err(refuse(RefusalKind::TooManyServers, one_too_many.place.clone(), message));
    }
    let rewrite = rewrite.or(source.first_rewriter(table.get_ref())?);
    let hosts: Vec<(String, Vec<String>)> =
        routes.iter().map(|route| (route.key.clone(), route.hosts())).collect();
    if routes.is_empty() {
        let message = "no route is here: neither [[route]] nor addRoute in [init]";
        return Err(refuse(RefusalKind::NoRing, file.place(0), message.to_owned()));
    }
    let mut choices: Vec<Choice> = Vec::new();
    for route in routes {
        if choices.iter().any(|choice| choice.name == route.key) {
            let message =
                format!("route {:?} is already defined above; rename one of them", route.key);
            return Err(refuse(RefusalKind::DuplicateKey, route.place, message));
        }
        let shared = hosts.iter().find(|(other, hosts)| {
            *other != route.key && route.hosts().iter().any(|host| hosts.contains(host))
        });
        let shared = shared.map(|(other, _)| other.as_str());
        choices.push(choice(route, rewrite.as_ref(), shared)?);
    }
    Ok(Configuration {
        program: Program::CarbonRelayNg,
        selector: Some(Selector::Route),
        choices,
        routing: None,
    })
}

fn refuse(kind: RefusalKind, place: Place, message: String) -> Refusal {
    Refusal { kind, place, message }
}

/// A route, with the place where names are rewritten, and another route that writes to its hosts.
fn choice(route: Route, rewrite: Option<&Place>, shared: Option<&str>) -> Result<Choice, Refusal> {
    let name = route.key.clone();
    let mut ring = route.ring()?;
    if let (Ok(ring), Some(other)) = (&mut ring, shared) {
        ring.warnings.push(Warning {
            kind: WarningKind::Matchers,
            place: route.place.clone(),
            message: format!(
                "route {other:?} writes to the same hosts: files that it has there look misplaced"
            ),
        });
    }
    if let (Ok(ring), Some(place)) = (&mut ring, rewrite) {
        ring.warnings.push(Warning {
            kind: WarningKind::Rewrite,
            place: place.clone(),
            message: "names are rewritten before they are hashed; files carry the new names"
                .to_owned(),
        });
    }
    Ok(Choice { name, ring })
}

/// The file, for places and for values whose keys may be in any letter case, as Go's decoder takes them.
struct Source<'f> {
    file: &'f SourceFile,
}

/// A value with its place.
type Value<'t> = Spanned<DeValue<'t>>;

impl Source<'_> {
    fn place(&self, span: &Range<usize>) -> Place {
        self.file.place(span.start)
    }

    fn wrong_type(&self, value: &Value<'_>, key: &str, wanted: &str) -> Refusal {
        let message = format!("{key} is not {wanted}, so carbon-relay-ng does not start");
        refuse(RefusalKind::Syntax, self.place(&value.span()), message)
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// [`Refusal`] if it is there twice, in different letter cases.
    fn get<'v, 't>(
        &self,
        table: &'v DeTable<'t>,
        key: &str,
    ) -> Result<Option<&'v Value<'t>>, Refusal> {
        let mut found = table.iter().filter(|(name, _)| name.get_ref().eq_ignore_ascii_case(key));
        match (found.next(), found.next()) {
            (first, None) => Ok(first.map(|(_, value)| value)),
            (_, Some((name, _))) => {
                let message = format!("{key} is given twice, in two letter cases; leave one out");
                Err(refuse(RefusalKind::DuplicateKey, self.place(&name.span()), message))
            }
        }
    }

    fn text(&self, table: &DeTable<'_>, key: &str) -> Result<Option<(String, Place)>, Refusal> {
        let Some(value) = self.get(table, key)? else { return Ok(None) };
        match value.get_ref() {
            DeValue::String(text) => Ok(Some((text.to_string(), self.place(&value.span())))),
            _ => Err(self.wrong_type(value, key, "a string")),
        }
    }

    fn texts(&self, value: &Value<'_>, key: &str) -> Result<Vec<(String, Place)>, Refusal> {
        let wrong = |value: &Value<'_>| self.wrong_type(value, key, "a list of strings");
        let DeValue::Array(values) = value.get_ref() else { return Err(wrong(value)) };
        let text = |value: &Value<'_>| match value.get_ref() {
            DeValue::String(text) => Ok((text.to_string(), self.place(&value.span()))),
            _ => Err(wrong(value)),
        };
        values.iter().map(text).collect()
    }

    /// The commands of `[init]`.
    fn commands(&self, init: &Value<'_>) -> Result<Vec<(String, Place)>, Refusal> {
        let DeValue::Table(table) = init.get_ref() else {
            let message = "init is a list, as it was before carbon-relay-ng 0.9; write the commands into \
                           cmds of [init]";
            return Err(refuse(RefusalKind::Syntax, self.place(&init.span()), message.to_owned()));
        };
        match self.get(table, "cmds")? {
            Some(commands) => self.texts(commands, "cmds"),
            None => Ok(Vec::new()),
        }
    }

    fn tables<'v, 't>(&self, value: &'v Value<'t>) -> Result<Vec<&'v Value<'t>>, Refusal> {
        let wrong = |value: &Value<'_>| {
            self.wrong_type(value, "route", "a list of tables; write [[route]]")
        };
        let DeValue::Array(values) = value.get_ref() else { return Err(wrong(value)) };
        match values.iter().find(|value| !matches!(value.get_ref(), DeValue::Table(_))) {
            Some(other) => Err(wrong(other)),
            None => Ok(values.iter().collect()),
        }
    }

    /// The route in a `[[route]]`.
    fn route(&self, value: &Value<'_>) -> Result<Route, Refusal> {
        let place = self.place(&value.span());
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.wrong_type(value, "route", "a table"));
        };
        let (key, key_place) = self.text(table, "key")?.unwrap_or((String::new(), place.clone()));
        let (kind, kind_place) =
            self.text(table, "type")?.unwrap_or((String::new(), place.clone()));
        let Some(kind) = Kind::of(&kind) else {
            let message =
                format!("route {key:?} has the type {kind:?}, which carbon-relay-ng does not know");
            return Err(refuse(RefusalKind::UnknownMethod, kind_place, message));
        };
        let destinations = match self.get(table, "destinations")? {
            Some(listed) => self.texts(listed, "destinations")?,
            None => Vec::new(),
        };
        let mut matcher = None;
        for name in ["prefix", "notPrefix", "sub", "substr", "notSub", "regex", "notRegex"] {
            let given = self.text(table, name)?.filter(|(text, _)| !text.is_empty());
            matcher = matcher.or(given.map(|(_, place)| place));
        }
        let place = key_place;
        Ok(Route { key, place, kind, kind_place, destinations, matcher })
    }

    /// Where names are rewritten first.
    fn first_rewriter(&self, table: &DeTable<'_>) -> Result<Option<Place>, Refusal> {
        let Some(value) = self.get(table, "rewriter")? else { return Ok(None) };
        match value.get_ref() {
            DeValue::Array(rewriters) => {
                Ok(rewriters.first().map(|first| self.place(&first.span())))
            }
            _ => Err(self.wrong_type(value, "rewriter", "a list of tables; write [[rewriter]]")),
        }
    }
}
