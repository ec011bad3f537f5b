function checkSettings() {
  for (const field of ["word", "replacement", "stop"]) {
    if (typeof settings[field] !== "string") {
      throw invalid(field, "give a text");
    }
  }
  if (!settings.word) {
    throw invalid("word", "give the text of a token");
  }
}

/** The filter of one text. */
class Filter {
  push(tokens) {
    const given = [];
    for (const token of tokens) {
      const text = token.text.trim();
      if (text === settings.stop) {
        return { tag: "stop", val: [given, "the text came to a stop word"] };
      }
      if (text === settings.word) {
        token.text = token.text.replaceAll(settings.word, () => settings.replacement);
      }
      given.push(token);
    }
    return { tag: "emit", val: given };
  }

  finish() {
    return [];
  }
}

export const tokenFilter = {
  Filter,
  open(request) {
    return new Filter();
  },
};
