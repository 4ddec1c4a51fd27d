/* resample_avx2.c - the passes of resample_passes.h for AVX2; empty on other architectures. */
#include "resample_passes.h"

#if defined(__x86_64__)
void resample_avx2_run(const struct passes *passes, uint8_t *out)
{
    passes_run(passes, out);
}
#endif
