"""Checks that what the document shows is what it says.

    examples.py document FILE            checks the document by OpenAPI's own schema, and each of its examples by the example's
    examples.py answers FILE --url URL   sends the example of each route to a server, and checks what comes back by its schema
"""

import argparse
import http.client
import json
import pathlib
import urllib.parse

import jsonschema_rs
from openapi_spec_validator import OpenAPIV31SpecValidator

METHODS = {"get", "put", "post", "delete", "patch"}


def schema_errors(document, schema, value):
    """What is wrong with a value, by a schema that may refer to others of the document."""
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": document["components"], **schema}
    validator = jsonschema_rs.Draft202012Validator(whole)
    return [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(value)]


def resolved(document, node):
    """A response or another part, in place of what refers to it."""
    while "$ref" in node:
        found = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def operations(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                yield path, method, operation


def examples(document):
    """Each example with its schema and where it stands."""
    for path, method, operation in operations(document):
        at = f"{method.upper()} {path}"
        for parameter in operation.get("parameters", []):
            if "example" in parameter:
                yield f"{at}: {parameter['name']}", parameter["schema"], parameter["example"]
        bodies = {"request": operation.get("requestBody", {}).get("content", {})}
        for status, response in operation["responses"].items():
            bodies[status] = resolved(document, response).get("content", {})
        for name, content in bodies.items():
            for media_type, told in content.items():
                if "example" in told:
                    yield f"{at}: {name}, {media_type}", told["schema"], told["example"]


def check_document(document):
    wrong = [f"{error.json_path}: {error.message}" for error in OpenAPIV31SpecValidator(document).iter_errors()]
    count = 0
    for at, schema, example in examples(document):
        count += 1
        wrong += [f"{at}: {error}" for error in schema_errors(document, schema, example)]
    assert count > 50, f"only {count} examples"
    return wrong, f"{count} examples are what they are examples of"


def check_answers(document, url):
    wrong, count = [], 0
    server = urllib.parse.urlsplit(url)
    for path, method, operation in operations(document):
        told = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        if method != "post" or not path.startswith("/v1/infer/") or "{" in path or "example" not in told:
            continue
        count += 1
        connection = http.client.HTTPConnection(server.hostname, server.port, timeout=30)
        connection.request("POST", path, json.dumps(told["example"]), {"content-type": "application/json"})
        answer = connection.getresponse()
        body = json.loads(answer.read())
        if answer.status != 200:
            wrong.append(f"{path}: {answer.status}: {body}")
            continue
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        wrong += [f"{path}: {error}" for error in schema_errors(document, schema, body)]
    assert count > 0, "the document has no route with an example"
    return wrong, f"{count} routes answer as the document says"


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("what", choices=["document", "answers"])
    arguments.add_argument("file", type=pathlib.Path)
    arguments.add_argument("--url")
    arguments = arguments.parse_args()
    document = json.loads(arguments.file.read_text())
    if arguments.what == "document":
        wrong, said = check_document(document)
    else:
        wrong, said = check_answers(document, arguments.url)
    assert not wrong, "\n".join(wrong)
    print(said)


if __name__ == "__main__":
    main()
