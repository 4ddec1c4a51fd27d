/* arrays.c - see arrays.h. Sources: NumPy's NEP 1 (format version 1.0), PKWARE's APPNOTE (method 0,
 * no data descriptors, sizes under 4 GiB, which an answer stays far from).
 */
#include "arrays.h"
#include "relative.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define NPY_ALIGNMENT 64

enum error_code arrays_find(const char *name, enum arrays_format *out, struct error *err)
{
    static const char *const names[] = {"json", "npy", "npz", "safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (enum arrays_format)i;
            return ERROR_NONE;
        }
    return error_set(err, ERROR_USAGE, "format is '%.64s', expected json, npy, npz or safetensors",
                     name);
}

const char *arrays_type(enum arrays_format format)
{
    switch (format) {
    case ARRAYS_NONE:
        return "application/json";
    case ARRAYS_NPZ:
        return "application/zip";
    case ARRAYS_NPY:
    case ARRAYS_SAFETENSORS:
        break;
    }
    return "application/octet-stream";
}

static void put_integer(struct writer *w, uint64_t value, size_t bytes)
{
    char text[8];
    for (size_t i = 0; i < bytes; i++)
        text[i] = (char)(value >> 8 * i);
    writer_raw(w, text, bytes);
}

/* ---- npy ---------------------------------------------------------------------------------------
 */

#define NPY_HEAD_BYTES 256

