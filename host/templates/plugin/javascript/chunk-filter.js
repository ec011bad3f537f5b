function checkSettings() {
  for (const field of ["word", "replacement", "stop"]) {
    if (typeof settings[field] !== "string") {
      throw invalid(field, "give a text");
    }
  }
  if (!settings.word) {
    throw invalid("word", "give a word");
  }
}

/** The filter of one body. */
class Filter {
  // A character may go on in the next chunk, and so may a word: the line that has not ended yet waits here.
  decoder = new TextDecoder();
  line = "";

  push(chunk) {
    const lines = (this.line + this.decoder.decode(chunk, { stream: true })).split("\n");
    this.line = lines.pop();
    let given = "";
    for (const line of lines) {
      if (line.trim() === settings.stop) {
        return { tag: "stop", val: [encode(given), "the body came to its last line"] };
      }
      given += `${replaced(line)}\n`;
    }
    return { tag: "emit", val: encode(given) };
  }

  finish() {
    const line = this.line + this.decoder.decode();
    return encode(line.trim() === settings.stop ? "" : replaced(line));
  }
}

const encode = (text) => new TextEncoder().encode(text);
const replaced = (line) => line.replaceAll(settings.word, () => settings.replacement);

export const chunkFilter = {
  Filter,
  open(request, mediaType) {
    return new Filter();
  },
};
