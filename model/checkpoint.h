/* checkpoint.h - named tensors -> the architecture, with BatchNorm folded into the convolutions.
 *
 * Two layouts are told apart by their tensor names:
 *   timm    conv1, bn1, layer1.0.conv1 ..., se.fc1/fc2, downsample.0/1, fc
 *   legacy  (Cadene's se_resnet50, timm's legacy_seresnet50) layer0.conv1, layer0.bn1,
 *           layer1.0.se_module.fc1/fc2, last_linear
 * They differ in arithmetic too: the stride of a stage sits on its first 3x3 in timm's layout and
 * in every ResNeXt, but on the first 1x1 in Cadene's SE-ResNets; the stem's max-pool pads by 1
 * in timm's, and rounds its size up instead in Cadene's. Depths, widths, cardinality, reduction
 * and class count come from the shapes.
 */
#ifndef SENETD_CHECKPOINT_H
#define SENETD_CHECKPOINT_H

#include "arena.h"
#include "error.h"
#include "kernels.h"
#include "safetensors.h"
#include <stdbool.h>

#define STAGES     4
#define MAX_BLOCKS 256

/* A bottleneck block: 1x1, 3x3, 1x1, squeeze-and-excitation, shortcut. */
struct block {
    size_t stage;                    /* 0..3: layer1..layer4 */
    size_t index;                    /* 0-based within the stage */
    struct conv conv1, conv2, conv3; /* conv3.out is the block's channels C */
    bool has_se, has_downsample;
    /* Excitation, on fp32 vectors, as the classifier: C -> C / r -> C, but fc1 has conv3 folded in,
     * and reads the mean of what conv3 reads: C / 4 -> C / r. */
    struct conv fc1, fc2;
    struct conv downsample;
};

struct architecture {
    bool legacy;
    struct conv stem; /* 7x7 */
    size_t pool_pad;  /* of the 3x3 max-pool of stride 2 */
    bool pool_ceil;   /* its output size is rounded up */
    struct block blocks[MAX_BLOCKS];
    size_t block_count;
    size_t depths[STAGES];
    struct conv fc;    /* the classifier; fc.out is the class count */
    size_t parameters; /* learned values */
};

/* Reads the whole checkpoint. The folded weights, packed for the backend, lie in *weights, which
 * the caller zeroes before and frees after. An int8 backend needs a calibrated checkpoint, which
 * has for every convolution NAME but the downsamples, which read what the block's conv1 reads, a
 * tensor NAME.input_scale [1]: what one unit of its quantised input stands for. NAME.input_mean
 * [in], where it is there, is the mean of each input channel, by which the bias is corrected.
 * Other precisions pass over both. The team, which may be NULL, helps to pack. Errors:
 * ERROR_WEIGHTS (tensor, shape found, shape expected), ERROR_MEMORY. */
enum error_code checkpoint_load(const struct safetensors *file, const struct kernels *kernels,
                                struct team *team, struct architecture *out, struct arena *weights,
                                struct error *err) MUST_CHECK;

#endif
