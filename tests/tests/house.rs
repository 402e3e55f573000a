//! How the two programs are built: no import cycle between their modules, and no struct with too many fields.
//! A finding names the place, so that the next change can fix it or explain the exception here.

#![expect(clippy::unwrap_used, reason = "a test, and all that only tests call, may fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Fields, Item, ItemStruct, UseTree};

/// The most fields of a struct. A command's arguments belong to the command line, and do not count.
const FIELDS_MOST: usize = 12;
/// The most lines of `bucky rebalance` itself: moving metrics is the engine's work, in `transfer`.
const REBALANCE_LINES_MOST: usize = 1000;

fn sources(program: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(program).join("src")
}

/// The modules of a program: their paths in it, such as `transfer::mover`, and their items except tests.
fn modules(program: &str) -> BTreeMap<String, Vec<Item>> {
    let root = sources(program);
    let files = walkdir::WalkDir::new(&root).into_iter().map(Result::unwrap);
    let mut modules = BTreeMap::new();
    for file in files.filter(|file| file.path().extension().is_some_and(|kind| kind == "rs")) {
        let path = file.path().strip_prefix(&root).unwrap().with_extension("");
        let mut parts: Vec<String> =
            path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        parts.pop_if(|last| ["mod", "lib", "main"].contains(&last.as_str()));
        let parsed = syn::parse_file(&std::fs::read_to_string(file.path()).unwrap()).unwrap();
        if !parsed.items.is_empty() {
            modules.insert(parts.join("::"), parsed.items);
        }
    }
    let tests = test_modules(&modules);
    modules.retain(|name, _| !tests.iter().any(|test| is_below(name, test)));
    modules
}

/// The modules that are only built for tests.
fn test_modules(modules: &BTreeMap<String, Vec<Item>>) -> Vec<String> {
    let mut tests = Vec::new();
    for (name, items) in modules {
        for item in items {
            if let Item::Mod(inner) = item
                && is_for_tests(&inner.attrs)
            {
                let name = if name.is_empty() { String::new() } else { format!("{name}::") };
                tests.push(format!("{name}{}", inner.ident));
            }
        }
    }
    tests
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|ident| ident == "test")
    })
}

/// Whether `name` is `above`, or a module below it.
fn is_below(name: &str, above: &str) -> bool {
    name.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The modules that a module names, by `use` or by a path in its code.
struct Named<'m> {
    modules: &'m BTreeMap<String, Vec<Item>>,
    /// The module that is examined.
    at: &'m str,
    found: BTreeSet<String>,
}

impl Named<'_> {
    fn note(&mut self, path: &[String]) {
        let here: Vec<&str> = self.at.split("::").filter(|part| !part.is_empty()).collect();
        let Some((first, rest)) = path.split_first() else { return };
        let (mut full, mut rest) = match first.as_str() {
            "crate" => (Vec::new(), rest),
            "self" => (here, rest),
            "super" => (here[..here.len().saturating_sub(1)].to_vec(), rest),
            _ => return,
        };
        while let Some((first, others)) = rest.split_first()
            && first == "super"
        {
            full.pop();
            rest = others;
        }
        full.extend(rest.iter().map(String::as_str));
        while !full.is_empty() && !self.modules.contains_key(&full.join("::")) {
            full.pop();
        }
        if !full.is_empty() {
            self.found.insert(full.join("::"));
        }
    }

    fn note_tree(&mut self, tree: &UseTree, before: &mut Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.note_tree(&path.tree, before);
                before.pop();
            }
            UseTree::Name(name) => {
                before.push(name.ident.to_string());
                self.note(before);
                before.pop();
            }
            UseTree::Rename(renamed) => {
                before.push(renamed.ident.to_string());
                self.note(before);
                before.pop();
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.note_tree(tree, before));
            }
            UseTree::Glob(_) => self.note(before),
        }
    }
}

impl<'ast> Visit<'ast> for Named<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Const(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note_tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.note(&parts);
        visit::visit_path(self, path);
    }
}

/// The imports of each module. Parents and children belong together, and do not count.
fn imports(modules: &BTreeMap<String, Vec<Item>>) -> BTreeMap<&str, BTreeSet<String>> {
    let named = |(at, items): (&'_ String, &Vec<Item>)| {
        let mut named = Named { modules, at, found: BTreeSet::new() };
        items.iter().for_each(|item| named.visit_item(item));
        named.found.retain(|other| !is_below(other, at) && !is_below(at, other));
        named.found
    };
    modules
        .iter()
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, items)| (name.as_str(), named((name, items))))
        .collect()
}

