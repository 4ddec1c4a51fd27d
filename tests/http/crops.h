/* crops.h - photos cut from those under tests/data, and a copy of the tiny model with a reference
 * that senetd profile made of some of them.
 *
 * All lie in a temporary folder. Whatever goes wrong fails the test.
 */
#ifndef SENETD_TEST_CROPS_H
#define SENETD_TEST_CROPS_H

#include "pictures.h"
#include "reference.h"
#include "senet.h"

enum { CROPS_SIDE = 120, CROPS_SAMPLE = 60 /* photos of the reference */ };

enum crops_look { COLOUR, GRAY, NOISE };

/* The number-th crop, in that look, as a PPM. Those of the reference are 0 to CROPS_SAMPLE - 1. */
struct picture crops_picture(size_t number, enum crops_look look);

/* Makes the folder with model/, and photos/Apple/ and photos/kiwi/, of which every fourth crop is.
 * crops_remove returns 0 if all went well. */
void crops_make(void);
int crops_remove(void);

/* Path of a name in the folder, good for the next seven calls. */
char *crops_path(const char *name);

void crops_write(const char *path, const struct picture *picture);

/* The model's reference, for the caller to free. */
struct reference *crops_reference(const struct senet *model);

/* Within 0.2 per mille of what is expected, or that near. */
void crops_near(double value, double expected, double absolute);

#endif
