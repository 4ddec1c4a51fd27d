/* safetensors.c - see safetensors.h.
 *
 * The file is read into memory, not mapped: who truncates a mapped file kills the process that
 * reads it. Its JSON header is parsed by jansson (which rejects duplicate names), and each
 * entry checked: known dtype, shape of sane rank, offsets in range and of exactly the size that
 * shape and dtype ask for. Sorted by offset the tensors must then cover the data without overlap
 * or hole, as the format demands.
 */
#include "safetensors.h"
#include "json_pool.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_MAX_BYTES (16u << 20) /* more than as many tensors need */
#define TENSORS_MAX      100000u

struct safetensors {
    const uint8_t *bytes;
    size_t size;
    bool mapped; /* bytes is ours to unmap */
    const json_t *header;
    void *header_memory;
    struct tensor *tensors; /* [count], by name */
    size_t count;
};

static const struct dtype {
    char name[12];
    size_t bytes;
} dtypes[] = {{"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F64", 8},     {"I64", 8},
              {"I32", 4}, {"I16", 2}, {"I8", 1},   {"U64", 8},     {"U32", 4},
              {"U16", 2}, {"U8", 1},  {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};

static const struct dtype *find_dtype(const char *name)
{
    for (size_t i = 0; name && i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].name, name) == 0)
            return &dtypes[i];
    return NULL;
}

/* Reads a JSON array of non-negative integers; false where it is anything else or too long. */
static bool read_sizes(const json_t *array, size_t *out, size_t most, size_t *count)
{
    if (!json_is_array(array) || json_array_size(array) > most)
        return false;
    *count = json_array_size(array);
    for (size_t i = 0; i < *count; i++) {
        const json_t *item = json_array_get(array, i);
        if (!json_is_integer(item) || json_integer_value(item) < 0)
            return false;
        out[i] = (size_t)json_integer_value(item);
    }
    return true;
}

static enum error_code read_entry(const char *file, const char *name, const json_t *entry,
                                  const uint8_t *data, size_t data_bytes, struct tensor *tensor,
                                  struct error *err)
{
    const char *dtype_name = json_string_value(json_object_get(entry, "dtype"));
    const struct dtype *dtype = find_dtype(dtype_name);
    if (!dtype)
        return error_set(err, ERROR_WEIGHTS,
                         "%s: tensor %s: dtype is %s, expected F32, F16 or BF16", file, name,
                         dtype_name ? dtype_name : "missing");
    *tensor = (struct tensor){.name = name};
    memcpy(tensor->dtype, dtype->name, sizeof tensor->dtype);
    if (!read_sizes(json_object_get(entry, "shape"), tensor->shape, TENSOR_MAX_RANK, &tensor->rank))
        return error_set(err, ERROR_WEIGHTS,
                         "%s: tensor %s: shape is not a list of at most %d non-negative integers",
                         file, name, TENSOR_MAX_RANK);
    tensor->count = 1;
    bool overflow = false;
    for (size_t i = 0; i < tensor->rank; i++)
        overflow |= __builtin_mul_overflow(tensor->count, tensor->shape[i], &tensor->count);
    overflow |= __builtin_mul_overflow(tensor->count, dtype->bytes, &tensor->bytes);
    size_t offsets[2], pair;
    if (!read_sizes(json_object_get(entry, "data_offsets"), offsets, 2, &pair) || pair != 2)
        return error_set(err, ERROR_WEIGHTS,
                         "%s: tensor %s: data_offsets is not a pair of non-negative integers", file,
                         name);
    if (offsets[0] > offsets[1] || offsets[1] > data_bytes)
        return error_set(err, ERROR_WEIGHTS,
                         "%s: tensor %s: data_offsets [%zu, %zu] are outside the %zu bytes of data "
                         "in the file (truncated?)",
                         file, name, offsets[0], offsets[1], data_bytes);
    if (overflow || offsets[1] - offsets[0] != tensor->bytes)
        return error_set(err, ERROR_WEIGHTS,
                         "%s: tensor %s: %zu bytes of data, but shape and dtype %s ask for %s%zu",
                         file, name, offsets[1] - offsets[0], dtype->name,
                         overflow ? "more than " : "", overflow ? SIZE_MAX : tensor->bytes);
    tensor->data = data + offsets[0];
    return ERROR_NONE;
}

