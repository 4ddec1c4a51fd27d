/* exchange.c - see exchange.h. */
#include "exchange.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
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
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(exchange->id + 2 * i, 3, "%02x", random[i]);
}

enum error_code exchange_acquire_model(struct exchange *exchange, struct error *err)
{
    exchange->model = models_acquire(exchange->service->models);
    if (exchange->model == NULL)
        return error_set(err, ERROR_LOADING, "the model is being loaded");
    return ERROR_NONE;
}

void exchange_release_model(struct exchange *exchange)
{
    models_release(exchange->service->models, exchange->model);
    exchange->model = NULL;
}
