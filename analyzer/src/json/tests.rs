//! The schemas in `docs/json` are those of this build.

use std::path::Path;

use super::Output;

#[test]
fn the_schemas_of_the_documentation_are_fresh() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/json");
    let write = std::env::var_os("KVPATH_WRITE_DOCS").is_some();
    for output in Output::ALL {
        let path = folder.join(format!("{}.schema.json", output.format().trim_start_matches("kvpath.")));
        let page = format!("{:#}\n", output.schema());
        if write {
            std::fs::write(&path, &page).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        let command = "KVPATH_WRITE_DOCS=1 cargo test -p kvpath json";
        assert!(page == found, "{} is stale; make it again with `{command}`", path.display());
    }
}
