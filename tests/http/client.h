/* client.h - requests to the daemon by libcurl, their answers read by jansson. */
#ifndef SENETD_TEST_CLIENT_H
#define SENETD_TEST_CLIENT_H

#include "daemon.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct answer {
    long status;   /* 0 where the connection failed */
    char *body;    /* [size], terminated */
    char *headers; /* as received, terminated */
    size_t size, headers_size;
    json_t *json; /* the body, or NULL where it is none */
};

struct request {
    const char *method; /* NULL: GET, or POST with a body */
    const char *path;   /* with its query */
    const char *type;   /* Content-Type, or NULL */
    const void *body;   /* [size] */
    size_t size;
    const char *header; /* one more "Name: value", or NULL */
    bool expect;        /* ask with Expect: 100-continue before the body */
    bool chunked;       /* send the body without its length */
};

/* The caller frees the answer. A failed connection is status 0, no failure of the test. */
struct answer client_send(const struct daemon *daemon, const struct request *request);
struct answer client_get(const struct daemon *daemon, const char *path);

/* One image as the body. */
struct answer client_post(const struct daemon *daemon, const char *path, const void *body,
                          size_t size);

/* One part of a form. */
struct part {
    const char *name, *filename; /* filename NULL: a plain field */
    const void *bytes;
    size_t size;
};

struct answer client_form(const struct daemon *daemon, const char *path, const struct part *parts,
                          size_t count);

/* Many at once, each on its own connection; answers[count]. */
void client_send_all(const struct daemon *daemon, const struct request *requests, size_t count,
                     struct answer *answers);

void client_free(struct answer *answer);

/* Value of a header, or NULL; valid until the next call. */
const char *client_header(const struct answer *answer, const char *name);

/* Fails the test unless the answer is a problem with that status whose detail has that text. */
void client_check_problem(const struct answer *answer, long status, const char *detail);

/* The same of an error below /v2, {"error":"..."}. */
void client_check_error(const struct answer *answer, long status, const char *text);

/* A member that must be there. */
json_t *client_member(const json_t *object, const char *key);

/* A connected socket, for what libcurl would not do. */
int client_connect(const struct daemon *daemon);

#endif
