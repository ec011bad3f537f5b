"""Uses the package that is made of the document of a site with the model `iris`.

    client.py --package FOLDER --url URL
"""

import argparse
import sys


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--package", required=True, help="the folder that has the package wharf_client")
    arguments.add_argument("--url", required=True)
    arguments = arguments.parse_args()
    sys.path.insert(0, arguments.package)

    from wharf_client import Client
    from wharf_client.api.inference import infer_iris, model_infer
    from wharf_client.api.models import model_metadata
    from wharf_client.api.repository import repository_index
    from wharf_client.api.management import change_model, delete_model, list_models, read_model, register_model
    from wharf_client.models import (
        InferenceRequest,
        InferIrisBody,
        ManagedModelMetadata,
        ModelPatch,
        NewModel,
        Problem,
        RepositoryIndexRequest,
    )

    with Client(base_url=arguments.url) as client:
        flower = [5.1, 3.5, 1.4, 0.2]
        one = infer_iris.sync(client=client, body=InferIrisBody(input_=flower))
        assert len(one.output) == 3, one
        two = infer_iris.sync(client=client, body=InferIrisBody(input_=[flower, flower]))
        assert [len(row) for row in two.output] == [3, 3], two

        models = list_models.sync(client=client)
        assert "iris" in [model.name for model in models.models], models
        index = repository_index.sync(client=client, body=RepositoryIndexRequest(ready=True))
        assert ("iris", "READY") in [(entry.name, entry.state) for entry in index], index

        metadata = model_metadata.sync("iris", client=client)
        assert isinstance(metadata, ManagedModelMetadata) and metadata.inputs[0].shape == [-1, 4], metadata
        request = InferenceRequest.from_dict(
            {"inputs": [{"name": metadata.inputs[0].name, "datatype": "FP32", "shape": [1, 4], "data": flower}]}
        )
        answer = model_infer.sync("iris", client=client, body=request)
        assert answer.outputs[0].shape == [1, 3], answer

        document = NewModel.from_dict({"name": "flowers", "modalities": ["tabular"], "labels": {"team": "botany"}})
        registered = register_model.sync_detailed(client=client, body=document)
        assert registered.status_code == 201, registered
        assert registered.headers["location"] == "/v1/models/flowers", registered.headers
        assert registered.parsed.state == "registered", registered
        found = list_models.sync(client=client, label=["team:botany"], limit=10)
        assert [model.name for model in found.models] == ["flowers"], found
        tag = registered.headers["etag"]
        change = ModelPatch.from_dict({"description": "Kinds of irises.", "labels": {"team": None}})
        changed = change_model.sync("flowers", client=client, body=change, if_match=tag)
        assert changed.description == "Kinds of irises." and not changed.labels.to_dict(), changed
        late = change_model.sync_detailed("flowers", client=client, body=change, if_match=tag)
        assert late.status_code == 412 and isinstance(late.parsed, Problem), late
        assert read_model.sync("flowers", client=client).to_dict() == changed.to_dict()
        assert delete_model.sync_detailed("flowers", client=client).status_code == 204

        missing = model_metadata.sync_detailed("nobody", client=client)
        assert missing.status_code == 404, missing
        assert isinstance(missing.parsed, Problem) and missing.parsed.field == "model", missing
        wrong = infer_iris.sync(client=client, body=InferIrisBody(input_=[1.0]))
        assert isinstance(wrong, Problem) and wrong.status == 400, wrong
    print("the Python client works")


if __name__ == "__main__":
    main()
