/* body.c - see body.h. */
#include "body.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_BYTES ((size_t)64 << 10)

/* At least doubles, so that a long body is copied few times, but not past the cap. */
static size_t next_capacity(const struct body *body, size_t needed, size_t cap)
{
    size_t capacity = body->capacity > 0 ? 2 * body->capacity : FIRST_BYTES;
    if (capacity > cap)
        capacity = cap;
    return capacity > needed ? capacity : needed;
}

static enum error_code grow(struct body *body, struct body_budget *budget, size_t needed,
                            struct error *err)
{
    size_t capacity = next_capacity(body, needed, budget->cap);
    size_t more = capacity - body->capacity;
    if (atomic_fetch_add(&budget->used, more) + more > budget->most) {
        atomic_fetch_sub(&budget->used, more);
        return error_set(err, ERROR_OVERLOADED, "too many uploads at once");
    }
    uint8_t *grown = realloc(body->bytes, capacity);
    if (grown == NULL) {
        atomic_fetch_sub(&budget->used, more);
        return error_set(err, ERROR_MEMORY, "no memory for the body");
    }
    body->bytes = grown;
    body->capacity = capacity;
    return ERROR_NONE;
}

enum error_code body_append(struct body *body, struct body_budget *budget, const void *data,
                            size_t size, struct error *err)
{
    if (size > budget->cap - body->size)
        return error_set(err, ERROR_TOO_LARGE, "the body has more than %zu bytes", budget->cap);
    if (size > body->capacity - body->size)
        TRY(grow(body, budget, body->size + size, err));
    if (size > 0)
        memcpy(body->bytes + body->size, data, size);
    body->size += size;
    return ERROR_NONE;
}

void body_free(struct body *body, struct body_budget *budget)
{
    free(body->bytes);
    atomic_fetch_sub(&budget->used, body->capacity);
    *body = (struct body){0};
}
