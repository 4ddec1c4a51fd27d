/* attention.c - see attention.h.
 *
 * Kept vectors are a ring of ATTENTION_IMAGES rows. Row and request numbers count up for ever and
 * are taken modulo the ring's size; an entry whose number has been lapped is gone. A request is
 * begun when its id differs from the last one's, or its position does not go up.
 *
 * Adding an image only copies its row: the sums are megabytes, which an inference has driven out of
 * the caches, and clients wait. They are brought up to date when PENDING rows wait or when somebody
 * asks, in pieces that stay in the cache for all waiting rows, each row in its turn. The ring is
 * touched when it is made: the first touch of its pages would cost a client more than the copy.
 */
#include "attention.h"
#include "gates.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PENDING 16  /* most rows that the sums do not have yet */
#define PIECE   512 /* gates at a time */

struct kept_request {
    char id[ATTENTION_ID_BYTES];
    uint64_t first; /* row number of its first image */
    size_t images;
};

/* Welford's sums of the images of one class. */
struct class_sums {
    size_t class;
    uint64_t images;
    double *mean, *squares; /* [floats], allocated when the first class takes this place */
};

struct attention {
    size_t floats;
    pthread_mutex_t mutex; /* guards all below */
    uint64_t images;       /* every one had a row */
    uint64_t summed;       /* of them, in the sums */
    size_t pending_classes[PENDING];
    double *mean, *squares; /* [floats], squares: sum of squared distances from the mean */
    float *least, *most;    /* [floats] */
    uint32_t *saturated;    /* [floats], images */
    double *recent;         /* [floats] */
    double recent_squares;  /* sum of its squared weights */
    struct class_sums classes[ATTENTION_CLASSES];
    size_t class_count;
    struct kept_request requests[ATTENTION_REQUESTS];
    uint64_t request_count;             /* ever */
    size_t positions[ATTENTION_IMAGES]; /* of the row's image within its request */
    float *rows;                        /* [ATTENTION_IMAGES][floats] */
};

