/* fuzz_upload.c - any bytes as a request's body: the first says of which type, the rest is the
 * body. A form's boundary is what the body itself begins with. */
#include "upload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_IMAGES 8

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char *const types[] = {"application/json", "multipart/form-data; boundary=X",
                                        "multipart/form-data; boundary=\"a b\"", NULL};
    char own[256];
    struct upload upload;
    struct error err = {0};
    if (size == 0)
        return 0;
    const char *type = types[bytes[0] % 4];
    if (bytes[0] >= 0x80) { /* the Content-Type's parameters are the input's, too */
        const uint8_t *end = memchr(bytes + 1, '\n', size - 1);
        size_t line = end != NULL ? (size_t)(end - bytes) : size;
        snprintf(own, sizeof own, "multipart/form-data;%.*s", (int)(line - 1), bytes + 1);
        type = own;
        bytes += line - 1;
        size -= line - 1;
    }
    if (upload_parse(type, bytes + 1, size - 1, MAX_IMAGES, &upload, &err) == ERROR_NONE)
        for (size_t i = 0; i < upload.count; i++) {
            volatile uint8_t sum = 0; /* every byte that is promised is there */
            for (size_t j = 0; j < upload.images[i].size; j++)
                sum = (uint8_t)(sum + upload.images[i].bytes[j]);
            (void)sum;
        }
    upload_free(&upload);
    return 0;
}
