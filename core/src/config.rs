//! One TOML file per role: read with precise refusals, printed with every key explained.
//!
//! Promises
//! - An unknown or ill-typed key is refused with file, line, column and, where one is near, a suggestion.
//! - [`render`] prints every key with the text of its doc comment, and [`parse`] reads that back unchanged.
//!
//! Does not know: where the file lies, what the keys mean.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

/// Why a configuration is refused. The text is written for whoever edited the file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {what}{}", hint.as_deref().map(|hint| format!("\n  {hint}")).unwrap_or_default())]
pub struct ConfigError {
    /// The file as the operator named it.
    pub file: String,
    /// Line of the fault, from 1.
    pub line: usize,
    /// Column of the fault, from 1.
    pub column: usize,
    /// What is wrong there.
    pub what: String,
    /// What was probably meant.
    pub hint: Option<String>,
}

/// A comment line is at most this wide, in characters.
const COMMENT_WIDTH: usize = 108;

/// Reads a role's file. Keys that are absent keep their defaults; `file` only names it in errors.
pub fn parse<T: DeserializeOwned>(text: &str, file: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = text.get(..at).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ConfigError {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            what: error.message().to_owned(),
            hint: suggestion(error.message()),
        }
    })
}

/// Prints a configuration with every key explained: the doc comment of a field becomes the comment above
/// its key, the doc comment of a struct the comment above its table.
pub fn render<T: Serialize + JsonSchema>(config: &T) -> Result<String, toml::ser::Error> {
    let schema = schemars::schema_for!(T).to_value();
    let table = match toml::Value::try_from(config)? {
        toml::Value::Table(table) => table,
        other => toml::Table::from_iter([("value".to_owned(), other)]),
    };
    let mut text = String::new();
    comment(&mut text, description(&schema));
    render_table(&mut text, "", &table, &schema, &schema);
    Ok(text)
}

