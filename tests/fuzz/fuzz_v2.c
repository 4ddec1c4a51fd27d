/* fuzz_v2.c - any bytes as an Open Inference Protocol request: JSON, or JSON and binary tensors,
 * split where the first two bytes say. */
#include "senet.h"
#include "v2_request.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static struct senet *model;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct error err = {0};
    (void)argc;
    (void)argv;
    if (senet_open("tests/golden/fixtures/tiny_timm", NULL, &model, &err) != ERROR_NONE)
        abort();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char header[16];
    struct v2_request request;
    struct error err = {0};
    if (size < 2)
        return 0;
    unsigned split = (unsigned)bytes[0] | (unsigned)bytes[1] << 8;
    snprintf(header, sizeof header, "%u", split);
    const struct v2_model view = v2_model_at(model, split % v2_model_count(model));
    if (v2_request_parse(bytes + 2, size - 2, split == 0xffff ? NULL : header, &view, 4, &request,
                         &err) != err.code)
        abort();
    v2_request_free(&request);
    return 0;
}
