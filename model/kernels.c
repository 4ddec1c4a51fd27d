/* kernels.c - the backends by name, fastest first. */
#include "kernels.h"
#include "roofline.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const struct kernels *const candidates[] = {
#if defined(__x86_64__)
    &kernels_avx512,    &kernels_avx2,
#endif
#if defined(__aarch64__)
    &kernels_neon,
#else
    &kernels_portable,
#endif
    &kernels_blas,      &kernels_ref,
#if defined(__x86_64__)
    &kernels_amx_bf16,  &kernels_avx512_bf16,  &kernels_avx512f_bf16,    &kernels_avx2_bf16,
    &kernels_amx_int8,  &kernels_avx512_int8,  &kernels_avx512vnni_int8, &kernels_avxvnni_int8,
    &kernels_avx2_int8,
#endif
#if defined(__aarch64__)
    &kernels_neon_bf16, &kernels_neondot_int8, &kernels_neon_int8,
#else
    &kernels_portable_bf16, &kernels_portable_int8,
#endif
};

const struct kernels *kernels_at(size_t index)
{
    return index < sizeof candidates / sizeof *candidates ? candidates[index] : NULL;
}

const char *kernels_precision_name(enum precision precision)
{
    static const char *const names[] = {"fp32", "bf16", "int8"};
    return names[precision];
}

#if defined(__x86_64__)
static bool vdpbf16ps_pays;

static void try_vdpbf16ps(void)
{
    vdpbf16ps_pays = roofline_is_higher(&kernels_avx512_bf16, &kernels_avx512);
}
#endif

bool kernels_pay(const struct kernels *kernels)
{
#if defined(__x86_64__)
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (kernels == &kernels_avx512_bf16) {
        pthread_once(&once, try_vdpbf16ps);
        return vdpbf16ps_pays;
    }
#endif
    return kernels->native;
}

enum error_code kernels_find(const char *name, enum precision precision, const struct kernels **out,
                             struct error *err)
{
    char names[128] = "";
    size_t length = 0;
    for (size_t i = 0; kernels_at(i); i++) {
        const struct kernels *kernels = kernels_at(i);
        if (kernels->precision != precision || !kernels->supported())
            continue;
        bool fits =
            name ? strcmp(name, kernels->name) == 0 : !kernels->native || kernels_pay(kernels);
        if (fits) {
            *out = kernels;
            return ERROR_NONE;
        }
        length += (size_t)snprintf(names + length, sizeof names - length, "%s%s",
                                   length ? ", " : "", kernels->name);
    }
    return error_set(err, ERROR_USAGE, "no kernels named \"%s\" for %s; this CPU has %s",
                     name ? name : "", kernels_precision_name(precision), length ? names : "none");
}
