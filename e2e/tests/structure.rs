//! The structural facts of ARCHITECTURE.md, held by the crate graph.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::collections::{BTreeSet, HashMap};

/// The workspace as cargo sees it.
struct Graph {
    metadata: Metadata,
}

impl Graph {
    fn read() -> Self {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
        Self { metadata: MetadataCommand::new().manifest_path(manifest).exec().expect("cargo metadata") }
    }

    fn package(&self, name: &str) -> &Package {
        self.metadata
            .packages
            .iter()
            .find(|package| package.name.as_str() == name)
            .expect("a member of the workspace")
    }

    /// What `name` names itself under `[dependencies]`, tests not counted.
    fn direct(&self, name: &str) -> BTreeSet<&str> {
        let dependencies = self.package(name).dependencies.iter();
        dependencies.filter(|d| d.kind == DependencyKind::Normal).map(|d| d.name.as_str()).collect()
    }

    /// Everything that is linked into `name`, tests not counted.
    fn all_below(&self, name: &str) -> BTreeSet<&str> {
        let nodes = &self.metadata.resolve.as_ref().expect("a resolved graph").nodes;
        let nodes: HashMap<_, _> = nodes.iter().map(|node| (&node.id, node)).collect();
        let names: HashMap<_, _> = self.metadata.packages.iter().map(|p| (&p.id, p.name.as_str())).collect();
        let (mut seen, mut ahead) = (BTreeSet::new(), vec![&self.package(name).id]);
        while let Some(id) = ahead.pop() {
            for dependency in &nodes[id].deps {
                let linked = dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
                if linked && seen.insert(names[&dependency.pkg]) {
                    ahead.push(&dependency.pkg);
                }
            }
        }
        seen
    }
}

#[test]
fn the_tiers_do_not_know_keys() {
    assert!(!Graph::read().all_below("antiphon-cache").contains("antiphon-drm"));
}

#[test]
fn the_edge_takes_only_the_token_half_of_drm() {
    let graph = Graph::read();
    let edge = graph.package("antiphon-edge");
    let drm: Vec<_> = edge.dependencies.iter().filter(|d| d.name == "antiphon-drm").collect();
    assert!(!drm.is_empty());
    for dependency in drm.iter().filter(|d| d.kind == DependencyKind::Normal) {
        assert!(!dependency.uses_default_features);
        assert_eq!(dependency.features, ["token"]);
    }
    // The token half brings no cipher for content: neither the crates nor the feature that asks for them.
    let token_feature = &graph.package("antiphon-drm").features["token"];
    assert!(
        token_feature.iter().all(|part| !part.contains("aes") && !part.contains("ctr") && part != "content")
    );
    for member in ["antiphon-core", "antiphon-cache"] {
        assert!(!graph.all_below(member).contains("aes"), "{member} links a content cipher");
    }
}

#[test]
fn the_quiet_crates_do_not_know_http() {
    let graph = Graph::read();
    for quiet in ["antiphon-core", "antiphon-drm", "antiphon-cache"] {
        let below = graph.all_below(quiet);
        for loud in
            ["http", "hyper", "axum", "pingora-core", "h2", "h3", "quinn", "reqwest", "object_store", "sqlx"]
        {
            assert!(!below.contains(loud), "{quiet} links {loud}");
        }
    }
}

#[test]
fn edge_origin_and_control_meet_over_the_wire_only() {
    let graph = Graph::read();
    let roles = ["antiphon-edge", "antiphon-origin", "antiphon-control"];
    for role in roles {
        let below = graph.all_below(role);
        assert!(roles.iter().filter(|other| **other != role).all(|other| !below.contains(other)), "{role}");
    }
}

#[test]
fn arrows_between_rooms_point_down() {
    let graph = Graph::read();
    for (room, may_use) in [
        ("antiphon-core", &[][..]),
        ("antiphon-drm", &["antiphon-core"][..]),
        ("antiphon-cache", &["antiphon-core"][..]),
        ("antiphon-edge", &["antiphon-core", "antiphon-drm", "antiphon-cache"][..]),
        ("antiphon-origin", &["antiphon-core", "antiphon-drm"][..]),
        ("antiphon-control", &["antiphon-core", "antiphon-drm"][..]),
    ] {
        let used = graph.direct(room);
        let ours = used.iter().filter(|name| name.starts_with("antiphon-"));
        assert!(
            ours.clone().all(|name| may_use.contains(name)),
            "{room} uses {:?}",
            ours.collect::<Vec<_>>()
        );
    }
}

#[test]
fn each_outside_crate_has_one_version_line() {
    let graph = Graph::read();
    for member in graph.metadata.workspace_packages() {
        let text = std::fs::read_to_string(&member.manifest_path).expect("a manifest");
        let manifest: toml::Table = text.parse().expect("TOML");
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, line) in manifest.get(kind).and_then(toml::Value::as_table).into_iter().flatten() {
                let inherited = line.get("workspace").and_then(toml::Value::as_bool) == Some(true);
                assert!(inherited, "{}: {name}: versions live in the root Cargo.toml", member.name);
            }
        }
    }
}

#[test]
fn the_edge_alone_has_no_content_key_in_reach() {
    // Feature unification can hide what the manifests say, so ask for the tree of the edge by itself.
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let output = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--manifest-path", manifest, "--package", "antiphon-edge"])
        .args(["--edges", "normal,features", "--prefix", "none"])
        .output()
        .expect("cargo tree");
    let tree = String::from_utf8(output.stdout).expect("text");
    assert!(tree.contains("antiphon-drm feature \"token\""), "{tree}");
    assert!(!tree.contains("antiphon-drm feature \"content\""));
}
