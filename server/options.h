/* options.h - the table of options: what each is called, may hold, and defaults to.
 *
 * The table comes from CONFIG_OPTIONS of config.h. A value is written through an offset into struct
 * config, so that one function serves every source: default, file, environment, command line.
 * No state: thread-safe.
 */
#ifndef SENETD_OPTIONS_H
#define SENETD_OPTIONS_H

#include "config.h"
#include "error.h"
#include "writer.h"
#include <stddef.h>

enum option_kind { OPTION_TEXT, OPTION_SIZE, OPTION_CHOICE };

struct option {
    const char *flag, *argument, *help; /* of a choice, argument is its words: "text|json" */
    enum option_kind kind;
    size_t offset; /* of the field in struct config */
    const char *text;
    size_t value, least, most, unit;
};

/* Index in 0..CONFIG_OPTION_COUNT-1. */
const struct option *options_at(size_t index);

/* The index of the option with that name, CONFIG_OPTION_COUNT where there is none. */
size_t options_find(const char *name, size_t size);

/* Fills *out with every option's default. */
void options_set_defaults(struct config *out);

/* Sets one option. how says where the value stands, for messages: "--workers",
 * "SENETD_WORKERS". A text's value must outlive *out. Errors: ERROR_USAGE. */
enum error_code options_set(size_t index, enum config_source source, const char *how,
                            const char *value, struct config *out, struct error *err) MUST_CHECK;

/* The known name that is at most two edits away from a wrong one, or NULL: an option, or one of
 * words[count]. */
const char *options_nearest(const char *name, size_t size, const char *const *words, size_t count);

/* SENETD_MAX_BODY for "max-body". */
#define OPTIONS_VARIABLE_BYTES 64
void options_variable(const char *flag, char out[OPTIONS_VARIABLE_BYTES]);

/* The option's value: as JSON, or as it would be written on the command line. */
void options_write_json(const struct config *config, size_t index, struct writer *w);
void options_write_text(const struct config *config, size_t index, struct writer *w);

#endif
