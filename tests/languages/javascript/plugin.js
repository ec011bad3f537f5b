// Does what a test or a measurement asks for, in JavaScript.

import { Tensor } from "wharf:plugin/types@1.1.0";

let kept = "nothing";

export const preprocess = {
  process(request, input) {
    switch (request.header("x-behaviour")) {
      case "double":
        return { tag: "tensors", val: input.val.map(double) };
      case "raise":
        console.log("about to fail");
        throw new Error(request.header("x-secret"));
      case "keep": {
        const before = kept;
        kept = request.header("x-secret");
        throw { tag: "invalid-input", val: { field: before, message: "kept" } };
      }
      case "spin":
        for (;;);
    }
    return input;
  },
};

function double(tensor) {
  const values = tensor.readFp32().map((value) => value * 2);
  return Tensor.fromFp32(tensor.name(), tensor.shape(), values);
}
