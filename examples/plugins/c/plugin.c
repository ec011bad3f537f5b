// Brings every row of FP32 tensors to mean 0 and deviation 1. A row is what lies along the last dimension.
//
// `normalise.h` is made of wit/world.wit by the build; it lies in target/bindings. Who gets a string, a list or a handle owns it:
// what the host gives is freed here, and what is returned is made with malloc and freed by the bindings.

#include "normalise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef exports_wharf_plugin_preprocess_payload_t payload_t;
typedef exports_wharf_plugin_preprocess_error_t error_t;
typedef wharf_plugin_types_own_tensor_t tensor_t;

// The client's mistake: HTTP 400. A crash, such as `abort`, is a fault of the plugin: HTTP 502, and what it wrote to standard error
// is in the log alone.
static bool invalid(error_t *err, const normalise_string_t *field, const char *message) {
    err->tag = WHARF_PLUGIN_TYPES_ERROR_INVALID_INPUT;
    err->val.invalid_input.field.is_some = field != NULL;
    if (field != NULL) {
        normalise_string_dup_n(&err->val.invalid_input.field.val, (const char *)field->ptr, field->len);
    }
    normalise_string_dup(&err->val.invalid_input.message, message);
    return false;
}

// False where the row holds something that is no finite number.
static bool normalise_row(float *row, size_t length) {
    double sum = 0.0, squares = 0.0;
    for (size_t i = 0; i < length; i++) {
        sum += row[i];
    }
    const double mean = sum / (double)length;
    for (size_t i = 0; i < length; i++) {
        const double off = row[i] - mean;
        squares += off * off;
    }
    if (!isfinite(squares)) {
        return false;
    }
    const double deviation = sqrt(squares / (double)length);
    // A row of equal values has no deviation; it becomes zeros.
    const double scale = deviation > 0.0 ? 1.0 / deviation : 0.0;
    for (size_t i = 0; i < length; i++) {
        row[i] = (float)((row[i] - mean) * scale);
    }
    return true;
}

// Makes the normalised tensor of another.
static bool normalise(tensor_t tensor, tensor_t *ret, error_t *err) {
    const wharf_plugin_types_borrow_tensor_t handle = wharf_plugin_types_borrow_tensor(tensor);
    normalise_string_t name;
    wharf_plugin_types_method_tensor_name(handle, &name);
    normalise_list_u64_t shape;
    wharf_plugin_types_method_tensor_shape(handle, &shape);

    bool done = false;
    if (wharf_plugin_types_method_tensor_datatype(handle) != WHARF_PLUGIN_TYPES_DATATYPE_FP32) {
        invalid(err, &name, "send FP32");
    } else if (shape.len == 0) {
        invalid(err, &name, "send a tensor with one dimension or more");
    } else {
        const uint64_t length = shape.ptr[shape.len - 1];
        normalise_list_f32_t values;
        if (wharf_plugin_types_method_tensor_read_fp32(handle, &values, err)) {
            bool finite = true;
            for (size_t at = 0; finite && at < values.len; at += length) {
                finite = normalise_row(values.ptr + at, length);
            }
            if (finite) {
                done = wharf_plugin_types_static_tensor_from_fp32(&name, &shape, &values, ret, err);
            } else {
                invalid(err, &name, "send finite numbers");
            }
            normalise_list_f32_free(&values);
        }
    }
    normalise_list_u64_free(&shape);
    normalise_string_free(&name);
    return done;
}

bool exports_wharf_plugin_preprocess_process(exports_wharf_plugin_preprocess_borrow_request_t request, payload_t *input,
                                             payload_t *ret, error_t *err) {
    (void)request;
    bool done = true;
    if (input->tag != WHARF_PLUGIN_TYPES_PAYLOAD_TENSORS) {
        done = invalid(err, NULL, "send tensors");
    } else {
        wharf_plugin_types_list_own_tensor_t *tensors = &input->val.tensors;
        for (size_t i = 0; done && i < tensors->len; i++) {
            tensor_t normalised;
            done = normalise(tensors->ptr[i], &normalised, err);
            if (done) {
                wharf_plugin_types_tensor_drop_own(tensors->ptr[i]);
                tensors->ptr[i] = normalised;
            }
        }
    }
    if (done) {
        *ret = *input;
    } else {
        exports_wharf_plugin_preprocess_payload_free(input);
    }
    return done;
}

void exports_wharf_plugin_lifecycle_describe(exports_wharf_plugin_lifecycle_description_t *ret) {
    normalise_string_dup(&ret->version, "1.0.0");
    normalise_string_dup(&ret->summary, "Brings every row of FP32 tensors to mean 0 and deviation 1.");
    ret->metrics.ptr = NULL;
    ret->metrics.len = 0;
}

// `settings` is the table [settings] of the plugin's settings file, as one JSON object. There are none.
bool exports_wharf_plugin_lifecycle_init(normalise_string_t *settings, exports_wharf_plugin_lifecycle_error_t *err) {
    const bool empty = settings->len == 2 && memcmp(settings->ptr, "{}", 2) == 0;
    normalise_string_free(settings);
    return empty || invalid(err, NULL, "there are no settings: leave [settings] empty");
}

bool exports_wharf_plugin_lifecycle_self_test(exports_wharf_plugin_lifecycle_error_t *err) {
    float row[] = {1.0f, 3.0f};
    if (normalise_row(row, 2) && row[0] == -1.0f && row[1] == 1.0f) {
        return true;
    }
    err->tag = WHARF_PLUGIN_TYPES_ERROR_FAILED;
    normalise_string_dup(&err->val.failed, "a known row is normalised wrongly");
    return false;
}
