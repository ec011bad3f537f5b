function checkSettings() {
  if (!Array.isArray(settings.labels) || settings.labels.length === 0) {
    throw invalid("labels", "name at least one class");
  }
}

export const postprocess = {
  process(request, output) {
    if (output.tag !== "tensors" || output.val.length === 0) {
      throw failed("the model gave no tensor");
    }
    const scores = output.val[0].readFp32();
    const score = Math.max(...scores);
    const label = settings.labels[scores.indexOf(score)];
    if (label === undefined) {
      throw failed("the best class has no name in the setting `labels`");
    }
    const answer = new TextEncoder().encode(JSON.stringify({ label, score }));
    return { tag: "body", val: new Body("application/json", answer) };
  },
};
