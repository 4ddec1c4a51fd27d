/* kernels.c - the backends by name, fastest first. */
#include "kernels.h"
#include <stdio.h>
#include <string.h>

static const struct kernels *const candidates[] = {
#if defined(__x86_64__)
    &kernels_avx512,
    &kernels_avx2,
#elif defined(__aarch64__)
    &kernels_neon,
#endif
    &kernels_blas,
    &kernels_ref,
};

const struct kernels *kernels_at(size_t index)
{
    return index < sizeof candidates / sizeof *candidates ? candidates[index] : NULL;
}

enum error_code kernels_find(const char *name, const struct kernels **out, struct error *err)
{
    char names[128] = "";
    size_t length = 0;
    for (size_t i = 0; kernels_at(i); i++) {
        const struct kernels *kernels = kernels_at(i);
        if (!kernels->supported())
            continue;
        if (!name || strcmp(name, kernels->name) == 0) {
            *out = kernels;
            return ERROR_NONE;
        }
        length += (size_t)snprintf(names + length, sizeof names - length, "%s%s",
                                   length ? ", " : "", kernels->name);
    }
    return error_set(err, ERROR_USAGE, "no kernels named \"%s\"; this CPU has %s", name, names);
}
