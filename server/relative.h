/* relative.h - gates as distances from the reference of the model.
 *
 * A gate's z-score is (gate - mean) / std, mean and std being the reference's. The std counts as
 * at least RELATIVE_LEAST_STD: a gate that hardly moved over the whole sample would otherwise make
 * a hundredth of its range look like an event. No state.
 */
#ifndef SENETD_RELATIVE_H
#define SENETD_RELATIVE_H

#include "attention.h"
#include "reference.h"
#include "senet.h"
#include "writer.h"
#include <stdbool.h>

#define RELATIVE_LEAST_STD    0.01
#define RELATIVE_LEAST_IMAGES 8 /* fewer say nothing of a drift */

/* The scale of gate i of an image's vector: its std in the reference, or the least one. */
double relative_scale(const struct reference *reference, size_t i);

/* Root mean square of the z-scores over the block's gates[channels]. A photo of the sample has 1
 * on average, less where stds are under the least. */
double relative_distance(const struct reference *reference, const struct senet_block *block,
                         const float *gates);

/* "distance":1.2, and with scores "z":[...]. */
void relative_members(struct writer *w, const struct reference *reference,
                      const struct senet_block *block, const float *gates, bool scores);

/* How far the stream has moved from the reference: the standardised mean difference of every gate
 * (Cohen's d, with the reference's std), root mean square over the block's channels, less the part
 * that the sampling of so few images explains. In standard deviations of a gate over photos; 0 for
 * the reference's own photos. Negative while fewer than RELATIVE_LEAST_IMAGES were seen or where
 * memory ran out. */
double relative_drift(const struct reference *reference, const struct senet_block *block,
                      struct attention *attention);

#endif
