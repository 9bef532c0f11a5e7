//! The manifests: rendered by kustomize, judged by the schemas of Kubernetes, old and new, and by what they promise.

use serde_json::{Value, json};

use super::{assert_sound, complaint, content, deployed, script};

const OVERLAYS: [&str; 3] = ["sidecar", "node", "service"];

/// The oldest that knows `preStop.sleep`, and the newest that the tools know.
const VERSIONS: [&str; 2] = ["1.30", "1.37"];

/// The text of an overlay, as it would be applied.
fn text(overlay: &str) -> String {
    let place = deployed("kubernetes/overlays").join(overlay);
    content("kubectl", &["kustomize", place.to_str().unwrap()], "")
}

/// How `kubernetes.py` is called.
fn judge() -> Vec<String> {
    std::iter::once(script("kubernetes.py")).chain(VERSIONS.map(str::to_owned)).collect()
}

/// The documents of an overlay, which the schemas admit.
fn documents(overlay: &str) -> Vec<Value> {
    serde_json::from_str(&content("python", &judge(), &text(overlay))).unwrap()
}

/// The pod template among the documents.
fn pod(documents: &[Value]) -> &Value {
    let pods: Vec<_> =
        documents.iter().map(|document| &document["spec"]["template"]).filter(|pod| pod.is_object()).collect();
    assert_eq!(pods.len(), 1);
    pods[0]
}

/// The broker's container.
fn broker(pod: &Value) -> &Value {
    let all = ["containers", "initContainers"].into_iter().filter_map(|kind| pod["spec"][kind].as_array()).flatten();
    let found: Vec<_> = all.filter(|container| container["name"] == "cupbearer").collect();
    assert_eq!(found.len(), 1);
    found[0]
}

fn kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|document| document["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

#[test]
fn every_overlay_is_admitted_hardened_and_probed() {
    for overlay in OVERLAYS {
        let documents = documents(overlay);
        let pod = pod(&documents);
        let broker = broker(pod);
        let hardened = json!({
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "readOnlyRootFilesystem": true,
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"}
        });
        assert_eq!(broker["securityContext"], hardened, "{overlay}");
        for (probe, path) in [("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")] {
            assert_eq!(broker[probe]["httpGet"], json!({"path": path, "port": "metrics"}), "{overlay} {probe}");
        }
        assert_eq!(broker["resources"]["limits"], json!({"memory": "128Mi"}), "{overlay}");
        assert_eq!(broker["image"], "registry.example/cupbearer:0.1.0", "{overlay}");
        assert_eq!(pod["spec"]["automountServiceAccountToken"], false, "{overlay}");
        assert_eq!(pod["spec"]["hostNetwork"], if overlay == "node" { json!(true) } else { Value::Null });
        let mounts = broker["volumeMounts"].as_array().unwrap();
        assert!(
            mounts.iter().all(|mount| mount["subPath"].is_null()),
            "{overlay}: what is mounted so is never updated"
        );
    }
}

#[test]
fn what_is_scraped_and_probed_is_served() {
    for overlay in OVERLAYS {
        let documents = documents(overlay);
        let pod = pod(&documents);
        assert_eq!(pod["metadata"]["labels"]["cupbearer"], "true", "{overlay}: monitor and policy go by this label");
        let ports = broker(pod)["ports"].as_array().unwrap();
        let port = ports.iter().find(|port| port["name"] == "metrics").unwrap();
        let config = kind(&documents, "ConfigMap")["data"]["cupbearer.toml"].as_str().unwrap();
        assert!(config.contains(&format!(":{}\"", port["containerPort"])), "{overlay}");
        assert_eq!(kind(&documents, "PodMonitor")["spec"]["podMetricsEndpoints"][0]["port"], "metrics");
        assert_eq!(kind(&documents, "NetworkPolicy")["spec"]["policyTypes"].as_array().map(Vec::is_empty), Some(false));
    }
}

#[test]
fn every_config_map_holds_a_sound_configuration() {
    for overlay in OVERLAYS {
        let documents = documents(overlay);
        assert_sound(overlay, kind(&documents, "ConfigMap")["data"]["cupbearer.toml"].as_str().unwrap());
    }
}

#[test]
fn the_sidecar_starts_before_the_application_and_ends_after_it() {
    let documents = documents("sidecar");
    let pod = pod(&documents);
    assert_eq!(pod["spec"]["initContainers"][0]["name"], "cupbearer");
    assert_eq!(pod["spec"]["initContainers"][0]["restartPolicy"], "Always");
    assert_eq!(pod["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"], 5);
}

/// Or else the tests above would prove nothing.
#[test]
fn the_schemas_find_faults() {
    let sound = text("sidecar");
    for (good, bad) in [
        ("restartPolicy: Always", "restartPolicy: 1"),
        ("periodSeconds: 1\n", "periodSecs: 1\n"),
        ("interval: 30s", "interval: 30sec"),
        ("podMetricsEndpoints:\n  - interval", "podMetricsEndpoints:\n  - prot: metrics\n    interval"),
    ] {
        assert!(sound.contains(good), "{good}");
        complaint("python", &judge(), &sound.replace(good, bad));
    }
}
