/* turns.c - see turns.h. */
#include "turns.h"
#include "batch.h"

static const int weights[PRIORITIES] = {
    [PRIORITY_HIGH] = 16, [PRIORITY_NORMAL] = 4, [PRIORITY_LOW] = 1};

static void join_line(struct turns *turns, struct turn *turn)
{
    enum priority priority = turn->job->priority;
    turn->next = NULL;
    if (turns->lines[priority].first == NULL)
        turns->lines[priority].first = turn;
    else
        turns->lines[priority].last->next = turn;
    turns->lines[priority].last = turn;
}

void turns_push(struct turns *turns, struct turn *turn, struct batch_image *image)
{
    image->next = NULL;
    turn->job = image->job;
    if (turn->first == NULL) {
        turn->first = turn->last = image;
        join_line(turns, turn);
    } else {
        turn->last->next = image;
        turn->last = image;
    }
    turns->count++;
}

/* The line whose turn it is: the one with most credit once each has got its weight. */
static int next_line(const struct turns *turns, int *total)
{
    int best = -1, most = 0;
    *total = 0;
    for (int i = 0; i < PRIORITIES; i++) {
        if (turns->lines[i].first == NULL)
            continue;
        int credit = turns->lines[i].credit + weights[i];
        *total += weights[i];
        if (best < 0 || credit > most) {
            best = i;
            most = credit;
        }
    }
    return best;
}

struct batch_image *turns_peek(const struct turns *turns)
{
    int total, line = next_line(turns, &total);
    return line < 0 ? NULL : turns->lines[line].first->first;
}

struct batch_image *turns_pop(struct turns *turns)
{
    int total, line = next_line(turns, &total);
    if (line < 0)
        return NULL;
    for (int i = 0; i < PRIORITIES; i++) /* an empty line saves up nothing */
        turns->lines[i].credit =
            turns->lines[i].first != NULL ? turns->lines[i].credit + weights[i] : 0;
    turns->lines[line].credit -= total;
    struct turn *turn = turns->lines[line].first;
    struct batch_image *image = turn->first;
    turns->lines[line].first = turn->next;
    turn->first = image->next;
    if (turn->first != NULL)
        join_line(turns, turn);
    turns->count--;
    return image;
}

struct batch_image *turns_remove(struct turns *turns, int (*test)(const struct job *, void *),
                                 void *context)
{
    struct batch_image *removed = NULL;
    for (int i = 0; i < PRIORITIES; i++) {
        struct turn *turn = turns->lines[i].first, *next;
        turns->lines[i].first = NULL;
        for (; turn != NULL; turn = next) {
            next = turn->next;
            if (!test(turn->job, context)) {
                join_line(turns, turn);
                continue;
            }
            for (struct batch_image *image = turn->first; image != NULL; image = image->next)
                turns->count--;
            turn->last->next = removed;
            removed = turn->first;
            turn->first = NULL;
        }
    }
    return removed;
}
