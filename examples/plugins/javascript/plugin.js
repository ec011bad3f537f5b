// Turns a model's scores into a label, as JSON:
//
//     {"label": "dog", "score": 0.91, "scores": {"cat": 0.06, "dog": 0.91, "fox": 0.03}}
//
// or, where the tensor has several rows, `{"results": [...]}` with one such object a row.

import { Body } from "wharf:plugin/types@1.1.0";

// An instance keeps them from its start to its end. With isolation by request that is one request.
let labels = [];

const encoder = new TextEncoder();

export const lifecycle = {
  describe() {
    return { version: "1.0.0", summary: "Turns a model's scores into a label, as JSON.", metrics: [] };
  },

  // `settings` is the table [settings] of the plugin's settings file, as one JSON object.
  init(settings) {
    const { labels: given, ...others } = JSON.parse(settings);
    const unknown = Object.keys(others)[0];
    if (unknown !== undefined) {
      throw invalid(unknown, "there is no such setting: use labels");
    }
    if (!Array.isArray(given) || given.length === 0 || !given.every((label) => typeof label === "string")) {
      throw invalid("labels", "give a list of names, one a class, in the order of the model");
    }
    labels = given;
  },

  selfTest() {},
};

export const postprocess = {
  process(request, output) {
    if (output.tag !== "tensors" || output.val.length === 0) {
      throw failed("the model gives no tensor");
    }
    const tensor = output.val[0];
    // A list of u64 is a BigUint64Array.
    const shape = Array.from(tensor.shape(), Number);
    const classes = shape.at(-1);
    if (shape.length > 2 || classes !== labels.length) {
      throw failed(`the model gives [${shape}], and there are ${labels.length} labels`);
    }
    // A method of a handle throws what the contract calls its error; here that is the wrong datatype.
    const scores = tensor.readFp32();
    if (!scores.every(Number.isFinite)) {
      throw failed("a score is no number");
    }
    const rows = [];
    for (let start = 0; start < scores.length; start += classes) {
      rows.push(labelled(scores.slice(start, start + classes)));
    }
    const alone = rows.length === 1 && request.header("x-results") !== "list";
    return json(alone ? rows[0] : { results: rows });
  },
};

function labelled(scores) {
  const best = scores.indexOf(Math.max(...scores));
  return {
    label: labels[best],
    score: rounded(scores[best]),
    scores: Object.fromEntries(labels.map((label, index) => [label, rounded(scores[index])])),
  };
}

// An FP32 has seven digits; the rest is noise of its conversion.
function rounded(score) {
  return Number(score.toPrecision(7));
}

function json(value) {
  return { tag: "body", val: new Body("application/json", encoder.encode(JSON.stringify(value))) };
}

// A wrong setting or request: HTTP 400.
function invalid(field, message) {
  return { tag: "invalid-input", val: { field, message } };
}

// The stage could not do its work: HTTP 502, and the client reads why. An `Error` that is thrown is a fault of the plugin: 502 as
// well, and its text is in the log alone.
function failed(message) {
  return { tag: "failed", val: message };
}
