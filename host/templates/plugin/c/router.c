// The header whose value is a label.
static const char *const HEADER = "x-model";

typedef exports_wharf_plugin_router_candidate_t candidate_t;

static bool has_label(const candidate_t *candidate, const @SNAKE@_string_t *label) {
    for (size_t i = 0; i < candidate->labels.len; i++) {
        const @SNAKE@_string_t *own = &candidate->labels.ptr[i];
        if (own->len == label->len && memcmp(own->ptr, label->ptr, own->len) == 0) {
            return true;
        }
    }
    return false;
}

static uint64_t busy(const candidate_t *candidate) {
    return (uint64_t)candidate->queue_depth + candidate->in_flight;
}

bool exports_wharf_plugin_router_route(exports_wharf_plugin_router_borrow_request_t request,
                                       exports_wharf_plugin_router_list_candidate_t *candidates, uint32_t *ret,
                                       exports_wharf_plugin_router_error_t *err) {
    @SNAKE@_string_t name, label;
    @SNAKE@_string_set(&name, HEADER);
    bool done = candidates->len > 0;
    *ret = 0;
    if (wharf_plugin_types_method_request_header(request, &name, &label)) {
        while (*ret < candidates->len && !has_label(&candidates->ptr[*ret], &label)) {
            *ret += 1;
        }
        done = *ret < candidates->len;
        @SNAKE@_string_free(&label);
    } else {
        for (uint32_t i = 1; i < candidates->len; i++) {
            if (busy(&candidates->ptr[i]) < busy(&candidates->ptr[*ret])) {
                *ret = i;
            }
        }
    }
    if (!done) {
        err->tag = WHARF_PLUGIN_TYPES_ERROR_NOT_FOUND;
        @SNAKE@_string_dup(&err->val.not_found, "no candidate has the label");
    }
    exports_wharf_plugin_router_list_candidate_free(candidates);
    return done;
}
