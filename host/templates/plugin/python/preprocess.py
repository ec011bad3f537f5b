def check_settings():
    if type(settings.get("factor")) not in (int, float):
        raise wrong_setting("factor", "give a number, such as 0.5")


class Preprocess(exports.Preprocess):
    def process(self, request, input):
        if not isinstance(input, types.Payload_Tensors):
            raise Err(types.Error_InvalidInput(types.InvalidInput(None, "send tensors")))
        factor = settings["factor"]
        scaled = []
        for tensor in input.value:
            values = [value * factor for value in tensor.read_fp32()]
            scaled.append(types.Tensor.from_fp32(tensor.name(), tensor.shape(), values))
        return types.Payload_Tensors(scaled)
