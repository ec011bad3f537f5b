def check_settings():
    if not settings.get("header"):
        raise wrong_setting("header", "give the name of a header")


class Router(exports.Router):
    def route(self, request, candidates):
        label = request.header(settings["header"])
        if label is None:
            busy = [candidate.queue_depth + candidate.in_flight for candidate in candidates]
            return busy.index(min(busy))
        for index, candidate in enumerate(candidates):
            if label in candidate.labels:
                return index
        raise Err(types.Error_NotFound(f"no candidate has the label `{label}`"))
