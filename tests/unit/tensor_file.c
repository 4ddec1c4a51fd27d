/* tensor_file.c - see tensor_file.h. */
#include "tensor_file.h"
#include "safetensors.h"
#include <assert.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put_length(uint8_t *out, uint64_t length)
{
    for (size_t i = 0; i < 8; i++)
        out[i] = (uint8_t)(length >> (8 * i));
}

uint8_t *tensor_file_raw(const char *header, size_t data_bytes, size_t *size)
{
    size_t length = strlen(header);
    *size = 8 + length + data_bytes;
    uint8_t *bytes = malloc(*size);
    assert(bytes);
    put_length(bytes, length);
    memcpy(bytes + 8, header, length);
    memset(bytes + 8 + length, 0x3c, data_bytes);
    return bytes;
}

static bool named(const char *wanted, const char *name)
{
    return wanted && strcmp(wanted, name) == 0;
}

static void describe(json_t *header, const char *name, const char *dtype, json_t *shape,
                     size_t begin, size_t end)
{
    json_t *entry = json_pack("{s:s, s:o, s:[I,I]}", "dtype", dtype, "shape", shape, "data_offsets",
                              (json_int_t)begin, (json_int_t)end);
    assert(entry && json_object_set_new(header, name, entry) == 0);
}

static json_t *shape_of(const struct tensor *tensor, bool flat)
{
    json_t *shape = json_array();
    if (flat)
        json_array_append_new(shape, json_integer((json_int_t)tensor->count));
    for (size_t i = 0; i < tensor->rank && !flat; i++)
        json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i]));
    return shape;
}

/* Adds one tensor to header and data; returns the new end of the data. */
static size_t copy_tensor(const struct tensor *tensor, const struct edit *edit, json_t *header,
                          uint8_t *data, size_t end)
{
    const char *name = named(edit->rename, tensor->name) ? edit->rename_to : tensor->name;
    const char *dtype = named(edit->dtype_of, tensor->name) ? edit->dtype : tensor->dtype;
    describe(header, name, dtype, shape_of(tensor, named(edit->flatten, tensor->name)), end,
             end + tensor->bytes);
    memcpy(data + end, tensor->data, tensor->bytes);
    if (named(edit->poke, tensor->name)) {
        assert(edit->element < tensor->count);
        memcpy(data + end + 4 * edit->element, &edit->value, sizeof edit->value);
    }
    return end + tensor->bytes;
}

void tensor_file_copy(const char *from, const char *to, const struct edit *edit)
{
    static const struct edit none;
    struct safetensors *source = NULL;
    if (!edit)
        edit = &none;
    enum error_code code = safetensors_open(from, &source, NULL);
    assert(code == ERROR_NONE);
    (void)code;
    size_t size, end = 0;
    safetensors_bytes(source, &size);
    uint8_t *data = malloc(size + 8);
    json_t *header = json_object();
    assert(data && header);
    for (size_t i = 0; i < safetensors_count(source); i++)
        if (!named(edit->drop, safetensors_at(source, i)->name))
            end = copy_tensor(safetensors_at(source, i), edit, header, data, end);
    if (edit->add) {
        describe(header, edit->add, "F32", json_pack("[i]", 2), end, end + 8);
        memset(data + end, 0, 8);
        end += 8;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    uint8_t length[8];
    put_length(length, strlen(text));
    FILE *file = fopen(to, "wb");
    assert(text && file);
    size_t written = fwrite(length, 1, 8, file) + fwrite(text, 1, strlen(text), file) +
                     fwrite(data, 1, end, file);
    assert(written == 8 + strlen(text) + end);
    (void)written;
    fclose(file);
    free(text);
    free(data);
    json_decref(header);
    safetensors_close(source);
}
