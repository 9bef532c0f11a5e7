"""Judges rendered manifests on standard input by the Kubernetes schemas and prints them as one JSON list.

    kubernetes.py VERSION...      e.g. 1.30 1.37: each must admit every document

Strict: keys that a schema does not know are faults. The PodMonitor is judged by the types that were generated from the
Prometheus operator's own definitions; what they would drop is a fault too. Every fault is told, and the exit code is 1.
"""

import json
import sys

import kubernetes_validate
import pydantic
import yaml
from cloudcoil.models.prometheus_operator.v1 import PodMonitor

OPERATOR = "monitoring.coreos.com/v1"


def faults(document, versions):
    name = f"{document.get('kind')} {document.get('metadata', {}).get('name')}"
    if document.get("apiVersion") == OPERATOR:
        yield from (f"{name}: {fault}" for fault in faults_of_monitor(document))
        return
    for version in versions:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as fault:
            path = ".".join(str(part) for part in fault.path)
            yield f"{name}: {version}: {path}: {fault.message}"
        except kubernetes_validate.SchemaNotFoundError as fault:
            yield f"{name}: {fault.message}"


def faults_of_monitor(document):
    try:
        taken = PodMonitor.model_validate(document).model_dump(mode="json", by_alias=True, exclude_unset=True)
    except pydantic.ValidationError as fault:
        yield str(fault)
        return
    if taken["spec"] != document["spec"]:
        yield f"there are keys that nobody knows: {document['spec']}, known are {taken['spec']}"


def main():
    versions = sys.argv[1:]
    documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
    found = [fault for document in documents for fault in faults(document, versions)]
    if found or not documents:
        raise SystemExit("\n".join(found) or "there is no document")
    print(json.dumps(documents))


if __name__ == "__main__":
    main()
