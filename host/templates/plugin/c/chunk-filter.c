// The word that the client does not get, what it gets for it, and the line at which the body ends.
static const char *const WORD = "secret";
static const char *const REPLACEMENT = "***";
static const char *const STOP = "END";

typedef @SNAKE@_list_u8_t bytes_t;

// The filter of one body: the line that has not ended yet, since a word in it may go on in the next chunk.
struct exports_wharf_plugin_chunk_filter_filter_t {
    bytes_t line;
};

static void append(bytes_t *bytes, const uint8_t *more, size_t length) {
    if (length == 0) {
        return;
    }
    uint8_t *grown = realloc(bytes->ptr, bytes->len + length);
    if (grown == NULL) {
        abort();
    }
    memcpy(grown + bytes->len, more, length);
    bytes->ptr = grown;
    bytes->len += length;
}

static bool is_stop(const bytes_t *line) {
    size_t length = line->len;
    while (length > 0 && (line->ptr[length - 1] == '\n' || line->ptr[length - 1] == '\r')) {
        length--;
    }
    return length == strlen(STOP) && memcmp(line->ptr, STOP, length) == 0;
}

// Gives the line with its words replaced, and begins the next one.
static void end_line(bytes_t *line, bytes_t *given) {
    const size_t word = strlen(WORD);
    for (size_t at = 0; at < line->len;) {
        if (line->len - at >= word && memcmp(line->ptr + at, WORD, word) == 0) {
            append(given, (const uint8_t *)REPLACEMENT, strlen(REPLACEMENT));
            at += word;
        } else {
            append(given, line->ptr + at, 1);
            at++;
        }
    }
    line->len = 0;
}

bool exports_wharf_plugin_chunk_filter_open(exports_wharf_plugin_chunk_filter_borrow_request_t request,
                                            @SNAKE@_string_t *media_type, exports_wharf_plugin_chunk_filter_own_filter_t *ret,
                                            exports_wharf_plugin_chunk_filter_error_t *err) {
    (void)request;
    @SNAKE@_string_free(media_type);
    exports_wharf_plugin_chunk_filter_filter_t *filter = calloc(1, sizeof(*filter));
    if (filter == NULL) {
        return failed(err, "there is no memory left");
    }
    *ret = exports_wharf_plugin_chunk_filter_filter_new(filter);
    return true;
}

bool exports_wharf_plugin_chunk_filter_method_filter_push(exports_wharf_plugin_chunk_filter_borrow_filter_t self, bytes_t *chunk,
                                                          exports_wharf_plugin_chunk_filter_verdict_t *ret,
                                                          exports_wharf_plugin_chunk_filter_error_t *err) {
    (void)err;
    bytes_t given = {NULL, 0};
    bool stopped = false;
    for (size_t at = 0; at < chunk->len && !stopped;) {
        const uint8_t *end = memchr(chunk->ptr + at, '\n', chunk->len - at);
        const size_t next = end == NULL ? chunk->len : (size_t)(end - chunk->ptr) + 1;
        append(&self->line, chunk->ptr + at, next - at);
        at = next;
        if (end != NULL) {
            stopped = is_stop(&self->line);
            if (!stopped) {
                end_line(&self->line, &given);
            }
        }
    }
    @SNAKE@_list_u8_free(chunk);
    if (stopped) {
        ret->tag = EXPORTS_WHARF_PLUGIN_CHUNK_FILTER_VERDICT_STOP;
        ret->val.stop.f0 = given;
        @SNAKE@_string_dup(&ret->val.stop.f1, "the body came to its last line");
    } else {
        ret->tag = EXPORTS_WHARF_PLUGIN_CHUNK_FILTER_VERDICT_EMIT;
        ret->val.emit = given;
    }
    return true;
}

bool exports_wharf_plugin_chunk_filter_method_filter_finish(exports_wharf_plugin_chunk_filter_borrow_filter_t self, bytes_t *ret,
                                                            exports_wharf_plugin_chunk_filter_error_t *err) {
    (void)err;
    ret->ptr = NULL;
    ret->len = 0;
    if (!is_stop(&self->line)) {
        end_line(&self->line, ret);
    }
    return true;
}

void exports_wharf_plugin_chunk_filter_filter_destructor(exports_wharf_plugin_chunk_filter_filter_t *filter) {
    free(filter->line.ptr);
    free(filter);
}