/// A path from a module back to itself, if there is one.
fn circle(imports: &BTreeMap<&str, BTreeSet<String>>) -> Option<Vec<String>> {
    fn walk<'m>(
        at: &'m str,
        imports: &'m BTreeMap<&str, BTreeSet<String>>,
        way: &mut Vec<&'m str>,
        done: &mut BTreeSet<&'m str>,
    ) -> Option<Vec<String>> {
        if let Some(start) = way.iter().position(|step| *step == at) {
            let steps = way[start..].iter().chain([&at]);
            return Some(steps.map(|step| (*step).to_owned()).collect());
        }
        if !done.insert(at) {
            return None;
        }
        way.push(at);
        let others = imports.get(at).into_iter().flatten();
        let found = others.into_iter().find_map(|other| walk(other, imports, way, done));
        way.pop();
        found
    }
    let mut done = BTreeSet::new();
    imports.keys().find_map(|at| walk(at, imports, &mut Vec::new(), &mut done))
}

/// The imports between the top-level folders and files: modules below them count for them.
fn imports_at_top(
    imports: &BTreeMap<&str, BTreeSet<String>>,
) -> BTreeMap<String, BTreeSet<String>> {
    let top = |name: &str| name.split("::").next().unwrap_or_default().to_owned();
    let mut of_top: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, others) in imports {
        let others = others.iter().map(|other| top(other)).filter(|other| *other != top(name));
        of_top.entry(top(name)).or_default().extend(others);
    }
    of_top
}

#[test]
fn no_module_of_a_program_imports_itself_by_a_circle() {
    for program in ["bucky", "buckyd"] {
        let modules = modules(program);
        assert!(modules.len() > 50, "{program} was not found");
        let imports = imports(&modules);
        assert_eq!(circle(&imports), None, "in {program}");
        let of_top = imports_at_top(&imports);
        let of_top = of_top.iter().map(|(name, others)| (name.as_str(), others.clone())).collect();
        assert_eq!(circle(&of_top), None, "between the folders of {program}");
    }
}

#[test]
fn a_circle_is_found() {
    let imports = [("a", "b"), ("b", "c"), ("c", "b")];
    let imports = imports.map(|(from, to)| (from, BTreeSet::from([to.to_owned()]))).into();
    assert_eq!(circle(&imports).unwrap(), ["b", "c", "b"]);
}

#[test]
fn no_command_imports_another() {
    let modules = modules("bucky");
    for (name, others) in imports(&modules) {
        if let Some(command) = name.strip_prefix("commands::") {
            let own = command.split("::").next().unwrap();
            let is_other = |other: &&String| {
                other.strip_prefix("commands::").is_some_and(|other| !is_below(other, own))
            };
            assert_eq!(others.iter().find(is_other), None, "imported by {name}");
        }
    }
}

#[test]
fn the_engine_is_not_called_rebalance() {
    let folder = sources("bucky").join("rebalance");
    let files = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
    let lines: usize = files
        .filter(|file| file.file_type().is_file())
        .map(|file| std::fs::read_to_string(file.path()).unwrap().lines().count())
        .sum();
    assert!((1..REBALANCE_LINES_MOST).contains(&lines), "{lines} lines");
}

/// The structs that have more fields than a reader can remember.
#[test]
fn no_struct_is_too_wide() {
    struct Wide<'m>(&'m str, Vec<String>);
    impl<'ast> Visit<'ast> for Wide<'_> {
        fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
            let derives = item.attrs.iter().filter(|attribute| attribute.path().is_ident("derive"));
            let mut derived = String::new();
            for attribute in derives {
                let _ = attribute.parse_nested_meta(|meta| {
                    let last = meta.path.segments.last().unwrap().ident.to_string();
                    derived.push_str(&last);
                    derived.push(' ');
                    Ok(())
                });
            }
            // A message of the API has the fields of its document.
            let is_outside = ["Args", "Parser", "Serialize", "Deserialize"]
                .iter()
                .any(|name| derived.split(' ').any(|one| one == *name));
            if let Fields::Named(fields) = &item.fields
                && fields.named.len() > FIELDS_MOST
                && !is_outside
            {
                self.1.push(format!("{}::{}: {} fields", self.0, item.ident, fields.named.len()));
            }
        }
    }
    let mut wide = Vec::new();
    for program in ["ring", "whisper", "placement", "flags", "api", "buckyd", "bucky"] {
        for (name, items) in modules(program) {
            let name = format!("{program}::{name}");
            let mut of_module = Wide(&name, Vec::new());
            items.iter().for_each(|item| of_module.visit_item(item));
            wide.extend(of_module.1);
        }
    }
    assert_eq!(wide, Vec::<String>::new());
}

