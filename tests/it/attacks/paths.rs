//! Odd paths (A28): routing is by exact match on the raw path, byte by byte.

use super::Ground;
use super::heads::{PATH, case, run};
use crate::support::http::request;

#[tokio::test]
async fn a_path_is_one_of_ours_or_none() {
    let mut ground = Ground::new().await;
    let (http, good) = (ground.scene.http, ground.good.clone());
    let path = |path: &str| request("GET", path, http, &[("Authorization", &good)]);
    let unknown = "//v1/credentials /v1//credentials /./v1/credentials /x/../v1/credentials /V1/credentials /v1/Credentials \
        /v1/credentials/ /v1/credentials/default/ /v1/credentials/default/admin/ /v1/credentials/%64efault \
        /v1/credentials/default%2fadmin /%76%31/credentials /v1%2fcredentials /v1/credentials%00 /v1/credentials/default%00 \
        /v1/credentials;x /v1/credentials/default;x=y /v1/credentials/.. /v1/credentials/../credentials \
        /v1/credentials/../../etc/passwd /v1/credentials/%2e%2e/%2e%2e /v1/credentials/default/.. \
        /v1/credentials/default/arn:aws:iam::111122223333:role/rbac-users-admin-role \
        /v1/credentials/default/arn%3Aaws%3Aiam%3A%3A999999999999%3Arole%2Fadmin /v1/credentials/default/ADMIN \
        /v1/credentials/DEFAULT /v1/credentials/nobody /v1/credentials/default/admin/x /v1/sessions/.. /v1/sessions/%2e \
        /v1/unauthenticated/default /v1/unauthenticated/a/b/c";
    let mut cases: Vec<_> = unknown.split_whitespace().map(|text| case(&[404], path(text))).collect();
    cases.push(case(&[400], path("/v1/unauthenticated/default/x")));
    for query in ["?", "?role=admin", "?role=admin&role=editor", "?x=%00", "??", "?/../"] {
        cases.push(case(&[400], path(&format!("{PATH}{query}"))));
    }
    for bad in
        ["v1/credentials", "*", "", "\\v1\\credentials", "/v1/credentials /x", "/v1/cre\u{0}dentials", "/v1/\u{e9}"]
    {
        cases.push(case(&[400, 403, 404], path(bad)));
    }
    for size in [65, 1_000, 8_192, 30_000] {
        cases.push(case(&[404, 414, 431], path(&format!("{PATH}/{}", "a".repeat(size)))));
    }
    cases.push(case(&[400, 414, 431, 0], path(&format!("/{}", "a".repeat(200_000)))));
    run(&mut ground, "A28", cases).await;
    ground.told("A28");
}
