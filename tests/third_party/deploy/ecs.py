"""Judges an ECS task definition on standard input by AWS's own model of RegisterTaskDefinition.

Types, ranges, and names of members are what the model knows. It leaves strings open that ECS takes a few values of: they
stand here, as the API reference has them. Every fault is told, and the exit code is 1.
"""

import json
import sys

import botocore.session
import botocore.validate

CONDITIONS = {"START", "COMPLETE", "SUCCESS", "HEALTHY"}
FARGATE = {"256": {"512", "1024", "2048"}}  # the memory for each cpu, as far as it is used here


def faults(definition):
    model = botocore.session.Session().get_service_model("ecs")
    shape = model.operation_model("RegisterTaskDefinition").input_shape
    report = botocore.validate.ParamValidator().validate(definition, shape)
    if report.has_errors():
        yield report.generate_report()
        return
    if definition["memory"] not in FARGATE.get(definition["cpu"], ()):
        yield f"Fargate has no {definition['cpu']} with {definition['memory']}"
    containers = {container["name"]: container for container in definition["containerDefinitions"]}
    for name, container in containers.items():
        for dependency in container.get("dependsOn", []):
            other, condition = containers.get(dependency["containerName"]), dependency["condition"]
            if other is None or condition not in CONDITIONS:
                yield f"{name} depends on {dependency}, which there is not"
            elif condition == "HEALTHY" and "healthCheck" not in other:
                yield f"{name} waits for {other['name']}, which has no healthCheck"
            elif condition in {"COMPLETE", "SUCCESS"} and other.get("essential", True):
                yield f"{name} waits for the end of {other['name']}, which is essential"
        for mount in container.get("mountPoints", []):
            if mount["sourceVolume"] not in {volume["name"] for volume in definition.get("volumes", [])}:
                yield f"{name} mounts {mount['sourceVolume']}, which there is not"


def main():
    found = list(faults(json.load(sys.stdin)))
    if found:
        raise SystemExit("\n".join(found))


if __name__ == "__main__":
    main()
