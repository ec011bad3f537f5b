function checkSettings() {
  if (typeof settings.factor !== "number") {
    throw invalid("factor", "give a number, such as 0.5");
  }
}

export const preprocess = {
  process(request, input) {
    if (input.tag !== "tensors") {
      throw invalid(undefined, "send tensors");
    }
    const scaled = input.val.map((tensor) => {
      const values = tensor.readFp32().map((value) => value * settings.factor);
      return Tensor.fromFp32(tensor.name(), tensor.shape(), values);
    });
    return { tag: "tensors", val: scaled };
  },
};
