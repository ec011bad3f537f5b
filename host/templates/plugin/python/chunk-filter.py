def check_settings():
    for field in ("word", "replacement", "stop"):
        if not isinstance(settings.get(field), str):
            raise wrong_setting(field, "give a text")
    if not settings["word"]:
        raise wrong_setting("word", "give a word")


class Filter(chunk_filter.Filter):
    """The filter of one body."""

    def __init__(self):
        # The line that has not ended yet: a word in it may go on in the next chunk.
        self.line = b""

    def push(self, chunk):
        given = []
        *lines, self.line = (self.line + chunk).split(b"\n")
        for line in lines:
            if line.strip() == settings["stop"].encode():
                return chunk_filter.Verdict_Stop((b"".join(given), "the body came to its last line"))
            given.append(self.replaced(line) + b"\n")
        return chunk_filter.Verdict_Emit(b"".join(given))

    def finish(self):
        return b"" if self.line.strip() == settings["stop"].encode() else self.replaced(self.line)

    def replaced(self, line):
        return line.replace(settings["word"].encode(), settings["replacement"].encode())


class ChunkFilter(exports.ChunkFilter):
    def open(self, request, media_type):
        return Filter()
