def check_settings():
    if not settings.get("labels"):
        raise wrong_setting("labels", "name at least one class")


class Postprocess(exports.Postprocess):
    def process(self, request, output):
        if not isinstance(output, types.Payload_Tensors) or not output.value:
            raise Err(types.Error_Failed("the model gave no tensor"))
        scores = output.value[0].read_fp32()
        best = max(range(len(scores)), key=scores.__getitem__, default=None)
        if best is None or best >= len(settings["labels"]):
            raise Err(types.Error_Failed(f"class {best} has no name in the setting `labels`"))
        answer = {"label": settings["labels"][best], "score": scores[best]}
        return types.Payload_Body(types.Body("application/json", json.dumps(answer).encode()))
