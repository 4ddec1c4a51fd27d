/* reference.h - what a model's excitations look like on ordinary photos.
 *
 * Statistics of every gate over a sample, kept in excitation_reference.safetensors beside the
 * weights and written by `senetd profile`. Raw gates look alike whatever the photo; what differs
 * from the reference tells something. The file holds for each block, by its name:
 *   layer2.0.mean, layer2.0.std                 F32 [channels]; std is the population's
 *   layer2.0.quantiles                          F16 [levels][channels]
 *   layer2.0.class_mean, layer2.0.class_std     F16 [classes][channels], zeros for a class
 *                                               without photos
 *   class_images                                F32 [classes]
 * and in its metadata the number of photos, their source, and the SHA-256 of the weights.
 * A struct reference is read-only and may be shared by threads.
 */
#ifndef SENETD_REFERENCE_H
#define SENETD_REFERENCE_H

#include "error.h"
#include "senet.h"
#include <stddef.h>
#include <stdint.h>

#define REFERENCE_FILE   "excitation_reference.safetensors"
#define REFERENCE_LEVELS 5 /* quantiles */

/* 0.05, 0.25, 0.5, 0.75, 0.95 */
extern const double reference_levels[REFERENCE_LEVELS];

struct reference {
    size_t floats, classes; /* as in senet_info */
    uint64_t images;        /* in the sample */
    char source[256];       /* of the photos, as the maker named it */
    char grouping[16];      /* a photo's class: "folder" or "prediction" */
    float *mean, *std;      /* [floats] */
    float *quantiles;       /* [REFERENCE_LEVELS][floats] */
    float *class_images;    /* [classes] */
    /* [classes][floats]. reference_read leaves NULL: see reference_read_class. */
    float *class_mean, *class_std;
    struct safetensors *file; /* reference_read's */
};

/* Where the reference of these weights lies: in the directory, or beside the file. */
void reference_path(const char *weights, char *out, size_t size);

/* Errors: ERROR_IO, ERROR_MEMORY; ERROR_WEIGHTS where the file is none, or was made for other
 * weights: it says which tensor or key, and what was expected. */
enum error_code reference_read(const char *path, const struct senet *model, struct reference **out,
                               struct error *err) MUST_CHECK;

/* The classes' statistics of one block, [classes][channels] each, the caller's. Errors:
 * ERROR_WEIGHTS where a value is not finite. */
enum error_code reference_read_class(const struct reference *reference, const struct senet *model,
                                     size_t block, float *mean, float *std,
                                     struct error *err) MUST_CHECK;

/* Writes beside and renames, so that the file is whole or not there. Errors: ERROR_IO,
 * ERROR_MEMORY. */
enum error_code reference_write(const struct reference *reference, const struct senet *model,
                                const char *path, struct error *err) MUST_CHECK;

/* An empty one with room for the model's statistics, classes too, zeroed. Errors: ERROR_MEMORY. */
enum error_code reference_new(const struct senet *model, struct reference **out,
                              struct error *err) MUST_CHECK;

/* Accepts NULL. */
void reference_free(struct reference *reference);

#endif