/* The head of an npy file; returns its size, a multiple of NPY_ALIGNMENT. */
static size_t npy_head(const struct tensors_item *item, char out[NPY_HEAD_BYTES])
{
    static const char magic[8] = {'\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0}; /* version 1.0 */
    char shape[96] = "";
    for (size_t i = 0, used = 0; i < item->rank; i++)
        used += (size_t)snprintf(shape + used, sizeof shape - used, "%zu,%s", item->shape[i],
                                 i + 1 < item->rank ? " " : "");
    int text = snprintf(out + 10, NPY_HEAD_BYTES - 10,
                        "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }", shape);
    size_t used = 10 + (size_t)text + 1;
    size_t size = (used + NPY_ALIGNMENT - 1) / NPY_ALIGNMENT * NPY_ALIGNMENT;
    memset(out + used - 1, ' ', size - used);
    out[size - 1] = '\n';
    memcpy(out, magic, sizeof magic);
    out[8] = (char)((size - 10) & 255);
    out[9] = (char)((size - 10) >> 8);
    return size;
}

static void write_npy(struct writer *w, const struct tensors_item *item)
{
    char head[NPY_HEAD_BYTES];
    writer_raw(w, head, npy_head(item, head));
    writer_raw(w, item->data, tensors_bytes(item));
}

/* ---- npz ---------------------------------------------------------------------------------------
 */

/* What the local and the central header of a file have in common. */
struct zip_entry {
    const struct tensors_item *item;
    char head[NPY_HEAD_BYTES];
    size_t head_size, offset;
    uint32_t crc;
};

static void write_zip_fields(struct writer *w, const struct zip_entry *entry)
{
    size_t size = entry->head_size + tensors_bytes(entry->item);
    put_integer(w, 20, 2);   /* version that can read it: 2.0 */
    put_integer(w, 0, 2);    /* flags */
    put_integer(w, 0, 2);    /* stored */
    put_integer(w, 0, 2);    /* midnight */
    put_integer(w, 0x21, 2); /* of 1980-01-01: an answer does not depend on the clock */
    put_integer(w, entry->crc, 4);
    put_integer(w, size, 4);
    put_integer(w, size, 4);
    put_integer(w, strlen(entry->item->name) + strlen(".npy"), 2);
    put_integer(w, 0, 2); /* extra field */
}

static void write_zip_file(struct writer *w, struct zip_entry *entry)
{
    const struct tensors_item *item = entry->item;
    entry->offset = w->size;
    entry->head_size = npy_head(item, entry->head);
    uLong crc = crc32(0, (const Bytef *)entry->head, (uInt)entry->head_size);
    entry->crc = (uint32_t)crc32(crc, item->data, (uInt)tensors_bytes(item));
    put_integer(w, 0x04034b50, 4);
    write_zip_fields(w, entry);
    writer_format(w, "%s.npy", item->name);
    writer_raw(w, entry->head, entry->head_size);
    writer_raw(w, item->data, tensors_bytes(item));
}

static void write_npz(struct writer *w, const struct tensors_item *items, size_t count)
{
    struct zip_entry *entries = calloc(count + 1, sizeof *entries);
    if (entries == NULL) {
        w->failed = true;
        return;
    }
    for (size_t i = 0; i < count; i++) {
        entries[i].item = &items[i];
        write_zip_file(w, &entries[i]);
    }
    size_t directory = w->size;
    for (size_t i = 0; i < count; i++) {
        put_integer(w, 0x02014b50, 4);
        put_integer(w, 20, 2); /* version that made it */
        write_zip_fields(w, &entries[i]);
        put_integer(w, 0, 8); /* no comment, disk 0, attributes */
        put_integer(w, 0, 2);
        put_integer(w, entries[i].offset, 4);
        writer_format(w, "%s.npy", items[i].name);
    }
    size_t bytes = w->size - directory;
    put_integer(w, 0x06054b50, 4);
    put_integer(w, 0, 4); /* disks */
    put_integer(w, count, 2);
    put_integer(w, count, 2);
    put_integer(w, bytes, 4);
    put_integer(w, directory, 4);
    put_integer(w, 0, 2); /* comment */
    free(entries);
}

/* ---- any ---------------------------------------------------------------------------------------
 */

static void write_safetensors(struct writer *w, const struct tensors_item *items, size_t count)
{
    char *head;
    size_t size;
    struct error err = {0};
    if (tensors_head(items, count, NULL, 0, &head, &size, &err) != ERROR_NONE) {
        w->failed = true;
        return;
    }
    writer_raw(w, head, size);
    free(head);
    for (size_t i = 0; i < count; i++)
        writer_raw(w, items[i].data, tensors_bytes(&items[i]));
}

void arrays_write(struct writer *w, enum arrays_format format, const struct tensors_item *items,
                  size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += tensors_bytes(&items[i]) + 512;
    writer_reserve(w, bytes);
    switch (format) {
    case ARRAYS_NONE:
        break;
    case ARRAYS_NPY:
        write_npy(w, &items[0]);
        break;
    case ARRAYS_NPZ:
        write_npz(w, items, count);
        break;
    case ARRAYS_SAFETENSORS:
        write_safetensors(w, items, count);
        break;
    }
}

/* ---- results -----------------------------------------------------------------------------------
 */

/* Arrays that are being put together. */
struct table {
    size_t images;
    struct tensors_item *items;
    char (*names)[32];
    size_t count;
    float *floats; /* the next free ones */
};

/* A further array [images][columns]; its floats, to be filled. */
static float *add(struct table *table, const char *name, const char *suffix, size_t columns)
{
    float *floats = table->floats;
    snprintf(table->names[table->count], sizeof table->names[0], "%.20s%s", name, suffix);
    table->items[table->count] = (struct tensors_item){.name = table->names[table->count],
                                                       .dtype = "F32",
                                                       .rank = 2,
                                                       .shape = {table->images, columns},
                                                       .data = floats};
    table->count++;
    table->floats += table->images * columns;
    return floats;
}

static void add_rows(struct table *table, const char *name, size_t columns, size_t offset,
                     const float *const *rows)
{
    float *to = add(table, name, "", columns);
    for (size_t n = 0; n < table->images; n++)
        memcpy(to + n * columns, rows[n] + offset, columns * sizeof *to);
}

static void add_scores(struct table *table, const struct senet_block *block,
                       const struct reference *reference, const float *const *rows)
{
    float *to = add(table, block->name, ".z", block->channels);
    for (size_t n = 0; n < table->images; n++)
        for (size_t i = 0; i < block->channels; i++) {
            size_t at = block->offset + i;
            to[n * block->channels + i] =
                (float)(((double)rows[n][at] - (double)reference->mean[at]) /
                        relative_scale(reference, at));
        }
}

static bool is_selected(const struct selection *selection, size_t block)
{
    return selection->detail != DETAIL_NONE &&
           (selection->blocks == NULL || selection->blocks[block]);
}

/* One array of the selected blocks' gates side by side. */
static void add_joined(struct table *table, const struct senet *senet,
                       const struct selection *selection, const float *const *rows)
{
    size_t blocks = senet_info(senet)->blocks, columns = 0;
    for (size_t i = 0; i < blocks; i++)
        columns += is_selected(selection, i) ? senet_block(senet, i)->channels : 0;
    float *to = add(table, "excitations", "", columns);
    for (size_t n = 0; n < table->images; n++)
        for (size_t i = 0; i < blocks; i++) {
            const struct senet_block *block = senet_block(senet, i);
            if (!is_selected(selection, i))
                continue;
            memcpy(to, rows[n] + block->offset, block->channels * sizeof *to);
            to += block->channels;
        }
}

static void fill(struct table *table, enum arrays_format format, const struct senet *senet,
                 const struct selection *selection, const float *const *excitations,
                 const float *const *logits)
{
    const struct senet_info *info = senet_info(senet);
    if (format == ARRAYS_NPY && selection->detail != DETAIL_NONE) {
        add_joined(table, senet, selection, excitations);
        return;
    }
    if (logits != NULL)
        add_rows(table, "logits", info->classes, 0, logits);
    for (size_t i = 0; i < info->blocks; i++) {
        const struct senet_block *block = senet_block(senet, i);
        if (!is_selected(selection, i))
            continue;
        add_rows(table, block->name, block->channels, block->offset, excitations);
        if (selection->reference != NULL)
            add_scores(table, block, selection->reference, excitations);
    }
}

enum error_code arrays_results(struct writer *w, enum arrays_format format,
                               const struct senet *senet, const struct selection *selection,
                               size_t images, const float *const *excitations,
                               const float *const *logits, struct error *err)
{
    const struct senet_info *info = senet_info(senet);
    if (selection->detail == DETAIL_SUMMARY)
        return error_set(err, ERROR_USAGE, "excitations=summary goes with format=json only");
    if (format == ARRAYS_NPY && selection->reference != NULL)
        return error_set(err, ERROR_USAGE,
                         "npy holds one array; relative=1 needs npz, "
                         "safetensors or json");
    size_t floats = images * (info->classes + 2 * info->excitation_floats);
    float *memory = malloc((floats + 1) * sizeof *memory);
    struct table table = {.images = images,
                          .items = calloc(2 * info->blocks + 1, sizeof *table.items),
                          .names = calloc(2 * info->blocks + 1, sizeof *table.names),
                          .floats = memory};
    enum error_code code = ERROR_NONE;
    if (memory == NULL || table.items == NULL || table.names == NULL) {
        code = error_set(err, ERROR_MEMORY, "no memory for the arrays of %zu images", images);
    } else {
        fill(&table, format, senet, selection, excitations, logits);
        arrays_write(w, format, table.items, table.count);
    }
    free(memory);
    free(table.items);
    free(table.names);
    return code;
}
