/* sigmoid.h - the gate's activation: 1 / (1 + e^-x), paper section 3.2. */
#ifndef SENETD_SIGMOID_H
#define SENETD_SIGMOID_H

#include <stddef.h>

/* values[count] = sigmoid(values), less than 2e-7 off; a NaN stays one. Thread-safe. */
void sigmoid(float *values, size_t count);

#endif
