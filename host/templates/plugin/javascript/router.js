function checkSettings() {
  if (!settings.header) {
    throw invalid("header", "give the name of a header");
  }
}

export const router = {
  route(request, candidates) {
    const label = request.header(settings.header);
    if (label === undefined) {
      const busy = candidates.map((candidate) => candidate.queueDepth + candidate.inFlight);
      return busy.indexOf(Math.min(...busy));
    }
    const index = candidates.findIndex((candidate) => candidate.labels.includes(label));
    if (index < 0) {
      throw { tag: "not-found", val: `no candidate has the label \`${label}\`` };
    }
    return index;
  },
};
