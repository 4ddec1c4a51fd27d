/* base64.c - see base64.h.
 *
 * Runs on the HTTP thread for bodies of many megabytes. Groups of four digits are looked up in a
 * table and put together at once; only where one of the four is not a digit does the slow path
 * look at characters one by one, until it is at the begin of a group again.
 */
#include "base64.h"

#include <string.h>

#define BAD   0x80
#define SPACE 0x81
#define PAD   0x82 /* all above 63 */

/* Value of each character, made once per call: 256 bytes are cheaper than a lock. */
static void fill_table(uint8_t table[256])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    memset(table, BAD, 256);
    for (uint8_t i = 0; i < 64; i++)
        table[(uint8_t)digits[i]] = i;
    table['\t'] = table['\n'] = table['\r'] = table[' '] = SPACE;
    table['='] = PAD;
}

/* The digits of a group so far. */
struct group {
    uint32_t bits;
    unsigned digits, pads;
};

/* One character in the slow path; false if it may not stand here. */
static bool take(struct group *group, uint8_t value, uint8_t **out)
{
    if (value == SPACE)
        return true;
    if (value == PAD) {
        group->pads++;
        return group->digits >= 2 && group->digits + group->pads <= 4;
    }
    if (value > 63 || group->pads > 0)
        return false;
    group->bits = group->bits << 6 | value;
    if (++group->digits < 4)
        return true;
    *(*out)++ = (uint8_t)(group->bits >> 16);
    *(*out)++ = (uint8_t)(group->bits >> 8);
    *(*out)++ = (uint8_t)group->bits;
    *group = (struct group){0};
    return true;
}

bool base64_decode(const char *text, size_t size, uint8_t *out, size_t *out_size)
{
    uint8_t table[256], *begin = out;
    const uint8_t *at = (const uint8_t *)text, *end = at + size;
    struct group group = {0};
    fill_table(table);
    while (at < end) {
        while (group.digits == 0 && end - at >= 4) {
            uint32_t a = table[at[0]], b = table[at[1]], c = table[at[2]], d = table[at[3]];
            if ((a | b | c | d) > 63)
                break;
            uint32_t bits = a << 18 | b << 12 | c << 6 | d;
            out[0] = (uint8_t)(bits >> 16);
            out[1] = (uint8_t)(bits >> 8);
            out[2] = (uint8_t)bits;
            out += 3;
            at += 4;
        }
        if (at < end && !take(&group, table[*at++], &out))
            return false;
    }
    if (group.digits != 0) {
        if (group.digits + group.pads != 4)
            return false;
        uint32_t bits = group.bits << 6 * group.pads;
        *out++ = (uint8_t)(bits >> 16);
        if (group.digits == 3)
            *out++ = (uint8_t)(bits >> 8);
    }
    *out_size = (size_t)(out - begin);
    return true;
}
