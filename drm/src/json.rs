//! What may be said about a JSON text that holds secrets: where it is wrong, never what stands there.

/// Most of a message that is passed on, in bytes: it may quote the name of a key.
const TEXT_MAX: usize = 120;

/// The place of the fault and its kind. serde's own words quote values ("invalid type: string ..."), so only
/// those of its messages that quote names alone are passed on.
pub(crate) fn json_fault(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let what = message.split(" at line ").next().unwrap_or("");
    let names_only =
        ["missing field", "unknown field", "duplicate field", "EOF", "expected", "trailing", "key must"];
    let what = match names_only.iter().any(|start| what.starts_with(start)) {
        true => &what[..what.floor_char_boundary(TEXT_MAX)],
        false if error.is_data() => "a value of the wrong type or form",
        false => "no JSON",
    };
    format!("{what} at line {} column {}", error.line(), error.column())
}
