#include <stdio.h>

// The names of the classes, in the model's order.
static const char *const LABELS[] = {"cat", "dog", "fox"};
static const size_t LABEL_COUNT = sizeof(LABELS) / sizeof(LABELS[0]);

// Writes the answer to some scores.
static bool answer(const @SNAKE@_list_f32_t *scores, exports_wharf_plugin_postprocess_payload_t *ret, error_t *err) {
    size_t best = 0;
    for (size_t i = 1; i < scores->len; i++) {
        if (scores->ptr[i] > scores->ptr[best]) {
            best = i;
        }
    }
    if (best >= LABEL_COUNT || scores->len == 0) {
        return failed(err, "the best class has no name");
    }
    char text[128];
    snprintf(text, sizeof(text), "{\"label\": \"%s\", \"score\": %.9g}", LABELS[best], scores->ptr[best]);
    @SNAKE@_string_t media_type;
    @SNAKE@_string_set(&media_type, "application/json");
    @SNAKE@_list_u8_t data = {(uint8_t *)text, strlen(text)};
    ret->tag = WHARF_PLUGIN_TYPES_PAYLOAD_BODY;
    ret->val.body = wharf_plugin_types_constructor_body(&media_type, &data);
    return true;
}

bool exports_wharf_plugin_postprocess_process(exports_wharf_plugin_postprocess_borrow_request_t request,
                                              exports_wharf_plugin_postprocess_payload_t *output,
                                              exports_wharf_plugin_postprocess_payload_t *ret,
                                              exports_wharf_plugin_postprocess_error_t *err) {
    (void)request;
    bool done = output->tag == WHARF_PLUGIN_TYPES_PAYLOAD_TENSORS && output->val.tensors.len > 0;
    if (!done) {
        failed(err, "the model gave no tensor");
    } else {
        @SNAKE@_list_f32_t scores;
        done = wharf_plugin_types_method_tensor_read_fp32(wharf_plugin_types_borrow_tensor(output->val.tensors.ptr[0]), &scores, err);
        if (done) {
            done = answer(&scores, ret, err);
            @SNAKE@_list_f32_free(&scores);
        }
    }
    exports_wharf_plugin_postprocess_payload_free(output);
    return done;
}
