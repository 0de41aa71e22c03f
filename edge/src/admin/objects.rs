//! `/cache/objects` and `/cache/purge`: what the cache knows about an object, and that it is to forget it.
//!
//! `GET /cache/objects/<path>` answers a JSON object; `POST /cache/purge/<hard|soft>/<scope>` purges, the scope being
//! `object/<path>`, `tag/<tag>`, `prefix/<start of a tag>` or `everything`.
//!
//! Promises
//! - A purge is answered with 200 when it is on a disk, if there is one, and not before.
//! - What names nothing is refused: an object whose path is none, an empty tag, a letter that would have to be
//!   decoded.
//!
//! Does not know: who may purge; that is for orders of any kind the same.

use super::Page;
use crate::serve::Edge;
use antiphon_cache::{ObjName, Purge, PurgeManner, TAG_BYTES_MAX};
use antiphon_core::ObjectPath;

/// Under this is what is known about objects.
pub(super) const OBJECTS: &str = "/cache/objects";
/// Under this objects are purged.
pub(super) const PURGE: &str = "/cache/purge";

const USAGE: &str = "POST /cache/purge/<hard|soft>/ and then object/<path>, tag/<tag>, prefix/<start of a tag> or everything\n";

/// Answers what is known about the object at `path`.
pub(super) fn explain(edge: &Edge, path: &str) -> (Page, String) {
    let Some(name) = object(path) else {
        return (Page::Unknown, "GET /cache/objects/<path>: the path names no object\n".to_owned());
    };
    match serde_json::to_string_pretty(&edge.cache().explain(&name)) {
        Ok(text) => (Page::Json, text + "\n"),
        Err(error) => (Page::Broken, format!("{error}\n")),
    }
}

/// Purges what `rest` says, the path behind [`PURGE`].
pub(super) async fn purge(edge: &Edge, rest: &str) -> (Page, String) {
    let Some((manner, purge)) = parse(rest) else { return (Page::Unknown, USAGE.to_owned()) };
    match edge.cache().purge(&purge, manner).await {
        Ok(()) => {
            tracing::info!(what = rest, "purged by an operator's order");
            (Page::Fine, format!("purged: {rest}\n"))
        }
        Err(error) => (Page::Broken, format!("{error}\n")),
    }
}

fn parse(rest: &str) -> Option<(PurgeManner, Purge)> {
    let (manner, scope) = rest.strip_prefix('/')?.split_once('/')?;
    let manner = match manner {
        "hard" => PurgeManner::Hard,
        "soft" => PurgeManner::Soft,
        _ => return None,
    };
    if scope == "everything" {
        return Some((manner, Purge::Everything));
    }
    let (kind, what) = scope.split_once('/')?;
    let tag = Some(what.to_owned()).filter(|tag| is_tag(tag));
    let purge = match kind {
        "object" => Purge::Object(object(&format!("/{what}"))?),
        "tag" => Purge::Tag(tag?),
        "prefix" => Purge::TagPrefix(tag?),
        _ => return None,
    };
    Some((manner, purge))
}

fn object(path: &str) -> Option<ObjName> {
    path.parse::<ObjectPath>().ok().map(|_| ObjName::new(path))
}

/// Whether a tag could be so: a percent sign would have to be decoded first.
fn is_tag(text: &str) -> bool {
    (1..=TAG_BYTES_MAX).contains(&text.len()) && !text.contains(['%', ','])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_says_how_and_what() {
        let path = "a/c/692/4f1c0d2e9b7a4c554f1c0d2e9b7a4c55/256.mp4";
        let object = format!("/hard/object/{path}");
        for (rest, manner, purge) in [
            (object.as_str(), PurgeManner::Hard, Purge::Object(ObjName::new(&format!("/{path}")))),
            ("/soft/tag/epoch:692", PurgeManner::Soft, Purge::Tag("epoch:692".into())),
            ("/hard/prefix/asset:", PurgeManner::Hard, Purge::TagPrefix("asset:".into())),
            ("/soft/everything", PurgeManner::Soft, Purge::Everything),
        ] {
            let (got_manner, got) = parse(rest).unwrap();
            assert_eq!((got_manner, format!("{got:?}")), (manner, format!("{purge:?}")), "{rest}");
        }
        for rest in
            ["", "/hard", "/hard/", "/hard/tag/", "/hard/prefix/", "/warm/everything", "/hard/everything/"]
        {
            assert!(parse(rest).is_none(), "{rest}");
        }
        for rest in ["/hard/object/a/b", "/hard/tag/a%20b", "/hard/song/x", "/hard/tag/a,b"] {
            assert!(parse(rest).is_none(), "{rest}");
        }
    }
}
