// Does what a test or a measurement asks for, in C.

#include "probe_c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef exports_wharf_plugin_preprocess_payload_t payload_t;
typedef exports_wharf_plugin_preprocess_error_t error_t;
typedef wharf_plugin_types_own_tensor_t tensor_t;

static char kept[256] = "nothing";

// The value of a header field, empty where there is none.
static void header(wharf_plugin_types_borrow_request_t request, const char *name, char *text, size_t size) {
    probe_c_string_t key, value;
    probe_c_string_set(&key, name);
    text[0] = 0;
    if (wharf_plugin_types_method_request_header(request, &key, &value)) {
        snprintf(text, size, "%.*s", (int)value.len, (const char *)value.ptr);
        probe_c_string_free(&value);
    }
}

static void twice(tensor_t *tensor) {
    const wharf_plugin_types_borrow_tensor_t handle = wharf_plugin_types_borrow_tensor(*tensor);
    error_t err;
    probe_c_string_t name;
    probe_c_list_u64_t shape;
    probe_c_list_f32_t values;
    tensor_t made;
    wharf_plugin_types_method_tensor_name(handle, &name);
    wharf_plugin_types_method_tensor_shape(handle, &shape);
    if (!wharf_plugin_types_method_tensor_read_fp32(handle, &values, &err)) {
        abort();
    }
    for (size_t i = 0; i < values.len; i++) {
        values.ptr[i] *= 2.0f;
    }
    if (!wharf_plugin_types_static_tensor_from_fp32(&name, &shape, &values, &made, &err)) {
        abort();
    }
    wharf_plugin_types_tensor_drop_own(*tensor);
    *tensor = made;
    probe_c_list_f32_free(&values);
    probe_c_list_u64_free(&shape);
    probe_c_string_free(&name);
}

bool exports_wharf_plugin_preprocess_process(exports_wharf_plugin_preprocess_borrow_request_t request, payload_t *input,
                                             payload_t *ret, error_t *err) {
    char behaviour[16], secret[256];
    header(request, "x-behaviour", behaviour, sizeof behaviour);
    if (strcmp(behaviour, "double") == 0) {
        for (size_t i = 0; i < input->val.tensors.len; i++) {
            twice(&input->val.tensors.ptr[i]);
        }
    } else if (strcmp(behaviour, "raise") == 0) {
        header(request, "x-secret", secret, sizeof secret);
        puts("about to fail");
        fflush(stdout);
        fprintf(stderr, "%s\n", secret);
        abort();
    } else if (strcmp(behaviour, "keep") == 0) {
        header(request, "x-secret", secret, sizeof secret);
        err->tag = WHARF_PLUGIN_TYPES_ERROR_INVALID_INPUT;
        err->val.invalid_input.field.is_some = true;
        probe_c_string_dup(&err->val.invalid_input.field.val, kept);
        probe_c_string_dup(&err->val.invalid_input.message, "kept");
        memcpy(kept, secret, sizeof kept);
        exports_wharf_plugin_preprocess_payload_free(input);
        return false;
    } else if (strcmp(behaviour, "spin") == 0) {
        for (volatile int i = 0;; i++) {
        }
    }
    *ret = *input;
    return true;
}