/// The modules of `bucky` in which a name occurs: of a method that is called, or of the last two parts of a
/// path.
fn modules_that_name(names: &[&str]) -> Vec<String> {
    struct Names<'n> {
        wanted: &'n [&'n str],
        is_there: bool,
    }
    impl<'ast> Visit<'ast> for Names<'_> {
        fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
            if !is_for_tests(&item.attrs) {
                visit::visit_item_mod(self, item);
            }
        }

        fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
            self.is_there |= self.wanted.iter().any(|wanted| call.method == wanted);
            visit::visit_expr_method_call(self, call);
        }

        fn visit_path(&mut self, path: &'ast syn::Path) {
            let parts: Vec<String> =
                path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            let last = parts[parts.len().saturating_sub(2)..].join("::");
            self.is_there |= self.wanted.contains(&last.as_str());
            visit::visit_path(self, path);
        }
    }
    let naming = modules("bucky").into_iter().filter(|(_, items)| {
        let mut names = Names { wanted: names, is_there: false };
        items.iter().for_each(|item| names.visit_item(item));
        names.is_there
    });
    naming.map(|(name, _)| name).collect()
}

/// Nothing asks whether a daemon is ours or the Go tool's: it asks for an ability (`cluster::kind`). The
/// answers of discovery are taken apart where they are shown.
#[test]
fn the_kind_of_a_daemon_is_asked_for_in_one_place() {
    assert_eq!(modules_that_name(&["DaemonKind::V1", "DaemonKind::Go"]), ["cluster"]);
    assert_eq!(
        modules_that_name(&["Answer::Go"]),
        ["cluster", "cluster::health", "commands::servers", "commands::servers::json"]
    );
}

/// A file is deleted without a condition in two places: for an operator who wants it gone, and with a receipt
/// for what moved one by one.
#[test]
fn a_file_is_deleted_with_a_receipt_or_by_the_operator() {
    assert_eq!(modules_that_name(&["go_delete"]), ["deletion", "transfer::go::delete"]);
}

/// Type names that any module may declare: a command's arguments, and the error of a small module.
const SHARED_TYPE_NAMES: [&str; 2] = ["Args", "Error"];

/// The types that `items` declare, also in functions and inner modules. Associated types do not count.
fn declared_types(items: &[Item]) -> Vec<String> {
    struct Declared(Vec<String>);
    impl<'ast> Visit<'ast> for Declared {
        fn visit_item(&mut self, item: &'ast Item) {
            let (attributes, name) = match item {
                Item::Struct(item) => (&item.attrs, Some(&item.ident)),
                Item::Enum(item) => (&item.attrs, Some(&item.ident)),
                Item::Union(item) => (&item.attrs, Some(&item.ident)),
                Item::Trait(item) => (&item.attrs, Some(&item.ident)),
                Item::Type(item) => (&item.attrs, Some(&item.ident)),
                Item::Mod(item) => (&item.attrs, None),
                Item::Fn(item) => (&item.attrs, None),
                Item::Impl(item) => (&item.attrs, None),
                _ => (&Vec::new(), None),
            };
            if !is_for_tests(attributes) {
                self.0.extend(name.map(ToString::to_string));
                visit::visit_item(self, item);
            }
        }
    }
    let mut declared = Declared(Vec::new());
    items.iter().for_each(|item| declared.visit_item(item));
    declared.0
}

#[test]
fn a_type_name_means_one_thing_in_a_program() {
    for program in ["api", "bucky", "buckyd"] {
        let mut modules_of: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (module, items) in modules(program) {
            for name in declared_types(&items) {
                modules_of.entry(name).or_default().push(module.clone());
            }
        }
        assert!(modules_of.len() > 20, "{program} was not found");
        modules_of.retain(|name, modules| {
            modules.len() > 1 && !SHARED_TYPE_NAMES.contains(&name.as_str())
        });
        assert_eq!(modules_of, BTreeMap::new(), "declared twice in {program}");
    }
}

#[test]
fn types_are_found_where_they_are_declared() {
    let file = syn::parse_str::<syn::File>(
        "struct A; enum B {} trait C { type Inner; } type D = u8; fn f() { struct E; }
         #[cfg(test)] struct T; #[cfg(test)] mod tests { struct T; }",
    );
    assert_eq!(declared_types(&file.unwrap().items), ["A", "B", "C", "D", "E"]);
}
