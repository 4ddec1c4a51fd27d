/* packing.h - a checkpoint's convolutions folded and packed, by all cores; see checkpoint.h.
 *
 * The walk over the checkpoint notes what is to be packed and where; then all of it is done at
 * once, as packing takes longer than reading. The tensors must stay until then.
 */
#ifndef SENETD_PACKING_H
#define SENETD_PACKING_H

#include "kernels.h"
#include "network.h"
#include "safetensors.h"

/* A convolution whose shape is known, with a factor and a shift for each output. */
struct packing_item {
    const struct tensor *tensor; /* its weights */
    /* Of a fully connected layer that was trained on the mean of what a 1x1 convolution writes, and
     * is to read the mean of what that one reads: the convolution's item; else NULL. */
    const struct packing_item *through;
    const struct kernels *kernels;
    struct conv *conv;
    float *packed;  /* where to */
    double *scale;  /* [out], then the shifts [out] */
    float *in_mean; /* [in], or NULL; see struct conv */
    struct error err;
};

/* Stem, classifier, and of each block three convolutions, two layers of SE and a downsample. */
#define PACKING_MOST (2 + 6 * MAX_BLOCKS)

struct packing {
    struct packing_item items[PACKING_MOST];
    size_t count;
};

/* Notes an item, whose `scale` and `in_mean` become the packing's. There is always room. */
void packing_add(struct packing *packing, struct packing_item item);

/* The item noted last. */
const struct packing_item *packing_last(const struct packing *packing);

/* Packs all of them and sets conv->packed. Errors: ERROR_WEIGHTS (a value that is not finite,
 * before or after folding), ERROR_MEMORY; of several the first that was noted. */
enum error_code packing_run(struct packing *packing, struct team *team,
                            struct error *err) MUST_CHECK;

/* Frees what the items hold. */
void packing_clear(struct packing *packing);

#endif
