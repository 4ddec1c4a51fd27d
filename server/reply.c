/* reply.c - see reply.h.
 *
 * Gates carry 5 significant digits and scores 6: more than float noise between backends, and short
 * enough for 15,104 values in about 119 KB.
 */
#include "reply.h"
#include "gates.h"
#include "relative.h"

#include <stdlib.h>
#include <string.h>

#define GATE_DIGITS  5
#define SCORE_DIGITS 6
#define TIME_DIGITS  5

unsigned reply_status(enum error_code code)
{
    switch (code) {
    case ERROR_NONE:
        return 200;
    case ERROR_USAGE:
        return 400;
    case ERROR_NOT_FOUND:
        return 404;
    case ERROR_TOO_LARGE:
        return 413;
    case ERROR_UNKNOWN_FORMAT:
        return 415;
    case ERROR_UNDECODABLE:
        return 422;
    case ERROR_LOADING:
    case ERROR_OVERLOADED:
    case ERROR_DRAINING:
    case ERROR_ABANDONED:
    case ERROR_MEMORY:
        return 503;
    case ERROR_DEADLINE:
        return 504;
    case ERROR_WEIGHTS:
    case ERROR_IO:
    case ERROR_INTERNAL:
        return 500;
    }
    return 500;
}

const char *reply_title(unsigned status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 411:
        return "Length Required";
    case 413:
        return "Content Too Large";
    case 415:
        return "Unsupported Media Type";
    case 417:
        return "Expectation Failed";
    case 422:
        return "Unprocessable Content";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Internal Server Error";
    }
}

void reply_problem(struct writer *w, unsigned status, const char *name, const char *detail,
                   const char *id)
{
    writer_open(w, '{');
    writer_key(w, "type");
    writer_format(w, "\"urn:senetd:problem:%s\"", name);
    writer_key_string(w, "title", reply_title(status));
    writer_key_integer(w, "status", status);
    writer_key_string(w, "detail", detail);
    if (id != NULL)
        writer_key_string(w, "instance", id);
    writer_close(w, '}');
}

void reply_model_member(struct writer *w, const struct senet_info *info)
{
    writer_key(w, "model");
    writer_open(w, '{');
    writer_key_string(w, "name", info->name);
    writer_key_string(w, "sha256", info->sha256);
    writer_key_integer(w, "classes", info->classes);
    writer_key_string(w, "precision", info->precision);
    writer_close(w, '}');
}

void reply_block_members(struct writer *w, const struct senet *model, size_t index)
{
    const struct senet_block *block = senet_block(model, index);
    writer_key_integer(w, "layer", index);
    writer_key_string(w, "name", block->name);
    writer_key_string(w, "paper_name", block->paper_name);
    writer_key_integer(w, "stage", block->stage);
    writer_key_integer(w, "block", block->block);
    writer_key_integer(w, "channels", block->channels);
}

static void write_gate_statistics(struct writer *w, const float *values, size_t count)
{
    const struct gates gates = gates_of(values, count);
    writer_key_number(w, "mean", gates.mean, GATE_DIGITS);
    writer_key_number(w, "std", gates.deviation, GATE_DIGITS);
    writer_key_number(w, "min", (double)gates.least, GATE_DIGITS);
    writer_key_number(w, "max", (double)gates.most, GATE_DIGITS);
    writer_key_number(w, "saturated_low", (double)gates.low / (double)count, GATE_DIGITS);
    writer_key_number(w, "saturated_high", (double)gates.high / (double)count, GATE_DIGITS);
}

void reply_excitations_member(struct writer *w, const struct senet *model, const float *excitations,
                              const struct selection *selection)
{
    if (selection->detail == DETAIL_NONE)
        return;
    const struct senet_info *info = senet_info(model);
    writer_key(w, "excitations");
    writer_open(w, '[');
    for (size_t i = 0; i < info->blocks; i++) {
        if (selection->blocks != NULL && !selection->blocks[i])
            continue;
        const struct senet_block *block = senet_block(model, i);
        const float *gates = excitations + block->offset;
        writer_open(w, '{');
        reply_block_members(w, model, i);
        write_gate_statistics(w, gates, block->channels);
        if (selection->reference != NULL)
            relative_members(w, selection->reference, block, gates,
                             selection->detail == DETAIL_FULL);
        if (selection->detail == DETAIL_FULL) {
            writer_reserve(w, block->channels * 10 + 32);
            writer_key(w, "values");
            writer_floats(w, gates, block->channels, GATE_DIGITS);
        }
        writer_close(w, '}');
    }
    writer_close(w, ']');
}

void reply_top_k(struct writer *w, const struct senet *model, const float *logits, size_t k)
{
    size_t classes = senet_info(model)->classes;
    if (k > classes)
        k = classes;
    struct senet_top *top = calloc(k, sizeof *top);
    if (top == NULL) {
        w->failed = true;
        return;
    }
    senet_top_k(logits, classes, k, top);
    writer_key(w, "top_k");
    writer_open(w, '[');
    for (size_t i = 0; i < k; i++) {
        writer_open(w, '{');
        writer_key_integer(w, "index", top[i].index);
        writer_key_string(w, "label", senet_label(model, top[i].index));
        writer_key_number(w, "probability", (double)top[i].probability, SCORE_DIGITS);
        writer_key_number(w, "logit", (double)top[i].logit, SCORE_DIGITS);
        writer_close(w, '}');
    }
    writer_close(w, ']');
    free(top);
}

