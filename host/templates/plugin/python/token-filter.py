def check_settings():
    for field in ("word", "replacement", "stop"):
        if not isinstance(settings.get(field), str):
            raise wrong_setting(field, "give a text")
    if not settings["word"]:
        raise wrong_setting("word", "give the text of a token")


class Filter(token_filter.Filter):
    """The filter of one text."""

    def push(self, tokens):
        given = []
        for token in tokens:
            if token.text.strip() == settings["stop"]:
                return token_filter.Verdict_Stop((given, "the text came to a stop word"))
            if token.text.strip() == settings["word"]:
                token.text = token.text.replace(settings["word"], settings["replacement"])
            given.append(token)
        return token_filter.Verdict_Emit(given)

    def finish(self):
        return []


class TokenFilter(exports.TokenFilter):
    def open(self, request):
        return Filter()
