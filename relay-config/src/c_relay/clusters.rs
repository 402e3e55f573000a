//! From statements to clusters: what the relay checks while it reads (`router.c`), and the rings.

use std::collections::HashMap;

use bucky_ring::invalid_expression;

use super::address::{self, Server};
use super::cluster_ring::{algorithm, check_size, copies, purpose, ring};
use super::grammar::Parser;
use super::routing::Routing;
use super::syntax::{Cluster, Host, SendTo, Statement, Text};
use crate::{
    Choice, Need, NeedKind, OtherFiles, Place, Refusal, RefusalKind, SourceFile, Warning,
    WarningKind,
};

/// The most clusters. A relay with more of them is for something else.
const CLUSTERS_MOST: usize = 1000;
/// How deep files may include files. The relay has no limit, and a file that includes itself ends it.
const INCLUDE_DEPTH_MOST: usize = 16;

/// Reads files, and keeps what they define.
pub(super) struct Reader<'o> {
    others: &'o mut dyn OtherFiles,
    choices: Vec<Choice>,
    /// The hosts of each cluster, of those without a ring too, by its position in `choices`.
    hosts: Vec<Vec<String>>,
    servers: HashMap<ServerKey, FirstSeen>,
    /// Where names are rewritten first.
    rewrite: Option<Place>,
    routing: Routing,
}

/// What makes two servers one, if both names are resolved: host, port, and whether by UDP.
type ServerKey = (String, u16, bool);

/// How a server was given for the first time.
struct FirstSeen {
    instance: Option<String>,
    is_syslog: bool,
}

impl<'o> Reader<'o> {
    pub(super) fn new(others: &'o mut dyn OtherFiles) -> Self {
        Self {
            others,
            choices: Vec::new(),
            hosts: Vec::new(),
            servers: HashMap::new(),
            rewrite: None,
            routing: Routing::default(),
        }
    }

    /// The clusters of everything that was read, and the rules that lead to them.
    pub(super) fn finish(mut self) -> (Vec<Choice>, Routing) {
        self.warn_of_shared_hosts();
        for index in 0..self.choices.len() {
            self.follow_route_using(index);
        }
        if let Some(place) = self.rewrite {
            let rings = self.choices.iter_mut().filter_map(|choice| choice.ring.as_mut().ok());
            for ring in rings {
                ring.warnings.push(Warning {
                    kind: WarningKind::Rewrite,
                    place: place.clone(),
                    message: "names are rewritten before they are hashed; files carry the new names, so this \
                              matters only for names that you look up yourself"
                        .to_owned(),
                });
            }
        }
        (self.choices, self.routing)
    }

    /// If names are hashed by another text before they get to this cluster, its ring is right only with the
    /// rules.
    fn follow_route_using(&mut self, index: usize) {
        let Some(Choice { name, ring: Ok(found) }) = self.choices.get(index) else { return };
        let places = self.routing.route_using(name);
        if places.is_empty() {
            return;
        }
        let followed = self.routing.together(&[(name, found)]);
        let Some(Choice { ring: Ok(found), .. }) = self.choices.get_mut(index) else { return };
        match followed {
            Ok(ring) => *found = ring,
            Err(refusal) => {
                let reason = format!("line {}: {}", refusal.place.line, refusal.message);
                found.needs.extend(places.into_iter().map(|place| Need {
                    kind: NeedKind::RouteUsing,
                    place,
                    reason: reason.clone(),
                }));
            }
        }
    }

    /// Where a host has nodes of two clusters that get different names, the ring of one calls the files of the
    /// other misplaced.
    fn warn_of_shared_hosts(&mut self) {
        let others: Vec<(String, bool)> =
            self.choices.iter().map(|choice| (choice.name.clone(), choice.ring.is_ok())).collect();
        for (choice, own) in self.choices.iter_mut().zip(&self.hosts) {
            let Ok(found) = &mut choice.ring else { continue };
            let other = others.iter().zip(&self.hosts).find_map(|((other, is_ring), hosts)| {
                let shares = *other != choice.name && hosts.iter().any(|host| own.contains(host));
                let differs = || self.routing.differs(&choice.name, other);
                shares.then(differs)?.map(|place| (other, *is_ring, place))
            });
            let Some((other, is_ring, place)) = other else { continue };
            let both = match is_ring {
                true => format!("; take both rings with --cluster {},{other}", choice.name),
                false => String::new(),
            };
            found.warnings.push(Warning {
                kind: WarningKind::Matchers,
                place,
                message: format!(
                    "cluster {other:?} gets names that this one does not, and has nodes on the same hosts: its \
                     files look misplaced{both}"
                ),
            });
        }
    }

    /// Reads `file`, and those that it includes.
    ///
    /// # Errors
    /// [`Refusal`] for what the relay refuses.
    pub(super) fn file(&mut self, file: &SourceFile, depth: usize) -> Result<(), Refusal> {
        let mut parser = Parser::new(file)?;
        while let Some(statement) = parser.statement()? {
            match statement {
                Statement::Cluster(cluster) => self.cluster(file, &cluster)?,
                Statement::Match(matching) => {
                    let validated = matching.validate.iter().map(|validate| &validate.expression);
                    check_expressions(
                        file,
                        validated.chain(matching.expressions.iter().flatten()),
                    )?;
                    self.check_known(file, matching.send_to.as_ref())?;
                    self.routing.add_match(file, &matching);
                }
                Statement::Rewrite(rewrite) => {
                    check_expressions(file, [&rewrite.expression])?;
                    let place = file.place(rewrite.offset);
                    self.rewrite.get_or_insert_with(|| place.clone());
                    self.routing.add_rewrite(place);
                }
                Statement::Aggregate(aggregate) => {
                    check_expressions(file, &aggregate.expressions)?;
                    self.check_known(file, aggregate.send_to.as_ref())?;
                    self.routing.add_aggregate(file, &aggregate);
                }
                Statement::Statistics(clusters) => {
                    self.check_clusters(file, &clusters)?;
                    self.routing.add_statistics(file, &clusters);
                }
                Statement::Include(pattern) => self.include(file, &pattern, depth)?,
                Statement::Other => {}
            }
        }
        Ok(())
    }

