/* classify.h - `senetd classify FILE...`: the same answers without a server. */
#ifndef SENETD_CLASSIFY_H
#define SENETD_CLASSIFY_H

#include "batch.h"
#include "config.h"
#include "senet.h"
#include <stdbool.h>
#include <stdio.h>

/* Classifies config->files and prints a table, or the JSON document that POST /classify gives for
 * several images. Files are read a few at a time. Returns whether every file was classified and
 * everything written; what was wrong with a file stands in its place in the output. */
bool classify_files(const struct config *config, const struct senet *model, struct batch *batch,
                    bool json, FILE *to);

#endif