/// Writes one table: first its plain keys, then its sub-tables, both in the order of the struct.
fn render_table(text: &mut String, prefix: &str, table: &toml::Table, schema: &Json, root: &Json) {
    let properties = resolve(schema, root).get("properties").and_then(Json::as_object);
    let ordered: Vec<&String> = properties
        .map(|properties| properties.keys().filter(|key| table.contains_key(*key)).collect())
        .unwrap_or_default();
    let schema_of = |key: &str| properties.and_then(|properties| properties.get(key)).unwrap_or(&Json::Null);
    for key in &ordered {
        let value = &table[key.as_str()];
        if !value.is_table() && tables(value).is_none() {
            text.push('\n');
            comment(text, description(schema_of(key)));
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    for key in &ordered {
        if let Some(inner) = table[key.as_str()].as_table() {
            let name = if prefix.is_empty() { (*key).clone() } else { format!("{prefix}.{key}") };
            text.push('\n');
            comment(text, description(schema_of(key)).or_else(|| description(resolve(schema_of(key), root))));
            text.push_str(&format!("[{name}]\n"));
            render_table(text, &name, inner, schema_of(key), root);
        }
        if let Some(rows) = tables(&table[key.as_str()]) {
            let name = if prefix.is_empty() { (*key).clone() } else { format!("{prefix}.{key}") };
            text.push('\n');
            comment(text, description(schema_of(key)));
            let row_schema = schema_of(key).get("items").unwrap_or(&Json::Null);
            for (number, row) in rows.iter().enumerate() {
                text.push_str(&format!("{}[[{name}]]\n", if number == 0 { "" } else { "\n" }));
                render_table(text, &name, row, row_schema, root);
            }
        }
    }
}

/// The rows of an array of tables, if it is one. An empty array is a plain value.
fn tables(value: &toml::Value) -> Option<Vec<&toml::Table>> {
    let rows = value.as_array().filter(|rows| !rows.is_empty())?;
    rows.iter().map(toml::Value::as_table).collect()
}

/// Follows `$ref` to the definition it names.
fn resolve<'a>(schema: &'a Json, root: &'a Json) -> &'a Json {
    schema
        .get("$ref")
        .and_then(Json::as_str)
        .and_then(|reference| reference.strip_prefix('#'))
        .and_then(|pointer| root.pointer(pointer))
        .unwrap_or(schema)
}

fn description(schema: &Json) -> Option<&str> {
    schema.get("description").and_then(Json::as_str)
}

/// Writes `description` as comment lines, re-wrapped; an empty line starts a new paragraph.
fn comment(text: &mut String, description: Option<&str>) {
    for paragraph in description.unwrap_or("").split("\n\n").filter(|paragraph| !paragraph.trim().is_empty())
    {
        let mut line = String::from("#");
        for word in paragraph.split_whitespace() {
            if line.chars().count() + 1 + word.chars().count() > COMMENT_WIDTH {
                text.push_str(&line);
                text.push('\n');
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        text.push_str(&line);
        text.push('\n');
    }
}

/// Turns serde's "unknown field `x`, expected one of `a`, `b`" into "did you mean `a`?".
fn suggestion(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let (unknown, known) = (quoted.next()?, quoted);
    if !message.contains("unknown field") && !message.contains("unknown variant") {
        return None;
    }
    known
        .map(|candidate| (strsim::damerau_levenshtein(unknown, candidate), candidate))
        .min()
        .filter(|(distance, _)| *distance <= (unknown.len() / 3).max(1))
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    /// A room for tests.
    #[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct Room {
        /// Where it listens, as `address:port`.
        listen: String,
        /// How long it waits, milliseconds.
        wait_ms: u32,
        /// The first tier.
        ram: Ram,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct Ram {
        /// Memory for chunks.
        capacity_bytes: crate::ByteSize,
    }

    impl Default for Room {
        fn default() -> Self {
            Self { listen: "127.0.0.1:1".into(), wait_ms: 20, ram: Ram::default() }
        }
    }

    impl Default for Ram {
        fn default() -> Self {
            Self { capacity_bytes: crate::ByteSize::mib(64) }
        }
    }

    #[test]
    fn a_printed_configuration_explains_each_key_and_reads_back() {
        let text = render(&Room::default()).unwrap();
        assert_eq!(
            text,
            "# A room for tests.\n\n# Where it listens, as `address:port`.\nlisten = \"127.0.0.1:1\"\n\n\
             # How long it waits, milliseconds.\nwait_ms = 20\n\n# The first tier.\n[ram]\n\n\
             # Memory for chunks.\ncapacity_bytes = \"64MiB\"\n"
        );
        assert_eq!(parse::<Room>(&text, "room.toml"), Ok(Room::default()));
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct House {
        /// Its rooms.
        rooms: Vec<Ram>,
    }

    #[test]
    fn an_array_of_tables_is_printed_as_such_and_reads_back() {
        let house = House { rooms: vec![Ram::default(), Ram { capacity_bytes: crate::ByteSize(1) }] };
        let text = render(&house).unwrap();
        assert_eq!(
            text,
            "\n# Its rooms.\n[[rooms]]\n\n# Memory for chunks.\ncapacity_bytes = \"64MiB\"\n\
             \n[[rooms]]\n\n# Memory for chunks.\ncapacity_bytes = \"1\"\n"
        );
        assert_eq!(parse::<House>(&text, "house.toml"), Ok(house));
        let empty = render(&House { rooms: Vec::new() }).unwrap();
        assert_eq!(parse::<House>(&empty, "house.toml"), Ok(House { rooms: Vec::new() }));
    }

    #[test]
    fn a_misspelt_key_is_refused_with_its_place_and_a_suggestion() {
        let error = parse::<Room>("listen = \"x\"\n\n[ram]\ncapacity_byte = 1\n", "room.toml").unwrap_err();
        assert_eq!((error.line, error.column), (4, 1));
        assert_eq!(error.hint.as_deref(), Some("did you mean `capacity_bytes`?"));
        assert!(error.to_string().starts_with("room.toml:4:1: unknown field `capacity_byte`"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused_with_its_place() {
        let error = parse::<Room>("wait_ms = \"soon\"", "room.toml").unwrap_err();
        assert_eq!((error.line, error.column, error.hint.is_none()), (1, 11, true));
        let error = parse::<Room>("wait_ms = ", "room.toml").unwrap_err();
        assert_eq!(error.line, 1);
    }
}
