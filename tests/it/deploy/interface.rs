//! The gRPC interface, judged by buf: its layout and style, a comment on everything, and that buf would see what breaks a caller.

use std::path::Path;

use super::{complaint, content};

const PROTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");

#[test]
fn buf_finds_nothing_to_mend_and_sees_what_breaks_callers() {
    content("buf", &["lint", PROTO], "");
    let changed = tempfile::tempdir().unwrap();
    for file in ["buf.yaml", "cupbearer/v1/broker.proto"] {
        let text = std::fs::read_to_string(Path::new(PROTO).join(file)).unwrap();
        let to = changed.path().join(file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, text.replace(" access_key_id = 1;", " access_key = 1;")).unwrap();
    }
    let changed = changed.path().to_str().unwrap();
    content("buf", &["lint", changed], "");
    let told = complaint("buf", &["breaking", changed, "--against", PROTO], "");
    assert!(told.contains("from \"access_key_id\" to \"access_key\""), "{told}");
}
