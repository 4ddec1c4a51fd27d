/* config.h - what file, environment and command line ask for, as one const struct.
 *
 * Every option --some-name VALUE is also the environment variable SENETD_SOME_NAME and the member
 * "some-name" of the JSON file that --config names. The command line wins over the environment,
 * which wins over the file, which wins over the default. CONFIG_OPTIONS below is the only place
 * that names an option: the struct, the parsers, --help and --print-config come from it.
 */
#ifndef SENETD_CONFIG_H
#define SENETD_CONFIG_H

#include "error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Where the model is looked for by default; an installed senetd has it elsewhere. */
#ifndef SENETD_WEIGHTS
#define SENETD_WEIGHTS "weights/demo"
#endif

#define CONFIG_MAX_BATCH 256

/* TEXT(field, flag, default, argument, help)
 * SIZE(field, flag, default, least, most, unit, argument, help): a number with an optional suffix
 * k, m or g, which are powers of unit (1024 for bytes, 1000 for counts)
 * CHOICE(field, flag, default, words, help): one of the words, "off|on"; the field and the default
 * are its place among them, from 0 */
#define CONFIG_OPTIONS(TEXT, SIZE, CHOICE)                                                         \
    TEXT(config, "config", NULL, "PATH", "a JSON file with options: {\"max-body\": \"8m\"}")       \
    TEXT(listen, "listen", "127.0.0.1:8080", "HOST:PORT",                                          \
         "address to serve on; [::1]:8080 for IPv6, :8080 for all, port 0 picks a free one")       \
    TEXT(admin_listen, "admin-listen", "127.0.0.1:8081", "HOST:PORT",                              \
         "second address, for calls that change the daemon; \"off\" for none")                     \
    TEXT(port_file, "port-file", NULL, "PATH", "file to write the port to once it is bound")       \
    TEXT(weights, "weights", SENETD_WEIGHTS, "PATH",                                               \
         "a .safetensors file, or a directory with model.safetensors and config.json")             \
    TEXT(labels, "labels", NULL, "PATH", "class names, one a line; default: those of the model")   \
    TEXT(kernels, "kernels", NULL, "NAME", "compute backend; default: the fastest for this CPU")   \
    CHOICE(precision, "precision", 0, "fp32|bf16|int8|auto",                                       \
           "arithmetic; int8 needs calibrated weights, auto is the fastest that runs here")        \
    SIZE(workers, "workers", 0, 0, 1024, 1000, "N",                                                \
         "inference threads; default: CPUs that affinity and the cgroup quota give")               \
    SIZE(threads, "threads", 0, 0, 1024, 1000, "N",                                                \
         "cores that a lone batch may use; default: all that are given")                           \
    SIZE(decoders, "decoders", 0, 0, 1024, 1000, "N",                                              \
         "decoding threads, each with a process; default: as above")                               \
    SIZE(topk, "topk", 5, 1, 100000, 1000, "K", "classes in an answer that asks for no number")    \
    SIZE(max_body, "max-body", 20u << 20, 1024, 1u << 30, 1024, "BYTES",                           \
         "largest request body; suffix k, m or g")                                                 \
    SIZE(max_images, "max-images", 64, 1, 4096, 1000, "N", "most images in one request")           \
    SIZE(max_pixels, "max-pixels", 50000000, 1024, 1000000000, 1000, "N",                          \
         "largest image, width x height x frames; suffix k, m or g")                               \
    TEXT(formats, "formats", NULL, "LIST", "image formats to accept: jpeg,png; default: all")      \
    CHOICE(exact_decode, "exact-decode", 0, "off|on",                                              \
           "decode every pixel of a JPEG, even where it is much larger than needed")               \
    CHOICE(decoder, "decoder", 0, "sandbox|inline",                                                \
           "where the daemon decodes: in processes that can do nothing else, or in its own")       \
    SIZE(decode_timeout, "decode-timeout", 30, 1, 600, 1000, "S",                                  \
         "seconds after which the decoding of an image is ended")                                  \
    TEXT(user, "user", NULL, "NAME",                                                               \
         "whom root becomes once the sockets are bound: a name, UID or UID:GID")                   \
    CHOICE(seccomp, "seccomp", 0, "on|off",                                                        \
           "forbid the started daemon what it has no use for: programs, writing files ...")        \
    SIZE(max_batch, "max-batch", 0, 0, CONFIG_MAX_BATCH, 1000, "N",                                \
         "most images that a worker runs at once; default: its share of the threads")              \
    SIZE(queue, "queue", 256, 1, 1000000, 1000, "N",                                               \
         "images that may wait before requests are refused with 503")                              \
    TEXT(api_key_file, "api-key-file", NULL, "PATH",                                               \
         "keys, one a line; all but probes of health must show one")                               \
    TEXT(tls_cert, "tls-cert", NULL, "PATH",                                                       \
         "certificate (PEM, intermediates behind it) to serve https with; SIGHUP reads it anew")   \
    TEXT(tls_key, "tls-key", NULL, "PATH", "its key (PEM), which only owner and group may read")   \
    TEXT(cors_origin, "cors-origin", NULL, "ORIGIN",                                               \
         "whose pages may use the service, https://example.org, or * for all; default: none")      \
    SIZE(max_connections, "max-connections", 1000, 1, 100000, 1000, "N",                           \
         "most connections; probes of health get in beyond them")                                  \
    SIZE(max_connections_per_ip, "max-connections-per-ip", 0, 0, 100000, 1000, "N",                \
         "most connections of one IPv4 address or IPv6 /64; 0: no limit")                          \
    SIZE(header_timeout, "header-timeout", 10, 1, 3600, 1000, "S",                                 \
         "seconds for a request's header, however it trickles in")                                 \
    SIZE(idle_timeout, "idle-timeout", 10, 1, 3600, 1000, "S", "seconds between two requests")     \
    SIZE(stall_timeout, "stall-timeout", 10, 1, 3600, 1000, "S",                                   \
         "seconds in which a body, or the reading of an answer, must move at --min-rate")          \
    SIZE(min_rate, "min-rate", 4096, 1, 1u << 30, 1024, "BYTES", "least bytes a second")           \
    CHOICE(log_format, "log-format", 0, "auto|text|json", "auto: text on a terminal")              \
    CHOICE(log_level, "log-level", 0, "info|warn|error", "info has a line for each request")       \
    CHOICE(server_timing, "server-timing", 1, "off|on", "the header with the times of each stage") \
    SIZE(queue_bytes, "queue-bytes", 0, 0, (size_t)1 << 40, 1024, "BYTES",                         \
         "memory for all uploads together; default: 16 times --max-body")                          \
    SIZE(cache_mb, "cache-mb", 0, 0, 1000000, 1000, "MIB",                                         \
         "MiB for results of images seen before; 0: none are kept")                                \
    SIZE(batch_delay_us, "batch-delay-us", 0, 0, 1000000, 1000, "US",                              \
         "microseconds that a free worker waits for a full batch")                                 \
    SIZE(default_deadline_ms, "default-deadline-ms", 0, 0, 86400000, 1000, "MS",                   \
         "a request that says no X-Request-Timeout-Ms is dropped if not begun by then; 0: never")  \
    SIZE(drain_delay, "drain-delay", 0, 0, 3600, 1000, "S",                                        \
         "after SIGTERM: seconds of serving on with readiness off")                                \
    SIZE(drain_timeout, "drain-timeout", 25, 0, 3600, 1000, "S",                                   \
         "after that: seconds for what was accepted")                                              \
    SIZE(batch, "batch", 1, 1, 256, 1000, "N", "bench: images in a run")                           \
    SIZE(seconds, "seconds", 5, 1, 86400, 1000, "S", "bench: how long")                            \
    CHOICE(layers, "layers", 0, "off|on", "bench: a table of the operations too")                  \
    TEXT(calibrate, "calibrate", NULL, "DIR", "quantize: photos to calibrate on")                  \
    CHOICE(calibration, "calibration", 0, "mse|entropy|percentile|max",                            \
           "quantize: how the largest value of a layer's input is chosen")                         \
    TEXT(images, "images", NULL, "DIR", "profile: photos, in a folder for each class or without")  \
    TEXT(source, "source", NULL, "TEXT", "profile: what the photos are; default: the directory")   \
    TEXT(classes, "classes", NULL, "DIR", "plot: photos in a folder for each class")               \
    SIZE(limit, "limit", 0, 0, 1000000, 1000, "N",                                                 \
         "profile, plot, quantize: most photos of a folder; default: all")                         \
    TEXT(output, "output", NULL, "PATH",                                                           \
         "profile, plot: file to write; quantize: directory; also -o PATH")

