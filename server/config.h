/* config.h - what the command line and the environment ask for, as one const struct.
 *
 * Every option --some-name VALUE is also the environment variable SENETD_SOME_NAME; the command
 * line wins over the environment, which wins over the default. OPTIONS below is the only place
 * that names an option: the struct, the parser and --help come from it.
 */
#ifndef SENETD_CONFIG_H
#define SENETD_CONFIG_H

#include "error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* TEXT(field, flag, default, argument, help)
 * SIZE(field, flag, default, least, most, unit, argument, help): a number with an optional suffix
 * k, m or g, which are powers of unit (1024 for bytes, 1000 for counts) */
#define CONFIG_OPTIONS(TEXT, SIZE)                                                                 \
    TEXT(listen, "listen", "127.0.0.1:8080", "HOST:PORT",                                          \
         "address to serve on; [::1]:8080 for IPv6, :8080 for all, port 0 picks a free one")       \
    TEXT(port_file, "port-file", NULL, "PATH", "file to write the port to once it is bound")       \
    TEXT(weights, "weights", "weights/demo", "PATH",                                               \
         "a .safetensors file, or a directory with model.safetensors and config.json")             \
    TEXT(labels, "labels", NULL, "PATH", "class names, one a line; default: those of the model")   \
    TEXT(kernels, "kernels", NULL, "NAME", "compute backend; default: the fastest for this CPU")   \
    SIZE(workers, "workers", 0, 0, 1024, 1000, "N",                                                \
         "inference threads; default: CPUs that affinity and the cgroup quota give")               \
    SIZE(threads, "threads", 0, 0, 1024, 1000, "N",                                                \
         "cores that a lone batch may use; default: all that are given")                           \
    SIZE(decoders, "decoders", 0, 0, 1024, 1000, "N", "decoding threads; default: as above")       \
    SIZE(topk, "topk", 5, 1, 100000, 1000, "K", "classes in an answer that asks for no number")    \
    SIZE(max_body, "max-body", 20u << 20, 1024, 1u << 30, 1024, "BYTES",                           \
         "largest request body; suffix k, m or g")                                                 \
    SIZE(max_images, "max-images", 64, 1, 4096, 1000, "N", "most images in one request")           \
    SIZE(max_pixels, "max-pixels", 50000000, 1024, 1000000000, 1000, "N",                          \
         "largest image in pixels; suffix k, m or g")                                              \
    SIZE(max_batch, "max-batch", 8, 1, 256, 1000, "N", "most images that a worker runs at once")   \
    SIZE(queue, "queue", 256, 1, 1000000, 1000, "N",                                               \
         "images that may wait before requests are refused with 503")                              \
    SIZE(batch, "batch", 1, 1, 256, 1000, "N", "bench: images in a run")                           \
    SIZE(seconds, "seconds", 5, 1, 86400, 1000, "S", "bench: how long")

enum command {
    COMMAND_SERVE,    /* the daemon */
    COMMAND_CLASSIFY, /* files from the command line, no server */
    COMMAND_BENCH,    /* time the network */
    COMMAND_CHECK,    /* load, run once, print the model's facts */
    COMMAND_HELP,
    COMMAND_VERSION,
};

struct config {
    enum command command;
    bool json;          /* classify, bench: JSON even on a terminal */
    char *const *files; /* [file_count], classify's, in argv's memory */
    size_t file_count;
#define CONFIG_TEXT(field, flag, value, argument, help)                    const char *field;
#define CONFIG_SIZE(field, flag, value, least, most, unit, argument, help) size_t field;
    CONFIG_OPTIONS(CONFIG_TEXT, CONFIG_SIZE)
#undef CONFIG_TEXT
#undef CONFIG_SIZE
};

/* Fills *out from the arguments, the environment and the defaults. Strings point into argv and
 * the environment. argv is permuted: file names to its end.
 * Errors: ERROR_USAGE, the message names the option, its source and what is expected. */
enum error_code config_parse(int argc, char **argv, struct config *out,
                             struct error *err) MUST_CHECK;

/* The text of --help. */
void config_help(FILE *to);

#endif
