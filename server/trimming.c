/* trimming.c - see trimming.h. */
#include "trimming.h"
#include <malloc.h>

#define BURST     32 /* requests at once; fewer leave little behind */
#define FALL      8  /* times fewer, and it is over */
#define PERIOD_NS ((int64_t)10000000000)

void trimming_note(struct trimming *trimming, size_t requests)
{
    if (requests > trimming->most)
        trimming->most = requests;
}

bool trimming_wanted(const struct trimming *trimming)
{
    return trimming->most >= BURST;
}

bool trimming_due(struct trimming *trimming, size_t requests, int64_t now_ns)
{
    if (!trimming_wanted(trimming) || requests > trimming->most / FALL ||
        now_ns < trimming->next_ns)
        return false;
    *trimming = (struct trimming){.most = requests, .next_ns = now_ns + PERIOD_NS};
    return true;
}

void trimming_run(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}