enum command {
    COMMAND_SERVE,        /* the daemon */
    COMMAND_CLASSIFY,     /* files from the command line, no server */
    COMMAND_BENCH,        /* time the network */
    COMMAND_PROFILE,      /* reference statistics of photos' excitations */
    COMMAND_PLOT,         /* figures of excitations */
    COMMAND_QUANTIZE,     /* calibrate the weights for int8 */
    COMMAND_HEALTH,       /* ask the running daemon whether it is ready */
    COMMAND_CHECK,        /* load, run once, print the model's facts */
    COMMAND_PRINT_CONFIG, /* every option's value and where it comes from */
    COMMAND_CHECK_CONFIG, /* whether the daemon would accept its options */
    COMMAND_HELP,
    COMMAND_VERSION,
};

enum config_source {
    CONFIG_DEFAULT,
    CONFIG_FILE,
    CONFIG_ENVIRONMENT,
    CONFIG_COMMAND_LINE,
};

enum {
#define CONFIG_COUNT_TEXT(field, flag, value, argument, help)                    CONFIG_HAS_##field,
#define CONFIG_COUNT_SIZE(field, flag, value, least, most, unit, argument, help) CONFIG_HAS_##field,
#define CONFIG_COUNT_CHOICE(field, flag, value, words, help)                     CONFIG_HAS_##field,
    CONFIG_OPTIONS(CONFIG_COUNT_TEXT, CONFIG_COUNT_SIZE, CONFIG_COUNT_CHOICE)
#undef CONFIG_COUNT_TEXT
#undef CONFIG_COUNT_SIZE
#undef CONFIG_COUNT_CHOICE
        CONFIG_OPTION_COUNT
};

