/* senet.h - the public interface of libsenet: SE-ResNet inference on CPU cores.
 *
 * A struct senet is a loaded model: read-only after senet_open, shared by any number of threads.
 * A struct senet_context is the run state of one thread: activations and scratch for a fixed
 * input size and largest batch, allocated once. senet_run allocates nothing and cannot fail.
 * With options.threads above 1 the model has helper threads that join a senet_run while fewer
 * contexts run than there are threads; results do not depend on them.
 *
 * Source of the network: Hu, Shen, Albanie, Sun, Wu, "Squeeze-and-Excitation Networks",
 * arXiv:1709.01507 (TPAMI 2019), section 3 and table 1; file format: safetensors.
 */
#ifndef SENETD_SENET_H
#define SENETD_SENET_H

#include "error.h"
#include "image.h"
#include <stddef.h>
#include <stdint.h>

struct senet;
struct senet_context;

/* One residual block that carries squeeze-and-excitation. */
struct senet_block {
    char name[24];       /* as in the checkpoint, "layer2.0" */
    char paper_name[24]; /* as in the paper's figures, "SE_3_1" */
    size_t stage;        /* the paper's stage, 2..5 (layer1 is stage 2) */
    size_t block;        /* 1-based within its stage */
    size_t channels;     /* C: length of the excitation vector */
    size_t reduced;      /* C / r: width of the bottleneck between the two fc */
    size_t offset;       /* of this block's vector in one image's excitations, in floats */
};

struct senet_info {
    char name[64];            /* of the model: directory or file stem */
    char architecture[64];    /* config.json's, else derived, e.g. "seresnet50" */
    char layout[16];          /* "timm" or "legacy" (Cadene) */
    char sha256[65];          /* of the weight file, hexadecimal */
    const char *precision;    /* what computes: "fp32", "bf16" or "int8" */
    const char *kernels;      /* the backend chosen: "avx512", "blas", "ref", ... */
    size_t classes;           /* length of the logits */
    size_t blocks;            /* blocks with squeeze-and-excitation; 0 for a plain ResNet */
    size_t residual_blocks;   /* all residual blocks */
    size_t cardinality;       /* groups of the 3x3 convolutions; 1 for ResNet */
    size_t excitation_floats; /* of one image: the sum of channels over the blocks */
    size_t parameters;        /* learned values in the file */
    size_t packed_bytes;      /* memory that the folded weights take */
    double multiply_adds;     /* of one image at the configured input size */
    struct preprocess preprocess;
};

/* What weights and activations are computed in. SENET_AUTO is the fastest for which this CPU has
 * instructions and, for int8, the file is calibrated. */
enum senet_precision { SENET_FP32, SENET_BF16, SENET_INT8, SENET_AUTO };

struct senet_options {
    const char *labels_path; /* overrides the labels beside the weights; NULL for none */
    const char *kernels;     /* backend by name; NULL picks */
    enum senet_precision precision;
    size_t threads; /* cores that a lone senet_run may use; 0 is 1, the caller's own */
};

/* Loads a model. path is a .safetensors file, or a directory as on the Hugging Face hub with
 * model.safetensors and, optionally, timm's config.json and labels.txt. options may be NULL.
 * int8 needs a calibrated file, which has the scales of activations beside the weights.
 * Errors: ERROR_IO, ERROR_WEIGHTS (which tensor or key, what was found, what was expected),
 * ERROR_USAGE (no such backend), ERROR_MEMORY. On error nothing stays allocated. */
SENET_API enum error_code senet_open(const char *path, const struct senet_options *options,
                                     struct senet **out, struct error *err) MUST_CHECK;

/* Frees the model; every context on it must be gone. Accepts NULL. */
SENET_API void senet_close(struct senet *model);

/* Facts of the model, valid until senet_close. */
SENET_API const struct senet_info *senet_info(const struct senet *model);

/* Block index in 0..info->blocks-1. */
SENET_API const struct senet_block *senet_block(const struct senet *model, size_t index);

/* Label of a class in 0..info->classes-1; "class N" where the model came without labels. */
SENET_API const char *senet_label(const struct senet *model, size_t index);

/* Reserves and touches the memory to run batches of up to max_batch images of height x width
 * pixels. The model must outlive the context.
 * Errors: ERROR_MEMORY; ERROR_USAGE where a side is under 32 or over 4096 or max_batch is 0. */
SENET_API enum error_code senet_context_new(const struct senet *model, size_t max_batch,
                                            size_t height, size_t width, struct senet_context **out,
                                            struct error *err) MUST_CHECK;

/* Accepts NULL. */
SENET_API void senet_context_free(struct senet_context *context);

/* Bytes that a context holds. */
SENET_API size_t senet_context_bytes(const struct senet_context *context);

/* Runs the network on 1..max_batch images; one thread per context at a time.
 *   input        [batch][3][height][width], normalised, NCHW
 *   logits       [batch][classes]
 *   excitations  [batch][excitation_floats], values in [0, 1]; may be NULL
 * The results of an image do not depend on what else is in the batch. */
SENET_API void senet_run(struct senet_context *context, size_t batch, const float *input,
                         float *logits, float *excitations);

/* A block whose gates are replaced in one run of the network: what is its attention worth? */
struct senet_ablation {
    size_t block; /* 0..info->blocks-1 */
    /* [channels] in place of the computed gates. NULL: every channel gets the mean of the computed
     * ones, so that the block prefers no channel while its scale stays. */
    const float *gates;
};

/* Runs one image, and for each ablation once more with that block's gates replaced. A run with an
 * ablation branches off at its block, and several go on together as a batch: one of each of
 * the B blocks costs about (B - 1) / 2 whole runs, and the whole network one. The network's own
 * results have the bits that senet_run gives. Like it, allocates nothing and cannot fail.
 *   input        [3][height][width]
 *   ablations    [count], sorted by block; a block may come several times
 *   logits       [1 + count][classes]: without ablation, then with each alone
 *   excitations  [excitation_floats] of the run without ablation; may be NULL */
SENET_API void senet_run_ablated(struct senet_context *context, const float *input,
                                 const struct senet_ablation *ablations, size_t count,
                                 float *logits, float *excitations);

/* An operation of the forward pass as it was measured. */
struct senet_operation {
    char name[32]; /* "stem", "layer1.0.conv1", "layer1.0.squeeze", ... */
    double ms;
    double multiply_adds; /* of all images run; 0 where nothing is multiplied */
    double bytes;         /* that it has to read and write: activations, and weights once */
};

/* Times the operations of as many images of the batch as the cores, which share out each operation,
 * run at once: *images says how many. Fills operations[0..most-1] in the order run; returns their
 * count. */
SENET_API size_t senet_profile(struct senet_context *context, size_t batch, const float *input,
                               float *logits, struct senet_operation *operations, size_t most,
                               size_t *images);

/* What the machine could do at best, on the cores that a lone senet_run has. */
struct senet_roofline {
    double
        multiply_adds_per_s; /* in the model's precision, on registers; 0: the backend tells not */
    double bytes_per_s;      /* read from memory, beyond the caches */
};

/* Measures it; takes about half a second. */
SENET_API void senet_measure_roofline(struct senet_context *context, struct senet_roofline *out);

/* One of the k classes with the largest logits. */
struct senet_top {
    size_t index;
    float logit;
    float probability; /* softmax over all classes */
};

/* Fills top[0..k-1], the largest first, ties by the lower index; k <= classes. */
SENET_API void senet_top_k(const float *logits, size_t classes, size_t k, struct senet_top *top);

#endif