static int by_data(const void *a, const void *b)
{
    const struct tensor *const *x = a, *const *y = b;
    if ((*x)->data != (*y)->data)
        return (*x)->data < (*y)->data ? -1 : 1;
    return ((*x)->bytes > (*y)->bytes) - ((*x)->bytes < (*y)->bytes);
}

static int by_name(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* The tensors must cover data[0..bytes) exactly once. */
static enum error_code check_cover(const struct safetensors *file, const char *path,
                                   const uint8_t *data, size_t bytes, struct error *err)
{
    const struct tensor **order = calloc(file->count + 1, sizeof(const struct tensor *));
    if (!order)
        return error_set(err, ERROR_MEMORY, "%s: out of memory", path);
    for (size_t i = 0; i < file->count; i++)
        order[i] = &file->tensors[i];
    qsort(order, file->count, sizeof *order, by_data);
    enum error_code code = ERROR_NONE;
    size_t covered = 0;
    for (size_t i = 0; i < file->count && code == ERROR_NONE; i++) {
        size_t begin = (size_t)(order[i]->data - data);
        if (begin < covered)
            code = error_set(err, ERROR_WEIGHTS, "%s: tensors %s and %s overlap at data offset %zu",
                             path, order[i - 1]->name, order[i]->name, begin);
        else if (begin > covered)
            code =
                error_set(err, ERROR_WEIGHTS,
                          "%s: %zu bytes before tensor %s at data offset %zu belong to no tensor",
                          path, begin - covered, order[i]->name, begin);
        covered = begin + order[i]->bytes;
    }
    if (code == ERROR_NONE && covered != bytes)
        code =
            error_set(err, ERROR_WEIGHTS, "%s: %zu bytes after the last tensor belong to no tensor",
                      path, bytes - covered);
    free(order);
    return code;
}

static enum error_code read_entries(struct safetensors *file, const char *path, const uint8_t *data,
                                    size_t data_bytes, struct error *err)
{
    size_t entries = json_object_size(file->header);
    if (entries > TENSORS_MAX)
        return error_set(err, ERROR_WEIGHTS, "%s: %zu tensors, expected at most %u", path, entries,
                         TENSORS_MAX);
    file->tensors = calloc(entries + 1, sizeof *file->tensors);
    if (!file->tensors)
        return error_set(err, ERROR_MEMORY, "%s: out of memory", path);
    const char *name;
    json_t *entry;
    json_object_foreach((json_t *)(uintptr_t)file->header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        if (strlen(name) > 200)
            return error_set(err, ERROR_WEIGHTS,
                             "%s: a tensor name has %zu bytes, expected at most 200", path,
                             strlen(name));
        TRY(read_entry(path, name, entry, data, data_bytes, &file->tensors[file->count++], err));
    }
    qsort(file->tensors, file->count, sizeof *file->tensors, by_name);
    return check_cover(file, path, data, data_bytes, err);
}

static enum error_code read_header(struct safetensors *file, const char *path, struct error *err)
{
    if (file->size < 8)
        return error_set(err, ERROR_WEIGHTS,
                         "%s: %zu bytes, too short for a safetensors header length", path,
                         file->size);
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--)
        length = length << 8 | file->bytes[i];
    if (length > file->size - 8 || length > HEADER_MAX_BYTES)
        return error_set(err, ERROR_WEIGHTS,
                         "%s: the header claims %" PRIu64
                         " bytes, the file has %zu after its length "
                         "field (not a safetensors file, or truncated)",
                         path, length, file->size - 8);
    char what[PATH_MAX + 32];
    snprintf(what, sizeof what, "%s: the header", path);
    TRY(json_pool_parse(what, (const char *)file->bytes + 8, (size_t)length, ERROR_WEIGHTS,
                        &file->header, &file->header_memory, err));
    if (!json_is_object(file->header))
        return error_set(err, ERROR_WEIGHTS, "%s: the header is not a JSON object", path);
    size_t start = 8 + (size_t)length;
    return read_entries(file, path, file->bytes + start, file->size - start, err);
}

static enum error_code parse(const char *name, const uint8_t *bytes, size_t size, bool mapped,
                             struct safetensors **out, struct error *err)
{
    struct safetensors *file = calloc(1, sizeof *file);
    if (!file) {
        if (mapped)
            munmap((void *)(uintptr_t)bytes, size);
        return error_set(err, ERROR_MEMORY, "%s: out of memory", name);
    }
    *file = (struct safetensors){.bytes = bytes, .size = size, .mapped = mapped};
    enum error_code code = read_header(file, name, err);
    if (code != ERROR_NONE) {
        safetensors_close(file);
        return code;
    }
    *out = file;
    return ERROR_NONE;
}