struct config {
    enum command command;
    bool json;          /* classify, bench, --print-config: JSON even on a terminal */
    bool live;          /* health: whether it lives, not whether it is ready */
    char *const *files; /* [file_count], classify's and plot's, in argv's memory */
    size_t file_count;
#define CONFIG_TEXT(field, flag, value, argument, help)                    const char *field;
#define CONFIG_SIZE(field, flag, value, least, most, unit, argument, help) size_t field;
#define CONFIG_CHOICE(field, flag, value, words, help)                     size_t field;
    CONFIG_OPTIONS(CONFIG_TEXT, CONFIG_SIZE, CONFIG_CHOICE)
#undef CONFIG_TEXT
#undef CONFIG_SIZE
#undef CONFIG_CHOICE
    enum config_source sources[CONFIG_OPTION_COUNT];
    void *document; /* memory of the file, which texts point into; owned */
};

/* Fills *out from all sources. Texts point into argv, the environment and out->document; *out is
 * released by config_free, also after an error. argv is permuted: file names to its end.
 * Errors: ERROR_USAGE, the message names the option, its source and what is expected; ERROR_IO
 * where the file cannot be read. */
enum error_code config_parse(int argc, char **argv, struct config *out,
                             struct error *err) MUST_CHECK;

void config_free(struct config *config);

/* Every option's value and source: a table, or a JSON object. */
void config_print(const struct config *config, bool json, FILE *to);

/* The text of --help. */
void config_help(FILE *to);

#endif
