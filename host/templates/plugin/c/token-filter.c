// The text of a token that the client does not get, what it gets for it, and the token at which the text ends.
static const char *const WORD = "secret";
static const char *const REPLACEMENT = "***";
static const char *const STOP = "END";

typedef exports_wharf_plugin_token_filter_list_token_t tokens_t;

// The filter of one text.
struct exports_wharf_plugin_token_filter_filter_t {
    // What a filter remembers from one call to the next stands here.
    size_t tokens;
};

// Whether a text is a word, with any spaces before it.
static bool is_word(const @SNAKE@_string_t *text, const char *word, size_t *spaces) {
    size_t at = 0;
    while (at < text->len && text->ptr[at] == ' ') {
        at++;
    }
    *spaces = at;
    return text->len - at == strlen(word) && memcmp(text->ptr + at, word, text->len - at) == 0;
}

static void replace(@SNAKE@_string_t *text, size_t spaces) {
    const size_t length = spaces + strlen(REPLACEMENT);
    char *replaced = malloc(length + 1);
    if (replaced == NULL) {
        abort();
    }
    memset(replaced, ' ', spaces);
    strcpy(replaced + spaces, REPLACEMENT);
    @SNAKE@_string_free(text);
    @SNAKE@_string_dup_n(text, replaced, length);
    free(replaced);
}

bool exports_wharf_plugin_token_filter_open(exports_wharf_plugin_token_filter_borrow_request_t request,
                                            exports_wharf_plugin_token_filter_own_filter_t *ret,
                                            exports_wharf_plugin_token_filter_error_t *err) {
    (void)request;
    exports_wharf_plugin_token_filter_filter_t *filter = calloc(1, sizeof(*filter));
    if (filter == NULL) {
        return failed(err, "there is no memory left");
    }
    *ret = exports_wharf_plugin_token_filter_filter_new(filter);
    return true;
}

bool exports_wharf_plugin_token_filter_method_filter_push(exports_wharf_plugin_token_filter_borrow_filter_t self, tokens_t *tokens,
                                                          exports_wharf_plugin_token_filter_verdict_t *ret,
                                                          exports_wharf_plugin_token_filter_error_t *err) {
    (void)err;
    self->tokens += tokens->len;
    for (size_t i = 0; i < tokens->len; i++) {
        size_t spaces;
        if (is_word(&tokens->ptr[i].text, STOP, &spaces)) {
            for (size_t rest = i; rest < tokens->len; rest++) {
                exports_wharf_plugin_token_filter_token_free(&tokens->ptr[rest]);
            }
            tokens->len = i;
            ret->tag = EXPORTS_WHARF_PLUGIN_TOKEN_FILTER_VERDICT_STOP;
            ret->val.stop.f0 = *tokens;
            @SNAKE@_string_dup(&ret->val.stop.f1, "the text came to a stop word");
            return true;
        }
        if (is_word(&tokens->ptr[i].text, WORD, &spaces)) {
            replace(&tokens->ptr[i].text, spaces);
        }
    }
    ret->tag = EXPORTS_WHARF_PLUGIN_TOKEN_FILTER_VERDICT_EMIT;
    ret->val.emit = *tokens;
    return true;
}

bool exports_wharf_plugin_token_filter_method_filter_finish(exports_wharf_plugin_token_filter_borrow_filter_t self, tokens_t *ret,
                                                            exports_wharf_plugin_token_filter_error_t *err) {
    (void)self;
    (void)err;
    ret->ptr = NULL;
    ret->len = 0;
    return true;
}

void exports_wharf_plugin_token_filter_filter_destructor(exports_wharf_plugin_token_filter_filter_t *filter) {
    free(filter);
}
