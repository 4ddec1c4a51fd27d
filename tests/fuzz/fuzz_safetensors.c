/* fuzz_safetensors.c - any bytes as a weight file: header, tensors, their conversion to floats. */
#include "safetensors.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct safetensors *file;
    struct error err = {0};
    if (safetensors_parse("fuzz", bytes, size, &file, &err) != ERROR_NONE)
        return 0;
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const struct tensor *tensor = safetensors_at(file, i);
        struct error none = {0};
        float *floats = malloc(tensor->count * sizeof *floats + 1);
        if (floats != NULL && tensor_to_float(tensor, floats, &none) != none.code)
            abort();
        free(floats);
    }
    safetensors_close(file);
    return 0;
}
