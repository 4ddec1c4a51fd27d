/* tensors.c - see tensors.h. The header's JSON is jansson's. */
#include "tensors.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

size_t tensors_bytes(const struct tensors_item *item)
{
    size_t bytes = strtoul(item->dtype + strcspn(item->dtype, "0123456789"), NULL, 10) / 8;
    for (size_t i = 0; i < item->rank; i++)
        bytes *= item->shape[i];
    return bytes;
}

static json_t *entry(const struct tensors_item *item, size_t begin)
{
    size_t end = begin + tensors_bytes(item);
    json_t *shape = json_array();
    for (size_t i = 0; i < item->rank; i++)
        json_array_append_new(shape, json_integer((json_int_t)item->shape[i]));
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", item->dtype, "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)end);
}

static char *write_json(const struct tensors_item *items, size_t count,
                        const struct tensors_note *notes, size_t note_count)
{
    json_t *header = json_object(), *metadata = json_object();
    bool whole = true;
    for (size_t i = 0; i < note_count; i++)
        whole =
            json_object_set_new(metadata, notes[i].key, json_string(notes[i].value)) == 0 && whole;
    if (note_count > 0)
        whole = json_object_set(header, "__metadata__", metadata) == 0 && whole;
    size_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        whole = json_object_set_new(header, items[i].name, entry(&items[i], offset)) == 0 && whole;
        offset += tensors_bytes(&items[i]);
    }
    char *text = whole ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(metadata);
    json_decref(header);
    return text;
}

enum error_code tensors_head(const struct tensors_item *items, size_t count,
                             const struct tensors_note *notes, size_t note_count, char **out,
                             size_t *size, struct error *err)
{
    char *text = write_json(items, count, notes, note_count);
    size_t length = text ? (strlen(text) + 7) / 8 * 8 : 0;
    *out = text ? malloc(8 + length) : NULL;
    if (!*out) {
        free(text);
        return error_set(err, ERROR_MEMORY, "no memory for the head of %zu tensors", count);
    }
    for (size_t i = 0; i < 8; i++)
        (*out)[i] = (char)(uint64_t)(length >> 8 * i);
    memset(*out + 8, ' ', length);
    memcpy(*out + 8, text, strlen(text));
    *size = 8 + length;
    free(text);
    return ERROR_NONE;
}

enum error_code tensors_write(const char *path, const struct tensors_item *items, size_t count,
                              const struct tensors_note *notes, size_t note_count,
                              struct error *err)
{
    char *head, beside[4200];
    size_t size;
    TRY(tensors_head(items, count, notes, note_count, &head, &size, err));
    snprintf(beside, sizeof beside, "%s.new", path);
    FILE *file = fopen(beside, "wbe");
    bool whole = file && fwrite(head, 1, size, file) == size;
    free(head);
    if (!file)
        return error_set(err, ERROR_IO, "cannot write '%s': %s", beside, strerror(errno));
    for (size_t i = 0; i < count && whole; i++) {
        size_t bytes = tensors_bytes(&items[i]);
        whole = fwrite(items[i].data, 1, bytes, file) == bytes;
    }
    whole = fflush(file) == 0 && whole;
    whole = fsync(fileno(file)) == 0 && whole;
    whole = fclose(file) == 0 && whole;
    if (whole && rename(beside, path) == 0)
        return ERROR_NONE;
    int cause = errno;
    unlink(beside);
    return error_set(err, ERROR_IO, "cannot write '%s': %s", path, strerror(cause));
}

uint16_t tensors_half(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t exponent = bits >> 23 & 0xff, mantissa = (bits & 0x7fffff) | 0x800000;
    if (exponent < 102)
        return 0; /* under half of the smallest subnormal */
    /* The value is mantissa * 2^(exponent - 150); a half's unit is at least 2^-24. */
    uint32_t shift = exponent < 113 ? 126 - exponent : 13;
    uint32_t kept = mantissa >> shift, rest = mantissa & ((1u << shift) - 1),
             half = 1u << (shift - 1);
    kept += rest > half || (rest == half && (kept & 1));
    return (uint16_t)(exponent < 113 ? kept : kept - 0x400 + ((exponent - 112) << 10));
}
