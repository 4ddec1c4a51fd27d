/* exchange.c - see exchange.h. */
#include "exchange.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static bool is_plain(const char *id)
{
    size_t size = strlen(id);
    for (size_t i = 0; i < size; i++)
        if (!isalnum((unsigned char)id[i]) && strchr("._-", id[i]) == NULL)
            return false;
    return size > 0 && size < ATTENTION_ID_BYTES;
}

void exchange_set_id(struct exchange *exchange, const char *given)
{
    if (given != NULL && is_plain(given)) {
        memcpy(exchange->id, given, strlen(given) + 1);
        return;
    }
    unsigned char random[16] = {0};
    ssize_t filled = getrandom(random, sizeof random, 0); /* never short for so few bytes */
    (void)filled;
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < 2 * sizeof random; i++)
        exchange->id[i] = hex[random[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15];
    exchange->id[2 * sizeof random] = '\0';
}

enum error_code exchange_acquire_model(struct exchange *exchange, struct error *err)
{
    exchange->model = models_acquire(exchange->service->models);
    return exchange->model != NULL ? ERROR_NONE : exchange_no_model(exchange, err);
}

enum error_code exchange_no_model(const struct exchange *exchange, struct error *err)
{
    if (models_unloaded(exchange->service->models))
        return error_set(err, ERROR_LOADING, "the model is unloaded");
    return error_set(err, ERROR_LOADING, "the model is being loaded");
}

void exchange_release_model(struct exchange *exchange)
{
    models_release(exchange->service->models, exchange->model);
    exchange->model = NULL;
}

/* 00-<32 hex>-<16 hex>-<2 hex>, lower case; all zeros is no id, ff no version. A later version may
 * go on behind another '-'. */
void exchange_set_trace(struct exchange *exchange, const char *given)
{
    static const char shape[] = "hh-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh-hhhhhhhhhhhhhhhh-hh";
    size_t size = sizeof shape - 1;
    if (given == NULL || strlen(given) < size)
        return;
    for (size_t i = 0; i < size; i++)
        if (shape[i] == '-' ? given[i] != '-' : strchr("0123456789abcdef", given[i]) == NULL)
            return;
    bool goes_on = given[size] == '-' && strncmp(given, "00", 2) != 0;
    if ((given[size] != '\0' && !goes_on) || strncmp(given, "ff", 2) == 0 ||
        strspn(given + 3, "0") == 32 || strspn(given + 36, "0") == 16)
        return;
    memcpy(exchange->trace, given, size);
    exchange->trace[size] = '\0';
}

/* The urgency of a Priority header, 3 where it has none: a list of "key" and "key=value". */
static int urgency(const char *priority)
{
    for (const char *at = priority; at != NULL; at = strchr(at, ',')) {
        at += strspn(at, ", \t");
        if (at[0] == 'u' && at[1] == '=' && at[2] >= '0' && at[2] <= '7' &&
            !isdigit((unsigned char)at[3]))
            return at[2] - '0';
    }
    return 3;
}

enum error_code exchange_set_limits(struct exchange *exchange, const char *timeout_ms,
                                    const char *priority, struct error *err)
{
    uint64_t ms = exchange->service->config->default_deadline_ms;
    exchange->deadline_ns = ms > 0 ? exchange->headers_ns + (int64_t)ms * 1000000 : 0;
    int u = urgency(priority);
    exchange->priority = u < 3 ? PRIORITY_HIGH : u > 3 ? PRIORITY_LOW : PRIORITY_NORMAL;
    if (timeout_ms != NULL) {
        size_t digits = strspn(timeout_ms, "0123456789");
        if (digits == 0 || digits > 9 || timeout_ms[digits] != '\0')
            return error_set(err, ERROR_USAGE,
                             "X-Request-Timeout-Ms is '%.40s', expected whole milliseconds",
                             timeout_ms);
        exchange->deadline_ns = exchange->headers_ns + strtoll(timeout_ms, NULL, 10) * 1000000;
    }
    return ERROR_NONE;
}

const char *exchange_cache_status(const struct exchange *exchange)
{
    const struct job *job = exchange->job;
    size_t hits = 0, misses = 0;
    for (size_t i = 0; job != NULL && i < job->count; i++) {
        hits += job->images[i].cache == CACHE_HIT;
        misses += job->images[i].cache == CACHE_MISS;
    }
    return misses > 0 ? "senetd; fwd=miss" : hits > 0 ? "senetd; hit" : NULL;
}