void reply_result(struct writer *w, const struct senet *model, const struct batch_image *image,
                  const char *filename, const struct selection *selection)
{
    writer_open(w, '{');
    writer_key_string(w, "filename", filename);
    if (image->error.code != ERROR_NONE) {
        writer_key(w, "error");
        reply_problem(w, reply_status(image->error.code), error_name(image->error.code),
                      image->error.message, NULL);
    } else {
        writer_key_string(w, "format", image_format_name(image->format));
        writer_key_integer(w, "width", image->width);
        writer_key_integer(w, "height", image->height);
        if (image->cache == CACHE_HIT) {
            writer_key(w, "cached");
            writer_bool(w, true);
        }
        if (selection->topk > 0)
            reply_top_k(w, model, image->logits, selection->topk);
        reply_excitations_member(w, model, image->excitations, selection);
    }
    writer_close(w, '}');
}

/* The image whose run began first of those that ended after `end`, or NULL. */
static const struct batch_image *next_run(const struct batch_image *images, size_t count,
                                          int64_t end)
{
    const struct batch_image *next = NULL;
    for (size_t i = 0; i < count; i++)
        if (images[i].run != 0 && images[i].run_begin_ns + images[i].inference_ns > end &&
            (next == NULL || images[i].run_begin_ns < next->run_begin_ns))
            next = &images[i];
    return next;
}

/* The time in which at least one run was under way: workers run side by side. */
static int64_t time_in_runs(const struct batch_image *images, size_t count)
{
    int64_t sum = 0, end = 0;
    for (const struct batch_image *run; (run = next_run(images, count, end)) != NULL;) {
        int64_t begin = run->run_begin_ns > end ? run->run_begin_ns : end;
        end = run->run_begin_ns + run->inference_ns;
        sum += end - begin;
    }
    return sum;
}

static double milliseconds(int64_t ns)
{
    return (double)ns / 1e6;
}

struct reply_times reply_sum_times(const struct batch_image *images, size_t count)
{
    struct reply_times sum = {0};
    for (size_t i = 0; i < count; i++) {
        sum.decode_ns += images[i].decode_ns;
        sum.preprocess_ns += images[i].preprocess_ns;
        if (images[i].queue_ns > sum.queue_ns)
            sum.queue_ns = images[i].queue_ns;
        if (images[i].run != 0 && images[i].batch_size > sum.batch_size)
            sum.batch_size = images[i].batch_size;
    }
    sum.inference_ns = time_in_runs(images, count);
    return sum;
}

void reply_timing_members(struct writer *w, const struct batch_image *images, size_t count,
                          int64_t total_ns)
{
    struct reply_times sum = reply_sum_times(images, count);
    writer_key(w, "timing_ms");
    writer_open(w, '{');
    writer_key_number(w, "decode", milliseconds(sum.decode_ns), TIME_DIGITS);
    writer_key_number(w, "preprocess", milliseconds(sum.preprocess_ns), TIME_DIGITS);
    writer_key_number(w, "queue", milliseconds(sum.queue_ns), TIME_DIGITS);
    writer_key_number(w, "inference", milliseconds(sum.inference_ns), TIME_DIGITS);
    writer_key_number(w, "total", milliseconds(total_ns), TIME_DIGITS);
    writer_close(w, '}');
    writer_key_integer(w, "batch_size", sum.batch_size);
}

/* The name, and milliseconds with three decimals; returns the end. Not by printf, which after an
 * inference is in no cache, and takes longer to come from memory than to run. */
static char *put_stage(char *at, const char *name, int64_t ns)
{
    char digits[20];
    size_t begin = sizeof digits;
    uint64_t us = ((uint64_t)ns + 500) / 1000;
    for (size_t written = 0; written < 4 || us > 0; written++, us /= 10) {
        digits[--begin] = (char)('0' + us % 10);
        if (written == 2)
            digits[--begin] = '.';
    }
    at = stpcpy(at, name);
    memcpy(at, digits + begin, sizeof digits - begin);
    return at + (sizeof digits - begin);
}

void reply_server_timing(char out[REPLY_TIMING_BYTES], const struct batch_image *images,
                         size_t count, int64_t serialize_ns)
{
    struct reply_times sum = reply_sum_times(images, count);
    out = put_stage(out, "decode;dur=", sum.decode_ns);
    out = put_stage(out, ", preprocess;dur=", sum.preprocess_ns);
    out = put_stage(out, ", queue;dur=", sum.queue_ns);
    out = put_stage(out, ", infer;dur=", sum.inference_ns);
    *put_stage(out, ", serialize;dur=", serialize_ns) = '\0';
}
