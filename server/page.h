/* page.h - the web page, built into the binary: its files and how they are served.
 *
 * Every file is there twice, plain and gzipped at build time, and is sent with a validator (ETag),
 * so that a browser asks again and is told 304 until the daemon is another. The policy sent with
 * it allows no script or style but these files, and no other site to frame the page.
 */
#ifndef SENETD_PAGE_H
#define SENETD_PAGE_H

#include "exchange.h"
#include <stdbool.h>

/* X(symbol, path, file in build/ui, media type), the page itself first. */
#define PAGE_FILES(X)                                                                              \
    X(index, "/", "index.html", "text/html; charset=utf-8")                                        \
    X(style, "/ui/style.css", "style.css", "text/css; charset=utf-8")                              \
    X(d3, "/ui/d3.js", "d3.js", "text/javascript; charset=utf-8")                                  \
    X(app, "/ui/app.js", "app.js", "text/javascript; charset=utf-8")                               \
    X(api, "/ui/api.js", "api.js", "text/javascript; charset=utf-8")                               \
    X(attention, "/ui/attention.js", "attention.js", "text/javascript; charset=utf-8")             \
    X(block, "/ui/block.js", "block.js", "text/javascript; charset=utf-8")                         \
    X(charts, "/ui/charts.js", "charts.js", "text/javascript; charset=utf-8")                      \
    X(classes, "/ui/classes.js", "classes.js", "text/javascript; charset=utf-8")                   \
    X(compare, "/ui/compare.js", "compare.js", "text/javascript; charset=utf-8")                   \
    X(dom, "/ui/dom.js", "dom.js", "text/javascript; charset=utf-8")                               \
    X(intake, "/ui/intake.js", "intake.js", "text/javascript; charset=utf-8")                      \
    X(live, "/ui/live.js", "live.js", "text/javascript; charset=utf-8")                            \
    X(numbers, "/ui/numbers.js", "numbers.js", "text/javascript; charset=utf-8")                   \
    X(strips, "/ui/strips.js", "strips.js", "text/javascript; charset=utf-8")                      \
    X(icon, "/ui/icon.svg", "icon.svg", "image/svg+xml")                                           \
    X(sample, "/ui/cat.jpg", "cat.jpg", "image/jpeg")                                              \
    X(licences, "/ui/licences.txt", "licences.txt", "text/plain; charset=utf-8")

/* A route's handler: the file of the exchange's path, or 304 where the client has it. */
unsigned page_answer(struct exchange *exchange);

/* Whether a path is one of the page's files: nothing in them is secret, and the page has to be
 * there before it can ask for a key. */
bool page_is_part(const char *path);

/* Whether an Accept header asks for application/json and not for a page. accept may be NULL. */
bool page_declined(const char *accept);

#endif
