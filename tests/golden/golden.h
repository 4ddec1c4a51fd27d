/* golden.h - reading golden fixtures and holding the network against them.
 *
 * Failures are cmocka failures that name the case, the element and both values; so these
 * functions are for use within a cmocka test only.
 */
#ifndef SENETD_GOLDEN_H
#define SENETD_GOLDEN_H

#include "image.h"
#include "safetensors.h"
#include "senet.h"

/* cmocka.h wants these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Names of the fp32 backends that this CPU supports, each of which has to agree with timm; NULL
 * after the last. */
const char *golden_backend(size_t index);

/* One batch and what timm on PyTorch answers for it. */
struct golden_case {
    char name[16]; /* "case0" */
    size_t batch, height, width;
    size_t classes, excitation_floats; /* of one image; the latter 0 for a plain ResNet */
    float *input;                      /* [batch][3][height][width], normalised */
    float *logits;                     /* [batch][classes] */
    float *excitations;                /* [batch][excitation_floats], NULL for a plain ResNet */
};

/* Opens a fixture file or fails. */
struct safetensors *golden_open(const char *path);

/* Reads case `index`, whose input is caseN.input, or else caseN.pixels normalised by the
 * preprocess's mean and std. False where the file has no such case. */
bool golden_read(const struct safetensors *file, size_t index, const struct preprocess *preprocess,
                 struct golden_case *out);

void golden_free(struct golden_case *golden);

/* Loads a model or fails. */
struct senet *golden_model(const char *path, const char *backend);

/* Runs the batch and compares: logits within 1e-3 or 1e-4 of their size, excitations within
 * 1e-4, the same five best classes in the same order (but for ties within the tolerance), and
 * each image run alone gives the same bits. */
void golden_check(const struct senet *model, const struct golden_case *golden);

/* True where the environment's VERBOSE asks for the differences found. */
bool golden_verbose(void);

#endif
