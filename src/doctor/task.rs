//! ECS task definitions. Pure.

use serde_json::Value;

use crate::doctor::finding::Finding;
use crate::doctor::workload::{Surroundings, is_broker, is_under_exec, listed};

/// What starts a container's program.
const STARTED_BY: &[&str] = &["entryPoint", "command"];

/// Judges a task definition, as it is registered or as `aws ecs describe-task-definition` prints it.
///
/// # Errors
/// When it is none.
pub fn task(document: &Value) -> Result<Vec<Finding>, &'static str> {
    let definition = document.get("taskDefinition").unwrap_or(document);
    let wanted = "no task definition: containerDefinitions are wanted";
    let containers = definition["containerDefinitions"].as_array().ok_or(wanted)?;
    let family = definition["family"].as_str().unwrap_or("task");
    let role = definition["taskRoleArn"].as_str().filter(|role| !role.is_empty());
    let others = containers.iter().filter(|one| !is_broker(one, STARTED_BY));
    Ok(others.flat_map(|container| self::container(family, role, container)).collect())
}

fn container(family: &str, role: Option<&str>, container: &Value) -> Vec<Finding> {
    let name = container["name"].as_str().unwrap_or("unnamed");
    let secrets = listed(&container["secrets"]).map(|(name, _)| (name, None));
    let surroundings = Surroundings {
        about: format!("{family}, container {name}"),
        variables: listed(&container["environment"]).chain(secrets).collect(),
        under_exec: is_under_exec(container, STARTED_BY),
        platform_tokens: Vec::new(),
    };
    let mut found = surroundings.judge();
    if !surroundings.asks() {
        return found;
    }
    if let Some(role) = role.filter(|_| !surroundings.under_exec) {
        found.retain(|finding| finding.check != "identity");
        let what = format!(
            "the task has the role {role}: ECS sets AWS_CONTAINER_CREDENTIALS_RELATIVE_URI in every container, and SDKs take that role"
        );
        let fix = "take taskRoleArn away (the enhanced and the basic flow need none), or start the program with `cupbearer exec`";
        found.push(Finding::error("identity-task-role", &surroundings.about, what, fix));
    }
    if container["environmentFiles"].as_array().is_some_and(|files| !files.is_empty()) {
        let fix = "give the variables as --environment FILE";
        found.push(Finding::skipped(
            "identity-env-from",
            &surroundings.about,
            "environmentFiles bring variables that are not told here",
            fix,
        ));
    }
    found
}
