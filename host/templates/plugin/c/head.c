// @SUMMARY@
//
// `@SNAKE@.h` is made of wit/world.wit by the build; it lies in target/bindings. Who gets a string, a list or a handle owns it: what
// the host gives is freed here, and what is returned is made with malloc and freed by the bindings.

#include "@SNAKE@.h"

#include <stdlib.h>
#include <string.h>

typedef wharf_plugin_types_error_t error_t;

// Another fault than the client's: HTTP 502. A crash, such as `abort`, is a fault of the plugin, whose text only the operator reads.
static bool failed(error_t *err, const char *message) {
    err->tag = WHARF_PLUGIN_TYPES_ERROR_FAILED;
    @SNAKE@_string_dup(&err->val.failed, message);
    return false;
}

void exports_wharf_plugin_lifecycle_describe(exports_wharf_plugin_lifecycle_description_t *ret) {
    @SNAKE@_string_dup(&ret->version, "0.1.0");
    @SNAKE@_string_dup(&ret->summary, "@SUMMARY@");
    ret->metrics.ptr = NULL;
    ret->metrics.len = 0;
}

// `settings` is the table [settings] of the plugin's settings file, as one JSON object. There are none.
bool exports_wharf_plugin_lifecycle_init(@SNAKE@_string_t *settings, exports_wharf_plugin_lifecycle_error_t *err) {
    const bool empty = settings->len == 2 && memcmp(settings->ptr, "{}", 2) == 0;
    @SNAKE@_string_free(settings);
    return empty || failed(err, "there are no settings: leave [settings] empty");
}

bool exports_wharf_plugin_lifecycle_self_test(exports_wharf_plugin_lifecycle_error_t *err) {
    (void)err;
    return true;
}

