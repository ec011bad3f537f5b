"""Whether the manifests for KServe name what the program has: `manifests.py --folder DIR --help-text FILE --url U --admin A`.

The server runs with the environment of the runtime's container, which `manifests.py --folder DIR --environment` writes.

The fields are those of KServe's API, `v1alpha1` and `v1beta1`, and of Kubernetes' containers, as far as the manifests use
them: one that is misspelt is not among them.
"""

import argparse
import http.client
import pathlib
import re

import yaml

from checks import check, expect_equal, run

PROBE = {"httpGet": {"path": None, "port": None}, "periodSeconds": None, "timeoutSeconds": None, "failureThreshold": None}
PORTS = [{"name": None, "containerPort": None, "protocol": None}]
RESOURCES = {"requests": {"cpu": None, "memory": None}, "limits": {"cpu": None, "memory": None}}
CONTAINER = {
    "name": None,
    "image": None,
    "command": [None],
    "args": [None],
    "env": [{"name": None, "value": None, "valueFrom": {"secretKeyRef": {"name": None, "key": None}}}],
    "ports": PORTS,
    "livenessProbe": PROBE,
    "readinessProbe": PROBE,
    "startupProbe": PROBE,
    "resources": RESOURCES,
}
METADATA = {"name": None, "namespace": None, "annotations": None, "labels": None}
FIELDS = {
    ("serving.kserve.io/v1alpha1", "ServingRuntime"): {
        "apiVersion": None,
        "kind": None,
        "metadata": METADATA,
        "spec": {
            "annotations": {"prometheus.kserve.io/port": None, "prometheus.kserve.io/path": None},
            "supportedModelFormats": [{"name": None, "version": None, "autoSelect": None, "priority": None}],
            "protocolVersions": [None],
            "containers": [CONTAINER],
        },
    },
    ("serving.kserve.io/v1beta1", "InferenceService"): {
        "apiVersion": None,
        "kind": None,
        "metadata": METADATA,
        "spec": {
            "predictor": {
                "model": {
                    "runtime": None,
                    "modelFormat": {"name": None, "version": None},
                    "protocolVersion": None,
                    "storageUri": None,
                    "ports": PORTS,
                    "resources": RESOURCES,
                },
                "minReplicas": None,
                "maxReplicas": None,
            }
        },
    },
}

# Where KServe puts the models.
MODELS_MOUNT = "/mnt/models"

# What a secret of the cluster is here.
SECRET = "a-token-that-the-cluster-keeps-secret"


class Manifests:
    """The manifests, and the program."""

    def __init__(self, arguments):
        files = sorted(arguments.folder.glob("*.yaml"))
        self.documents = [document for file in files for document in yaml.safe_load_all(file.read_text())]
        self.help = arguments.help_text and arguments.help_text.read_text()
        self.url, self.admin = arguments.url, arguments.admin

    def of_kind(self, kind):
        found = [document for document in self.documents if document["kind"] == kind]
        assert found, f"no {kind}"
        return found

    def runtime(self):
        (runtime,) = self.of_kind("ServingRuntime")
        return runtime

    def container(self):
        (container,) = self.runtime()["spec"]["containers"]
        return container

    def environment(self):
        """The variables of the container."""
        return {variable["name"]: variable.get("value", SECRET) for variable in self.container().get("env", [])}

    def flags(self):
        """The flags of the program's command line, with their values."""
        command, *arguments = self.container()["args"]
        expect_equal(command, "serve")
        return dict(argument.removeprefix("--").split("=", 1) for argument in arguments)


@check
def every_field_is_one_of_the_api(manifests):
    def unknown(place, value, fields):
        if isinstance(fields, dict) and isinstance(value, dict):
            for key, member in value.items():
                assert key in fields, f"{place} has no field {key}"
                unknown(f"{place}.{key}", member, fields[key])
        elif isinstance(fields, list):
            assert isinstance(value, list), f"{place} is a list"
            for item in value:
                unknown(place, item, fields[0])
        else:
            assert fields is None or isinstance(fields, dict) == isinstance(value, dict), f"{place} is {value}"

    for document in manifests.documents:
        kind = (document["apiVersion"], document["kind"])
        unknown(document["kind"], document, FIELDS[kind])


@check
def the_arguments_are_flags_of_the_program(manifests):
    known = set(re.findall(r"--([a-z-]+)", manifests.help))
    flags = manifests.flags()
    assert flags and set(flags) <= known, f"{set(flags) - known} is no flag of serve: {manifests.help}"
    expect_equal(f"{flags['site']}/models", MODELS_MOUNT)


@check
def an_admin_listener_that_others_reach_has_a_token(manifests):
    listen = manifests.flags()["admin-listen"]
    assert listen.startswith("127.") or "WHARF_SERVER__ADMIN_TOKEN" in manifests.environment(), f"{listen} without a token"


@check
def the_environment_means_what_the_manifest_says_of_it(manifests):
    # Operators need the token, and the metrics none.
    expect_equal(status(manifests.admin, "/admin/snapshot"), 401)
    expect_equal(status(manifests.admin, "/admin/snapshot", authorization=f"Bearer {SECRET}"), 200)
    # A request that says nothing of a tenant is an operator's: it learns that there is no such model, and not that it may not ask.
    expect_equal(status(manifests.url, "/v2/models/nobody"), 404)


@check
def ports_and_paths_are_those_that_the_program_serves(manifests):
    flags, container = manifests.flags(), manifests.container()
    port = int(flags["listen"].rsplit(":", 1)[1])
    expect_equal([entry["containerPort"] for entry in container["ports"]], [port])
    for probe in (container["livenessProbe"], container["readinessProbe"]):
        expect_equal(probe["httpGet"]["port"], port)
        expect_equal((probe["httpGet"]["path"], status(manifests.url, probe["httpGet"]["path"])), (probe["httpGet"]["path"], 200))
    annotations = manifests.runtime()["spec"]["annotations"]
    expect_equal(annotations["prometheus.kserve.io/port"], flags["admin-listen"].rsplit(":", 1)[1])
    expect_equal(status(manifests.admin, annotations["prometheus.kserve.io/path"]), 200)


def status(address, path, **headers):
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("GET", path, headers=headers)
    return connection.getresponse().status


@check
def the_services_fit_the_runtime(manifests):
    runtime, served = manifests.runtime(), set()
    formats = {(entry["name"], entry["version"]) for entry in runtime["spec"]["supportedModelFormats"]}
    for service in manifests.of_kind("InferenceService"):
        model = service["spec"]["predictor"]["model"]
        expect_equal(model["runtime"], runtime["metadata"]["name"])
        assert (model["modelFormat"]["name"], model["modelFormat"]["version"]) in formats, model
        served.add(model["protocolVersion"])
        for entry in model.get("ports", []):
            expect_equal(entry["containerPort"], manifests.container()["ports"][0]["containerPort"])
    expect_equal(served, set(runtime["spec"]["protocolVersions"]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where the manifests are")
    parser.add_argument("--environment", action="store_true", help="write the environment, a variable a line, and check nothing")
    parser.add_argument("--help-text", type=pathlib.Path, help="what `wharf serve --help` wrote")
    parser.add_argument("--url", help="HOST:PORT of a server")
    parser.add_argument("--admin", help="HOST:PORT of its admin listener")
    arguments = parser.parse_args()
    manifests = Manifests(arguments)
    if arguments.environment:
        for name, value in manifests.environment().items():
            print(f"{name}={value}")
    else:
        run(manifests)


if __name__ == "__main__":
    main()
