static const float FACTOR = 0.5f;

// Replaces a tensor by the scaled one.
static bool scale(wharf_plugin_types_own_tensor_t *tensor, error_t *err) {
    const wharf_plugin_types_borrow_tensor_t handle = wharf_plugin_types_borrow_tensor(*tensor);
    @SNAKE@_list_f32_t values;
    if (!wharf_plugin_types_method_tensor_read_fp32(handle, &values, err)) {
        return false;
    }
    for (size_t i = 0; i < values.len; i++) {
        values.ptr[i] *= FACTOR;
    }
    @SNAKE@_string_t name;
    wharf_plugin_types_method_tensor_name(handle, &name);
    @SNAKE@_list_u64_t shape;
    wharf_plugin_types_method_tensor_shape(handle, &shape);
    wharf_plugin_types_own_tensor_t scaled;
    const bool done = wharf_plugin_types_static_tensor_from_fp32(&name, &shape, &values, &scaled, err);
    if (done) {
        wharf_plugin_types_tensor_drop_own(*tensor);
        *tensor = scaled;
    }
    @SNAKE@_list_u64_free(&shape);
    @SNAKE@_string_free(&name);
    @SNAKE@_list_f32_free(&values);
    return done;
}

bool exports_wharf_plugin_preprocess_process(exports_wharf_plugin_preprocess_borrow_request_t request,
                                             exports_wharf_plugin_preprocess_payload_t *input,
                                             exports_wharf_plugin_preprocess_payload_t *ret,
                                             exports_wharf_plugin_preprocess_error_t *err) {
    (void)request;
    bool done = input->tag == WHARF_PLUGIN_TYPES_PAYLOAD_TENSORS || failed(err, "send tensors");
    for (size_t i = 0; done && i < input->val.tensors.len; i++) {
        done = scale(&input->val.tensors.ptr[i], err);
    }
    if (done) {
        *ret = *input;
    } else {
        exports_wharf_plugin_preprocess_payload_free(input);
    }
    return done;
}