enum error_code safetensors_parse(const char *name, const uint8_t *bytes, size_t size,
                                  struct safetensors **out, struct error *err)
{
    return parse(name, bytes, size, false, out, err);
}

static enum error_code read_all(int fd, const char *path, uint8_t *bytes, size_t size,
                                struct error *err)
{
    for (size_t used = 0; used < size;) {
        ssize_t got = read(fd, bytes + used, size - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set(err, ERROR_IO, "%s: cannot read: %s", path, strerror(errno));
        if (got == 0)
            return error_set(err, ERROR_IO, "%s: has %zu bytes now, had %zu when it was opened",
                             path, used, size);
        used += (size_t)got;
    }
    return ERROR_NONE;
}

enum error_code safetensors_open(const char *path, struct safetensors **out, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, ERROR_IO, "%s: cannot open: %s", path, strerror(errno));
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        close(fd);
        return error_set(err, ERROR_IO, "%s: not a regular file", path);
    }
    size_t size = (size_t)status.st_size;
    if (size < 8) {
        close(fd);
        return error_set(err, ERROR_WEIGHTS,
                         "%s: %zu bytes, too short for a safetensors header length", path, size);
    }
    /* Whole pages from the kernel, huge ones where it has them; touching small ones is slow. */
    void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes == MAP_FAILED) {
        close(fd);
        return error_set(err, ERROR_MEMORY, "%s: no memory for its %zu bytes", path, size);
    }
    (void)madvise(bytes, size, MADV_HUGEPAGE);
    enum error_code code = read_all(fd, path, bytes, size, err);
    close(fd);
    if (code != ERROR_NONE) {
        munmap(bytes, size);
        return code;
    }
    return parse(path, bytes, size, true, out, err);
}

void safetensors_close(struct safetensors *file)
{
    if (!file)
        return;
    free(file->header_memory);
    free(file->tensors);
    if (file->mapped)
        munmap((void *)(uintptr_t)file->bytes, file->size);
    free(file);
}

const uint8_t *safetensors_bytes(const struct safetensors *file, size_t *size)
{
    *size = file->size;
    return file->bytes;
}

const char *safetensors_note(const struct safetensors *file, const char *key)
{
    return json_string_value(json_object_get(json_object_get(file->header, "__metadata__"), key));
}

size_t safetensors_count(const struct safetensors *file)
{
    return file->count;
}

const struct tensor *safetensors_at(const struct safetensors *file, size_t index)
{
    assert(index < file->count);
    return &file->tensors[index];
}

const struct tensor *safetensors_find(const struct safetensors *file, const char *name)
{
    struct tensor key = {.name = name};
    if (file->count == 0)
        return NULL;
    return bsearch(&key, file->tensors, file->count, sizeof key, by_name);
}

static float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float widen_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31,
             mantissa = half & 0x3ff;
    if (exponent == 31)
        return float_of_bits(sign | 0x7f800000 | mantissa << 13);
    if (exponent == 0) { /* subnormal: mantissa x 2^-24 */
        float magnitude = (float)mantissa * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return float_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

enum error_code tensor_to_float(const struct tensor *tensor, float *out, struct error *err)
{
    size_t count = tensor->count;
    if (strcmp(tensor->dtype, "F32") == 0) {
        memcpy(out, tensor->data, count * sizeof *out);
    } else if (strcmp(tensor->dtype, "F16") == 0) {
        for (size_t i = 0; i < count; i++)
            out[i] = widen_f16((uint16_t)(tensor->data[2 * i] | tensor->data[2 * i + 1] << 8));
    } else if (strcmp(tensor->dtype, "BF16") == 0) {
        for (size_t i = 0; i < count; i++)
            out[i] = float_of_bits((uint32_t)tensor->data[2 * i] << 16 |
                                   (uint32_t)tensor->data[2 * i + 1] << 24);
    } else {
        return error_set(err, ERROR_WEIGHTS, "tensor %s: dtype is %s, expected F32, F16 or BF16",
                         tensor->name, tensor->dtype);
    }
    for (size_t i = 0; i < count; i++)
        if (!isfinite(out[i]))
            return error_set(err, ERROR_WEIGHTS, "tensor %s: element %zu is %s", tensor->name, i,
                             isnan(out[i]) ? "NaN" : "infinite");
    return ERROR_NONE;
}
