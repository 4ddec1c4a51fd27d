/* kernels.c - the backends by name, fastest first. */
#include "kernels.h"
#include <string.h>

static const struct kernels *const candidates[] = {&kernels_blas, &kernels_ref};

enum error_code kernels_find(const char *name, const struct kernels **out, struct error *err)
{
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++)
        if (!name || strcmp(name, candidates[i]->name) == 0) {
            *out = candidates[i];
            return ERROR_NONE;
        }
    return error_set(err, ERROR_USAGE, "no kernels named \"%s\"; there are: blas, ref", name);
}