    fn include(&mut self, file: &SourceFile, pattern: &Text, depth: usize) -> Result<(), Refusal> {
        let refuse = |message: String| Refusal {
            kind: RefusalKind::Include,
            place: file.place(pattern.offset),
            message,
        };
        if depth >= INCLUDE_DEPTH_MOST {
            return Err(refuse(format!(
                "files include each other more than {INCLUDE_DEPTH_MOST} deep"
            )));
        }
        let included = self
            .others
            .include(&pattern.text)
            .map_err(|reason| refuse(format!("cannot include {:?}: {reason}", pattern.text)))?;
        included.iter().try_for_each(|file| self.file(file, depth + 1))
    }

    fn check_known(&self, file: &SourceFile, to: Option<&SendTo>) -> Result<(), Refusal> {
        match to {
            Some(SendTo::Clusters(names)) => self.check_clusters(file, names),
            Some(SendTo::Blackhole) | None => Ok(()),
        }
    }

    fn check_clusters(&self, file: &SourceFile, names: &[Text]) -> Result<(), Refusal> {
        let is_known = |name: &&Text| self.choices.iter().any(|choice| choice.name == name.text);
        match names.iter().find(|name| !is_known(name)) {
            None => Ok(()),
            Some(name) => Err(Refusal {
                kind: RefusalKind::Syntax,
                place: file.place(name.offset),
                message: format!("there is no cluster {:?} above this line", name.text),
            }),
        }
    }

    fn cluster(&mut self, file: &SourceFile, cluster: &Cluster) -> Result<(), Refusal> {
        let copies = copies(file, cluster)?;
        if algorithm(cluster.kind).is_some() {
            check_size(file, cluster, copies)?;
        }
        if self.choices.len() == CLUSTERS_MOST {
            return Err(Refusal {
                kind: RefusalKind::TooManyServers,
                place: file.place(cluster.offset),
                message: format!("more than {CLUSTERS_MOST} clusters"),
            });
        }
        let servers: Vec<Server> = cluster
            .hosts
            .iter()
            .map(|host| address::server(file, host))
            .collect::<Result<_, _>>()?;
        for (host, server) in cluster.hosts.iter().zip(&servers) {
            self.check_server(file, host, server)?;
        }
        if self.choices.iter().any(|choice| choice.name == cluster.name.text) {
            return Err(Refusal {
                kind: RefusalKind::DuplicateCluster,
                place: file.place(cluster.name.offset),
                message: format!("cluster {:?} is already defined above", cluster.name.text),
            });
        }
        let ring = match algorithm(cluster.kind) {
            Some(algorithm) => ring(file, cluster, &servers, algorithm, copies),
            None => Err(Refusal {
                kind: RefusalKind::NoRing,
                place: file.place(cluster.offset),
                message: format!(
                    "cluster {:?} has no hash ring: {}",
                    cluster.name.text,
                    purpose(cluster.kind)
                ),
            }),
        };
        self.choices.push(Choice { name: cluster.name.text.clone(), ring });
        self.hosts.push(servers.into_iter().map(|server| server.host).collect());
        Ok(())
    }

    /// One server has one instance and one kind of line, over all clusters.
    fn check_server(
        &mut self,
        file: &SourceFile,
        host: &Host,
        server: &Server,
    ) -> Result<(), Refusal> {
        let key = (server.host.clone(), server.port, host.is_udp);
        let Some(first) = self.servers.get(&key) else {
            let seen = FirstSeen { instance: server.instance.clone(), is_syslog: host.is_syslog };
            self.servers.insert(key, seen);
            return Ok(());
        };
        let said = |instance: &Option<String>| match instance {
            Some(instance) => format!("instance {instance:?}"),
            None => "no instance".to_owned(),
        };
        let place = file.place(host.address.offset);
        if first.instance != server.instance {
            return Err(Refusal {
                kind: RefusalKind::DuplicateNode,
                place,
                message: format!(
                    "{}:{} has {} here and {} above; the relay does not start with that",
                    server.host,
                    server.port,
                    said(&server.instance),
                    said(&first.instance)
                ),
            });
        }
        if first.is_syslog != host.is_syslog {
            return Err(Refusal {
                kind: RefusalKind::Syntax,
                place,
                message: format!("{}:{} has another type above", server.host, server.port),
            });
        }
        Ok(())
    }
}

/// Refuses regular expressions that the relay cannot compile.
fn check_expressions<'t>(
    file: &SourceFile,
    expressions: impl IntoIterator<Item = &'t Text>,
) -> Result<(), Refusal> {
    for expression in expressions {
        if let Some(reason) = invalid_expression(&expression.text) {
            return Err(Refusal {
                kind: RefusalKind::Syntax,
                place: file.place(expression.offset),
                message: format!("{:?} is not a regular expression: {reason}", expression.text),
            });
        }
    }
    Ok(())
}
