//! Every JSON object that is printed is of the schema that `docs/json` has of it, and has no property that this leaves out.

use std::path::Path;

use kvpath_tests::{fixture, kvpath};
use serde_json::{Map, Value, json};

const RUNS: [&str; 13] = [
    "v1/even",
    "v1/faults/clean",
    "v1/faults/host-pause",
    "v1/faults/late-registration",
    "v1/faults/slow-layer",
    "v1/faults/slow-poll",
    "v1/faults/uneven",
    "v1/sglang",
    "v1/taken",
    "v1/uneven",
    "v1/vllm-full",
    "v1/vllm-live",
    "v1/workload-gpu",
];

fn schema(output: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/json/{output}.schema.json"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}

/// Where `value` is not what `schema` says. Objects may hold only what it names, so that nothing stays undocumented.
fn faults(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (keyword, wanted) in schema.as_object().expect("a schema is an object") {
        match keyword.as_str() {
            "$schema" | "title" | "description" => {}
            "type" => {
                let names = wanted.as_array().map_or_else(|| vec![wanted], |names| names.iter().collect());
                if !names.iter().any(|name| is_a(value, name.as_str().expect("a name"))) {
                    found.push(format!("{at}: {value} is no {wanted}"));
                }
            }
            "const" => found.extend((value != wanted).then(|| format!("{at}: {value} is not {wanted}"))),
            "enum" => {
                let is_one = wanted.as_array().expect("a list").contains(value);
                found.extend((!is_one).then(|| format!("{at}: {value} is none of {wanted}")));
            }
            "items" => {
                for (position, item) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(faults(wanted, item, &format!("{at}[{position}]")));
                }
            }
            "properties" => {
                let known: &Map<String, Value> = wanted.as_object().expect("an object");
                for (name, value) in value.as_object().into_iter().flatten() {
                    match known.get(name) {
                        Some(schema) => found.extend(faults(schema, value, &format!("{at}.{name}"))),
                        None => found.push(format!("{at}.{name} is not in the schema")),
                    }
                }
            }
            "required" => {
                let names = wanted.as_array().expect("a list").iter().map(|name| name.as_str().expect("a name"));
                let missing = names.filter(|name| value.get(name).is_none());
                found.extend(missing.map(|name| format!("{at}.{name} is missing")));
            }
            other => panic!("{at}: this test does not know the keyword `{other}`"),
        }
    }
    found
}

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("no type `{other}`"),
    }
}

fn printed(words: &[&str]) -> Value {
    let out = kvpath().args(words).output().expect("kvpath runs");
    let object = serde_json::from_slice(&out.stdout);
    object.unwrap_or_else(|error| panic!("{words:?}: {error}: {}", String::from_utf8_lossy(&out.stderr)))
}

fn hold(output: &str, words: &[&str]) -> Value {
    let object = printed(words);
    let found = faults(&schema(output), &object, output);
    assert!(found.is_empty(), "{words:?}: {:#?}", &found[..found.len().min(10)]);
    assert_eq!(object["format"], format!("kvpath.{output}"));
    object
}

#[test]
fn reports_are_of_their_schema() {
    for run in RUNS {
        hold("report", &["report", "--json", fixture(run).to_str().unwrap()]);
    }
}

#[test]
fn checks_are_of_their_schema() {
    for run in RUNS {
        hold("check", &["check", "--json", fixture(run).to_str().unwrap()]);
    }
}

#[test]
fn paths_are_of_their_schema() {
    for run in RUNS {
        hold("path", &["path", "--json", fixture(run).to_str().unwrap()]);
    }
    let run = fixture("v1/faults/clean");
    let all = "stage,chunk,layer,category,gate,name";
    let object = hold("path", &["path", "--json", run.to_str().unwrap(), "--by", all]);
    assert_eq!(object["on_path"][0].as_object().unwrap().len(), 8, "every key of --by and two times");
}

#[test]
fn paths_against_another_run_are_of_their_schema() {
    let [own, other] = ["v1/faults/slow-layer", "v1/faults/clean"].map(fixture);
    hold("path-against", &["path", "--json", own.to_str().unwrap(), "--against", other.to_str().unwrap()]);
}

#[test]
fn tables_and_queries_are_of_their_schema() {
    hold("schema", &["schema", "--format", "json"]);
    hold("queries", &["queries", "list", "--json"]);
}

#[test]
fn what_is_not_of_a_schema_is_found() {
    let schema = schema("check");
    let good = hold("check", &["check", "--json", fixture("v1/even").to_str().unwrap()]);
    let faulty = |change: fn(&mut Value)| {
        let mut object = good.clone();
        change(&mut object);
        faults(&schema, &object, "check")
    };
    assert!(faulty(|_| {}).is_empty());
    assert_eq!(faulty(|object| object["segments"] = json!("9")).len(), 1);
    assert_eq!(faulty(|object| object["version"] = json!(2)).len(), 1);
    assert_eq!(faulty(|object| object["more"] = json!(1)), ["check.more is not in the schema"]);
    assert_eq!(faulty(|object| object["coverage"][0]["rows"] = Value::Null).len(), 1);
    assert_eq!(faulty(|object| drop(object.as_object_mut().unwrap().remove("lost"))), ["check.lost is missing"]);
}
