//! Kubernetes objects: anything that has a pod spec in it, and the service accounts beside it. Pure.

use serde_json::Value;

use crate::doctor::finding::Finding;
use crate::doctor::workload::{Surroundings, is_broker, is_under_exec, listed};

/// What starts a container's program.
const STARTED_BY: &[&str] = &["command", "args"];

/// Where kubelet puts a pod's own token.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/";

/// Judges the objects of one or more YAML documents.
///
/// # Errors
/// When there is no pod spec in any of them.
pub fn pods(objects: &[Value]) -> Result<Vec<Finding>, &'static str> {
    let all: Vec<_> = objects.iter().flat_map(unlisted).collect();
    let specs: Vec<_> = all.iter().filter_map(|object| Some((title(object), spec(object)?))).collect();
    if specs.is_empty() {
        return Err("no pod spec in it: a Pod, a Deployment, a DaemonSet, a StatefulSet, a Job or a CronJob is wanted");
    }
    Ok(specs.into_iter().flat_map(|(title, spec)| pod(&title, spec, &all)).collect())
}

/// The objects of a List, or the object itself.
fn unlisted(object: &Value) -> Vec<&Value> {
    match object["items"].as_array() {
        Some(items) => items.iter().collect(),
        None => vec![object],
    }
}

fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("unnamed").to_owned();
    format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

fn spec(object: &Value) -> Option<&Value> {
    let places = ["/spec/jobTemplate/spec/template/spec", "/spec/template/spec", "/spec", ""];
    places.iter().filter_map(|place| object.pointer(place)).find(|spec| spec["containers"].is_array())
}

fn pod(title: &str, spec: &Value, all: &[&Value]) -> Vec<Finding> {
    let containers: Vec<_> =
        ["containers", "initContainers"].iter().filter_map(|kind| spec[*kind].as_array()).flatten().collect();
    let others: Vec<_> = containers.iter().filter(|one| !is_broker(one, STARTED_BY)).collect();
    let mut found: Vec<_> = others.iter().flat_map(|container| self::container(title, spec, container)).collect();
    let exposed = others.iter().any(|one| {
        let surroundings = surroundings(title, spec, one);
        surroundings.asks() && !surroundings.under_exec
    });
    if exposed {
        found.extend(service_account(title, spec, all));
    }
    found
}

fn container(title: &str, spec: &Value, container: &Value) -> Vec<Finding> {
    let surroundings = surroundings(title, spec, container);
    let mut found = surroundings.judge();
    if !surroundings.asks() {
        return found;
    }
    let mounts = container["volumeMounts"].as_array().map(Vec::as_slice).unwrap_or_default();
    for path in mounts.iter().filter_map(|mount| mount["mountPath"].as_str()) {
        if path.trim_end_matches('/').split('/').any(|part| part == ".aws") && !surroundings.under_exec {
            let what = format!("{path} is mounted: SDKs take the credentials of its default profile");
            found.push(Finding::error(
                "identity-competes",
                &surroundings.about,
                what,
                "take the volume away from this container",
            ));
        }
    }
    if container["envFrom"].as_array().is_some_and(|from| !from.is_empty()) {
        let what = "envFrom brings variables that are not told here";
        let fix = "look into its ConfigMaps and Secrets, or give the variables as --environment FILE";
        found.push(Finding::skipped("identity-env-from", &surroundings.about, what, fix));
    }
    found
}

fn surroundings(title: &str, spec: &Value, container: &Value) -> Surroundings {
    let name = container["name"].as_str().unwrap_or("unnamed");
    let mounts = container["volumeMounts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let volumes = spec["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_platform = |mount: &&Value| {
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
        let sources = volume.and_then(|volume| volume["projected"]["sources"].as_array());
        sources.is_some_and(|sources| sources.iter().any(|source| source.get("serviceAccountToken").is_some()))
    };
    let mounted = mounts.iter().filter(of_platform).filter_map(|mount| mount["mountPath"].as_str());
    let platform_tokens = mounted.map(ToOwned::to_owned).chain([SERVICE_ACCOUNT.to_owned()]).collect();
    Surroundings {
        about: format!("{title}, container {name}"),
        variables: listed(&container["env"]).collect(),
        under_exec: is_under_exec(container, STARTED_BY),
        platform_tokens,
    }
}

/// What EKS adds to every container of the pod.
fn service_account(title: &str, spec: &Value, all: &[&Value]) -> Option<Finding> {
    let name = spec["serviceAccountName"].as_str().unwrap_or("default");
    let account = all.iter().find(|object| object["kind"] == "ServiceAccount" && object["metadata"]["name"] == name);
    let role = account.and_then(|account| account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].as_str());
    match (account, role) {
        (_, Some(role)) => {
            let what = format!(
                "the service account {name} has the role {role}: EKS sets AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN in every container (IRSA), and SDKs take that role"
            );
            let fix = "give the pod a service account without a role, or start the program with `cupbearer exec`";
            Some(Finding::error("identity-irsa", title, what, fix))
        }
        (None, None) => {
            let what = format!("whether the service account {name} has a role (IRSA, EKS Pod Identity) is not told");
            Some(Finding::skipped("identity-irsa", title, what, "put the ServiceAccount into the file too"))
        }
        (Some(_), None) => None,
    }
}
