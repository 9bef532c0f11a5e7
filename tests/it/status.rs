//! The status page, as a person's browser gets it. How it looks in a real one is in the system suite.

use crate::support::http;
use crate::support::scene::{Scene, token};

#[tokio::test]
async fn the_page_tells_what_is_held_and_names_nobody() {
    let scene = Scene::new().await;
    let reply = scene.ask("/v1/credentials", &token("alice")).await;
    let held = reply.json();
    let page = http::get(scene.admin, "/", &[]).await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")), "{page:?}");
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"), "{page:?}");
    assert_eq!(page.header("cache-control"), Some("no-store"));
    for wanted in [
        ">ready<",
        "<td>default</td><td>enhanced</td><td>1</td><td>0</td><td>0</td>",
        "<td class=\"ok\">GetCredentialsForIdentity</td><td>1</td>",
        "<span class=\"ok\">1 good</span>",
        "<td>40 to 60 min</td><td>1</td>",
    ] {
        assert!(page.body.contains(wanted), "{wanted} is not in {}", page.body);
    }
    for secret in ["AccessKeyId", "SecretAccessKey", "Token"] {
        assert!(!page.body.contains(held[secret].as_str().unwrap()), "{secret}");
    }
    assert!(!page.body.contains("alice") && !page.body.contains(reply.header("cupbearer-identity-id").unwrap()));
    assert!(!page.body.contains("http://") && !page.body.contains("https://") && !page.body.contains("<script"));
}

#[tokio::test]
async fn the_page_is_guarded_like_the_rest_of_its_door_and_on_no_other() {
    let scene = Scene::new().await;
    assert_eq!(http::get(scene.admin, "/", &[("Origin", "http://evil.example")]).await.status, 403);
    assert_eq!(http::get(scene.http, "/", &[]).await.status, 404);
}
