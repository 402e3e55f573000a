//! The init commands that add, change and remove routes.

use super::route::{Kind, Route};
use crate::{Place, Refusal, RefusalKind};

/// The matchers of a route in a command.
const MATCHERS: [&str; 6] = ["prefix", "notPrefix", "sub", "notSub", "regex", "notRegex"];

/// The commands that do not change where a ring sends metrics.
const OTHER_COMMANDS: [&str; 3] = ["addAgg", "addBlack", "addBlock"];

/// The types that `addRoute` takes. Its scanner sees `consistentHashing-v2` as `consistentHashing` with the key
/// `-v2`.
const TYPES: [&str; 6] =
    ["consistentHashing", "grafanaNet", "kafkaMdm", "pubsub", "sendAllMatch", "sendFirstMatch"];

/// Applies `command`, which stands at `place`, to `routes`; `rewrite` is where names are rewritten first.
///
/// # Errors
/// [`Refusal`] for a command that the relay does not take.
pub(super) fn apply(
    command: &str,
    place: &Place,
    routes: &mut Vec<Route>,
    rewrite: &mut Option<Place>,
) -> Result<(), Refusal> {
    let refuse = |message: String| Err(bad(place, message));
    let mut words = command.split_ascii_whitespace();
    match words.next().unwrap_or_default() {
        "addRoute" => routes.push(add_route(command, place)?),
        "delRoute" => {
            let key = words.next().unwrap_or_default();
            let before = routes.len();
            routes.retain(|route| route.key != key);
            if routes.len() == before {
                return refuse(format!("delRoute {key:?}: there is no such route"));
            }
        }
        "addRewriter" => {
            rewrite.get_or_insert_with(|| place.clone());
        }
        "modRoute" => {
            let key = words.next().unwrap_or_default();
            let Some(route) = routes.iter_mut().find(|route| route.key == key) else {
                return refuse(format!("modRoute {key:?}: there is no such route"));
            };
            if words.any(is_matcher) {
                route.matcher.get_or_insert_with(|| place.clone());
            }
        }
        "modDest" => {
            return refuse(format!(
                "{command:?} changes a destination after its route was added; write it into the route"
            ));
        }
        word if OTHER_COMMANDS.contains(&word) => {}
        word => return refuse(format!("carbon-relay-ng does not take the command {word:?} here")),
    }
    Ok(())
}

/// `prefix=P` and the like.
fn is_matcher(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, value)| MATCHERS.contains(&name) && !value.is_empty())
}

fn bad(place: &Place, message: String) -> Refusal {
    Refusal { kind: RefusalKind::BadCommand, place: place.clone(), message }
}

/// `addRoute TYPE KEY [MATCHER=...]  DEST [OPTION=...]  DEST ...`, with two blanks before each destination.
fn add_route(command: &str, place: &Place) -> Result<Route, Refusal> {
    let refuse = |message: String| Err(bad(place, message));
    let mut parts = command.split("  ");
    let head = parts.next().unwrap_or_default();
    let mut words = head.split_ascii_whitespace().skip(1);
    let name = words.next().unwrap_or_default();
    let Some(kind) = Kind::of(name).filter(|_| TYPES.contains(&name)) else {
        return refuse(format!(
            "addRoute does not take the type {name:?}; write the route as [[route]]"
        ));
    };
    let Some(key) = words.next() else {
        return refuse(format!("{command:?} has no key for the route"));
    };
    let mut matcher = None;
    for word in words {
        if !is_matcher(word) {
            return refuse(format!(
                "{word:?} is not a matcher of a route; two blanks separate the route and each destination"
            ));
        }
        matcher = Some(place.clone());
    }
    let destinations = parts.map(str::trim).filter(|part| !part.is_empty());
    Ok(Route {
        key: key.to_owned(),
        place: place.clone(),
        kind,
        kind_place: place.clone(),
        destinations: destinations.map(|text| (text.to_owned(), place.clone())).collect(),
        matcher,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SourceFile;

    fn routes(commands: &[&str]) -> Result<Vec<String>, String> {
        let place = SourceFile::new("f", "").place(0);
        let (mut routes, mut rewrite) = (Vec::new(), None);
        for command in commands {
            apply(command, &place, &mut routes, &mut rewrite)
                .map_err(|refusal| refusal.to_string())?;
        }
        let shown = |route: Route| {
            let destinations: Vec<String> =
                route.destinations.into_iter().map(|(text, _)| text).collect();
            let matcher = if route.matcher.is_some() { "~" } else { "" };
            format!("{}{matcher} {}", route.key, destinations.join(","))
        };
        Ok(routes.into_iter().map(shown).collect())
    }

    #[test]
    fn two_blanks_separate_a_route_and_its_destinations() {
        assert_eq!(
            routes(&[
                "addBlock prefix x.",
                "addRoute consistentHashing a prefix=p.  b:1:x spool=true  c:1",
                "addRoute sendAllMatch d  e:1",
                "delRoute d",
                "addRoute sendAllMatch f  g:1",
                "modRoute f sub=x",
                "addRewriter a b -1",
            ]),
            Ok(vec!["a~ b:1:x spool=true,c:1".to_owned(), "f~ g:1".to_owned()])
        );
    }

    #[test]
    fn what_the_relay_does_not_take_is_refused() {
        for (command, said) in [
            ("addRoute consistentHashing a b:1 c:1", "\"b:1\" is not a matcher"),
            (
                "addRoute consistentHashing-v2 a  b:1  c:1",
                "does not take the type \"consistentHashing-v2\"",
            ),
            ("addRoute consistentHashing", "has no key"),
            ("delRoute a", "no such route"),
            ("modRoute a prefix=b", "no such route"),
            ("modDest a b:1 addr=c:1", "changes a destination"),
            ("addroute x", "take the command \"addroute\""),
            ("", "take the command \"\""),
        ] {
            let refusal = routes(&[command]).expect_err(command);
            assert!(refusal.contains(said) && refusal.ends_with("[bad-command]"), "{refusal}");
        }
    }
}