enum error_code attention_new(size_t floats, struct attention **out, struct error *err)
{
    struct attention *attention = calloc(1, sizeof *attention);
    size_t room = floats > 0 ? floats : 1;
    if (attention == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for the excitation statistics");
    attention->floats = floats;
    attention->mean = calloc(room, sizeof(double));
    attention->squares = calloc(room, sizeof(double));
    attention->recent = calloc(room, sizeof(double));
    attention->least = calloc(room, sizeof(float));
    attention->most = calloc(room, sizeof(float));
    attention->saturated = calloc(room, sizeof(uint32_t));
    attention->rows = malloc(ATTENTION_IMAGES * room * sizeof(float));
    pthread_mutex_init(&attention->mutex, NULL);
    if (attention->mean == NULL || attention->squares == NULL || attention->recent == NULL ||
        attention->least == NULL || attention->most == NULL || attention->saturated == NULL ||
        attention->rows == NULL) {
        attention_free(attention);
        return error_set(err, ERROR_MEMORY, "no memory for the excitation statistics");
    }
    memset(attention->rows, 0xFF, ATTENTION_IMAGES * room * sizeof(float));
    *out = attention;
    return ERROR_NONE;
}

void attention_free(struct attention *attention)
{
    if (attention == NULL)
        return;
    pthread_mutex_destroy(&attention->mutex);
    free(attention->mean);
    free(attention->squares);
    free(attention->recent);
    for (size_t i = 0; i < attention->class_count; i++) {
        free(attention->classes[i].mean);
        free(attention->classes[i].squares);
    }
    free(attention->least);
    free(attention->most);
    free(attention->saturated);
    free(attention->rows);
    free(attention);
}

/* Welford's update of every gate by the images-th image. */
static void add_to_sums(uint64_t images, size_t floats, const float *excitations,
                        double *restrict mean, double *restrict squares)
{
    double share = 1.0 / (double)images;
    for (size_t i = 0; i < floats; i++) {
        double distance = (double)excitations[i] - mean[i];
        mean[i] += distance * share;
        squares[i] += distance * ((double)excitations[i] - mean[i]);
    }
}

/* The place of a class: its own, a fresh one, or that of the class with the fewest images. NULL
 * where memory ran out. */
static struct class_sums *class_place(struct attention *attention, size_t class)
{
    struct class_sums *rarest = &attention->classes[0];
    for (size_t i = 0; i < attention->class_count; i++) {
        struct class_sums *sums = &attention->classes[i];
        if (sums->class == class)
            return sums;
        if (sums->images < rarest->images)
            rarest = sums;
    }
    size_t bytes = (attention->floats + 1) * sizeof(double);
    if (attention->class_count < ATTENTION_CLASSES) {
        struct class_sums fresh = {.mean = malloc(bytes), .squares = malloc(bytes)};
        if (fresh.mean == NULL || fresh.squares == NULL) {
            free(fresh.mean);
            free(fresh.squares);
            return NULL;
        }
        rarest = &attention->classes[attention->class_count++];
        *rarest = fresh;
    }
    rarest->class = class;
    rarest->images = 0;
    memset(rarest->mean, 0, bytes);
    memset(rarest->squares, 0, bytes);
    return rarest;
}

static void count_class(struct attention *attention, size_t class, const float *excitations)
{
    struct class_sums *sums = class_place(attention, class);
    if (sums != NULL)
        add_to_sums(++sums->images, attention->floats, excitations, sums->mean, sums->squares);
}

/* The weight of the images-th image in the recent mean: a plain mean while the window fills, then
 * an exponentially weighted one. */
static double recent_share(uint64_t images)
{
    return 1.0 / (double)(images < ATTENTION_WINDOW ? images : ATTENTION_WINDOW);
}

/* Gates [begin, begin + count) of the images-th image. */
static void sum_piece(struct attention *attention, uint64_t images, const float *row, size_t begin,
                      size_t count)
{
    float *restrict least = attention->least + begin, *restrict most = attention->most + begin;
    double *restrict recent = attention->recent + begin;
    uint32_t *restrict saturated = attention->saturated + begin;
    const float *restrict gates = row + begin;
    double share = recent_share(images);
    bool first = images == 1;
    add_to_sums(images, count, gates, attention->mean + begin, attention->squares + begin);
    for (size_t i = 0; i < count; i++)
        recent[i] += ((double)gates[i] - recent[i]) * share;
    for (size_t i = 0; i < count; i++) {
        least[i] = first || gates[i] < least[i] ? gates[i] : least[i];
        most[i] = first || gates[i] > most[i] ? gates[i] : most[i];
        saturated[i] += (gates[i] < GATES_SATURATED_LOW) | (gates[i] > GATES_SATURATED_HIGH);
    }
}

static float *row_of(const struct attention *attention, uint64_t number)
{
    return attention->rows + number % ATTENTION_IMAGES * attention->floats;
}

/* Brings the sums up to date. The mutex is held. */
static void sum_up(struct attention *attention)
{
    for (size_t begin = 0; begin < attention->floats; begin += PIECE) {
        size_t left = attention->floats - begin, count = left < PIECE ? left : PIECE;
        for (uint64_t i = attention->summed; i < attention->images; i++)
            sum_piece(attention, i + 1, row_of(attention, i), begin, count);
    }
    for (; attention->summed < attention->images; attention->summed++) {
        double share = recent_share(attention->summed + 1);
        attention->recent_squares =
            attention->recent_squares * (1 - share) * (1 - share) + share * share;
        count_class(attention, attention->pending_classes[attention->summed % PENDING],
                    row_of(attention, attention->summed));
    }
}

static struct kept_request *request_at(struct attention *attention, uint64_t number)
{
    return &attention->requests[number % ATTENTION_REQUESTS];
}

/* The entry that the next image of this request belongs to. */
static struct kept_request *open_request(struct attention *attention, const char *id,
                                         size_t position, uint64_t row)
{
    if (attention->request_count > 0) {
        struct kept_request *last = request_at(attention, attention->request_count - 1);
        size_t before = attention->positions[(row - 1) % ATTENTION_IMAGES];
        if (strcmp(last->id, id) == 0 && before < position)
            return last;
    }
    struct kept_request *request = request_at(attention, attention->request_count++);
    *request = (struct kept_request){.first = row};
    strncpy(request->id, id, sizeof request->id - 1);
    return request;
}

void attention_add(struct attention *attention, const char *id, size_t position, size_t class,
                   const float *excitations)
{
    pthread_mutex_lock(&attention->mutex);
    uint64_t row = attention->images;
    open_request(attention, id, position, row)->images++;
    attention->positions[row % ATTENTION_IMAGES] = position;
    attention->pending_classes[row % PENDING] = class;
    if (attention->floats > 0)
        memcpy(row_of(attention, row), excitations, attention->floats * sizeof(float));
    attention->images++;
    if (attention->images - attention->summed == PENDING)
        sum_up(attention);
    pthread_mutex_unlock(&attention->mutex);
}

uint64_t attention_statistics(struct attention *attention, size_t offset, size_t count,
                              double *mean, double *deviation, float *least, float *most)
{
    pthread_mutex_lock(&attention->mutex);
    sum_up(attention);
    uint64_t images = attention->images;
    for (size_t i = 0; images > 0 && i < count; i++) {
        if (mean != NULL)
            mean[i] = attention->mean[offset + i];
        if (deviation != NULL)
            deviation[i] = sqrt(attention->squares[offset + i] / (double)images);
        if (least != NULL)
            least[i] = attention->least[offset + i];
        if (most != NULL)
            most[i] = attention->most[offset + i];
    }
    pthread_mutex_unlock(&attention->mutex);
    return images;
}

void attention_block(struct attention *attention, size_t offset, size_t count, double *mean,
                     double *saturated)
{
    double sum = 0, beyond = 0;
    pthread_mutex_lock(&attention->mutex);
    sum_up(attention);
    for (size_t i = 0; i < count; i++) {
        sum += attention->mean[offset + i];
        beyond += attention->saturated[offset + i];
    }
    double images = attention->images > 0 ? (double)attention->images : 1;
    pthread_mutex_unlock(&attention->mutex);
    *mean = sum / (double)count;
    *saturated = beyond / images / (double)count;
}

uint64_t attention_class_statistics(struct attention *attention, size_t class, size_t offset,
                                    size_t count, double *mean, double *deviation)
{
    uint64_t images = 0;
    pthread_mutex_lock(&attention->mutex);
    sum_up(attention);
    for (size_t at = 0; at < attention->class_count; at++) {
        const struct class_sums *sums = &attention->classes[at];
        if (sums->class != class)
            continue;
        images = sums->images;
        for (size_t i = 0; i < count; i++) {
            mean[i] = sums->mean[offset + i];
            deviation[i] = sqrt(sums->squares[offset + i] / (double)images);
        }
    }
    pthread_mutex_unlock(&attention->mutex);
    return images;
}

size_t attention_classes(struct attention *attention, size_t *classes, uint64_t *images)
{
    pthread_mutex_lock(&attention->mutex);
    sum_up(attention);
    size_t count = attention->class_count;
    for (size_t i = 0; i < count; i++) {
        classes[i] = attention->classes[i].class;
        images[i] = attention->classes[i].images;
    }
    pthread_mutex_unlock(&attention->mutex);
    return count;
}

double attention_recent(struct attention *attention, size_t offset, size_t count, double *mean)
{
    pthread_mutex_lock(&attention->mutex);
    sum_up(attention);
    double squares = attention->recent_squares;
    if (squares > 0)
        memcpy(mean, attention->recent + offset, count * sizeof *mean);
    pthread_mutex_unlock(&attention->mutex);
    return squares;
}

/* The newest entry with this id that is complete, or NULL. */
static const struct kept_request *find_request(struct attention *attention, const char *id)
{
    uint64_t kept = attention->request_count < ATTENTION_REQUESTS ? attention->request_count
                                                                  : ATTENTION_REQUESTS;
    for (uint64_t back = 1; back <= kept; back++) {
        const struct kept_request *request = request_at(attention, attention->request_count - back);
        if (request->first + ATTENTION_IMAGES < attention->images)
            return NULL; /* this one and all before it were lapped */
        if (strcmp(request->id, id) == 0)
            return request;
    }
    return NULL;
}

size_t attention_find(struct attention *attention, const char *id, size_t *positions,
                      float **vectors)
{
    size_t floats = attention->floats, images = 0;
    *vectors = NULL;
    pthread_mutex_lock(&attention->mutex);
    const struct kept_request *request = find_request(attention, id);
    if (request != NULL && request->images <= ATTENTION_IMAGES)
        *vectors = calloc(request->images * floats + 1, sizeof(float));
    if (*vectors != NULL) {
        images = request->images;
        for (size_t i = 0; i < images; i++) {
            size_t row = (size_t)((request->first + i) % ATTENTION_IMAGES);
            positions[i] = attention->positions[row];
            if (floats > 0)
                memcpy(*vectors + i * floats, row_of(attention, row), floats * sizeof(float));
        }
    }
    pthread_mutex_unlock(&attention->mutex);
    return images;
}
