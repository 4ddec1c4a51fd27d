/* keys.c - see keys.h. */
#include "keys.h"

#include <errno.h>
#include <nettle/memops.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MOST_KEYS 10000

/* Padded with zeros, behind its size: two keys are the same where all of it is. */
struct key {
    uint8_t size;
    uint8_t bytes[KEYS_MOST_BYTES];
};

struct keys {
    size_t count;
    struct key *all; /* [count] */
};

static bool pad(const char *text, size_t size, struct key *out)
{
    *out = (struct key){0};
    if (size > KEYS_MOST_BYTES)
        return false;
    out->size = (uint8_t)size;
    memcpy(out->bytes, text, size);
    return true;
}

/* The line without its end and blanks around it is a key, or nothing. */
static enum error_code add_line(struct keys *keys, const char *path, size_t number, char *line,
                                struct error *err)
{
    line += strspn(line, " \t\r\n");
    size_t size = strcspn(line, " \t\r\n");
    if (size == 0 || *line == '#')
        return ERROR_NONE;
    if (line[size + strspn(line + size, " \t\r\n")] != '\0')
        return error_set(err, ERROR_USAGE, "%s: line %zu holds more than one word", path, number);
    if (size < KEYS_LEAST_BYTES || size > KEYS_MOST_BYTES)
        return error_set(err, ERROR_USAGE,
                         "%s: the key in line %zu has %zu bytes, expected %d to %d", path, number,
                         size, KEYS_LEAST_BYTES, KEYS_MOST_BYTES);
    if (keys->count == MOST_KEYS)
        return error_set(err, ERROR_TOO_LARGE, "%s: more than %d keys", path, MOST_KEYS);
    struct key *grown = realloc(keys->all, (keys->count + 1) * sizeof *grown);
    if (grown == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for the API keys");
    keys->all = grown;
    pad(line, size, &grown[keys->count++]);
    return ERROR_NONE;
}

enum error_code keys_load(const char *path, struct keys **out, struct error *err)
{
    char line[1024];
    size_t number = 0;
    enum error_code code = ERROR_NONE;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return error_set(err, ERROR_IO, "cannot read the API keys in '%.200s': %s", path,
                         strerror(errno));
    struct keys *keys = calloc(1, sizeof *keys);
    if (keys == NULL)
        code = error_set(err, ERROR_MEMORY, "no memory for the API keys");
    while (code == ERROR_NONE && fgets(line, sizeof line, file) != NULL)
        code = add_line(keys, path, ++number, line, err);
    if (code == ERROR_NONE && ferror(file))
        code = error_set(err, ERROR_IO, "cannot read the API keys in '%.200s'", path);
    if (code == ERROR_NONE && keys->count == 0)
        code = error_set(err, ERROR_USAGE, "%s: no key in it", path);
    fclose(file);
    if (code != ERROR_NONE) {
        keys_free(keys);
        return code;
    }
    *out = keys;
    return ERROR_NONE;
}

void keys_free(struct keys *keys)
{
    if (keys == NULL)
        return;
    free(keys->all);
    free(keys);
}

static bool is_known(const struct keys *keys, const char *text)
{
    struct key shown;
    int found = 0;
    if (text == NULL || !pad(text, strlen(text), &shown))
        return false;
    for (size_t i = 0; i < keys->count; i++)
        found |= memeql_sec(&keys->all[i], &shown, sizeof shown);
    return found != 0;
}

bool keys_accept(const struct keys *keys, const char *authorization, const char *x_api_key)
{
    static const char scheme[] = "Bearer ";
    const char *bearer = NULL;
    if (authorization != NULL && strncasecmp(authorization, scheme, sizeof scheme - 1) == 0)
        bearer = authorization + sizeof scheme - 1 + strspn(authorization + sizeof scheme - 1, " ");
    return is_known(keys, bearer) || is_known(keys, x_api_key);
}
