/* client.c - see client.h. */
#include "client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_S 120L

/* A request under way. */
struct transfer {
    CURL *curl;
    struct curl_slist *headers;
    curl_mime *form;
    struct answer answer;
    const struct request *request;
    size_t sent;
};

static void append(char **text, size_t *size, const char *data, size_t more)
{
    char *grown = realloc(*text, *size + more + 1);
    assert_non_null(grown);
    memcpy(grown + *size, data, more);
    *size += more;
    grown[*size] = '\0';
    *text = grown;
}

static size_t on_body(char *data, size_t one, size_t count, void *context)
{
    struct answer *answer = context;
    append(&answer->body, &answer->size, data, one * count);
    return one * count;
}

static size_t on_header(char *data, size_t one, size_t count, void *context)
{
    struct answer *answer = context;
    append(&answer->headers, &answer->headers_size, data, one * count);
    return one * count;
}

static size_t read_body(char *out, size_t one, size_t count, void *context)
{
    struct transfer *transfer = context;
    size_t left = transfer->request->size - transfer->sent;
    size_t size = one * count < left ? one * count : left;
    memcpy(out, (const char *)transfer->request->body + transfer->sent, size);
    transfer->sent += size;
    return size;
}

static void add_header(struct transfer *transfer, const char *name, const char *value)
{
    char line[256];
    snprintf(line, sizeof line, "%s%s", name, value);
    transfer->headers = curl_slist_append(transfer->headers, line);
    assert_non_null(transfer->headers);
}

static void set_body(struct transfer *transfer)
{
    const struct request *request = transfer->request;
    if (request->chunked) {
        curl_easy_setopt(transfer->curl, CURLOPT_POST, 1L);
        curl_easy_setopt(transfer->curl, CURLOPT_READFUNCTION, read_body);
        curl_easy_setopt(transfer->curl, CURLOPT_READDATA, transfer);
        add_header(transfer, "Transfer-Encoding: chunked", "");
    } else {
        curl_easy_setopt(transfer->curl, CURLOPT_POSTFIELDS, request->body);
        curl_easy_setopt(transfer->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->size);
    }
    add_header(transfer, "Expect:", request->expect ? " 100-continue" : "");
}

static void prepare(struct transfer *transfer, const struct daemon *daemon,
                    const struct request *request)
{
    char url[512];
    *transfer = (struct transfer){.curl = curl_easy_init(), .request = request};
    assert_non_null(transfer->curl);
    snprintf(url, sizeof url, "%s%s", daemon->base, request->path);
    curl_easy_setopt(transfer->curl, CURLOPT_URL, url);
    curl_easy_setopt(transfer->curl, CURLOPT_TIMEOUT, PATIENCE_S);
    curl_easy_setopt(transfer->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(transfer->curl, CURLOPT_EXPECT_100_TIMEOUT_MS, PATIENCE_S * 1000);
    curl_easy_setopt(transfer->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(transfer->curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(transfer->curl, CURLOPT_PATH_AS_IS, 1L);
    if (daemon->certificate != NULL)
        curl_easy_setopt(transfer->curl, CURLOPT_CAINFO, daemon->certificate);
    if (request->body != NULL)
        set_body(transfer);
    if (request->type != NULL)
        add_header(transfer, "Content-Type: ", request->type);
    if (request->header != NULL)
        add_header(transfer, request->header, "");
    if (request->method != NULL)
        curl_easy_setopt(transfer->curl, CURLOPT_CUSTOMREQUEST, request->method);
    if (request->method != NULL && strcmp(request->method, "HEAD") == 0)
        curl_easy_setopt(transfer->curl, CURLOPT_NOBODY, 1L);
}

/* The last settings point into *transfer, which must not move any more. */
static void aim(struct transfer *transfer)
{
    curl_easy_setopt(transfer->curl, CURLOPT_WRITEDATA, &transfer->answer);
    curl_easy_setopt(transfer->curl, CURLOPT_HEADERDATA, &transfer->answer);
    curl_easy_setopt(transfer->curl, CURLOPT_HTTPHEADER, transfer->headers);
}

static struct answer finish(struct transfer *transfer, CURLcode code)
{
    struct answer *answer = &transfer->answer;
    if (code == CURLE_OK || answer->size > 0)
        curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &answer->status);
    curl_slist_free_all(transfer->headers);
    curl_mime_free(transfer->form);
    curl_easy_cleanup(transfer->curl);
    if (answer->size > 0)
        answer->json = json_loadb(answer->body, answer->size, JSON_REJECT_DUPLICATES, NULL);
    return *answer;
}

struct answer client_send(const struct daemon *daemon, const struct request *request)
{
    struct transfer transfer;
    prepare(&transfer, daemon, request);
    aim(&transfer);
    return finish(&transfer, curl_easy_perform(transfer.curl));
}

struct answer client_get(const struct daemon *daemon, const char *path)
{
    return client_send(daemon, &(struct request){.path = path});
}

struct answer client_post(const struct daemon *daemon, const char *path, const void *body,
                          size_t size)
{
    return client_send(daemon, &(struct request){.path = path, .body = body, .size = size});
}

struct answer client_form(const struct daemon *daemon, const char *path, const struct part *parts,
                          size_t count)
{
    struct transfer transfer;
    prepare(&transfer, daemon, &(struct request){.path = path});
    transfer.form = curl_mime_init(transfer.curl);
    for (size_t i = 0; i < count; i++) {
        curl_mimepart *part = curl_mime_addpart(transfer.form);
        curl_mime_name(part, parts[i].name);
        curl_mime_data(part, parts[i].bytes, parts[i].size);
        if (parts[i].filename != NULL)
            curl_mime_filename(part, parts[i].filename);
    }
    curl_easy_setopt(transfer.curl, CURLOPT_MIMEPOST, transfer.form);
    aim(&transfer);
    return finish(&transfer, curl_easy_perform(transfer.curl));
}

void client_send_all(const struct daemon *daemon, const struct request *requests, size_t count,
                     struct answer *answers)
{
    struct transfer *transfers = calloc(count, sizeof *transfers);
    CURLM *multi = curl_multi_init();
    int running = 1;
    assert_true(transfers != NULL && multi != NULL);
    for (size_t i = 0; i < count; i++) {
        prepare(&transfers[i], daemon, &requests[i]);
        aim(&transfers[i]);
        curl_easy_setopt(transfers[i].curl, CURLOPT_FORBID_REUSE, 1L);
        curl_multi_add_handle(multi, transfers[i].curl);
    }
    while (running > 0) {
        curl_multi_perform(multi, &running);
        if (running > 0)
            curl_multi_poll(multi, NULL, 0, 1000, NULL);
    }
    for (size_t i = 0; i < count; i++) {
        curl_multi_remove_handle(multi, transfers[i].curl);
        answers[i] = finish(&transfers[i], CURLE_OK);
    }
    curl_multi_cleanup(multi);
    free(transfers);
}

void client_free(struct answer *answer)
{
    json_decref(answer->json);
    free(answer->body);
    free(answer->headers);
    *answer = (struct answer){0};
}

const char *client_header(const struct answer *answer, const char *name)
{
    static char value[512];
    size_t size = strlen(name);
    for (const char *line = answer->headers; line != NULL && *line != '\0';) {
        const char *end = strstr(line, "\r\n");
        if (end == NULL)
            break;
        if (strncasecmp(line, name, size) == 0 && line[size] == ':') {
            const char *from = line + size + 1 + strspn(line + size + 1, " ");
            snprintf(value, sizeof value, "%.*s", (int)(end - from), from);
            return value;
        }
        line = end + 2;
    }
    return NULL;
}

void client_check_problem(const struct answer *answer, long status, const char *detail)
{
    if (answer->status != status)
        fail_msg("status %ld, expected %ld: %s", answer->status, status,
                 answer->body != NULL ? answer->body : "");
    const char *type = client_header(answer, "Content-Type");
    assert_non_null(type);
    assert_string_equal(type, "application/problem+json");
    assert_non_null(answer->json);
    assert_int_equal(json_integer_value(client_member(answer->json, "status")), status);
    const char *told = json_string_value(client_member(answer->json, "detail"));
    if (strstr(told, detail) == NULL)
        fail_msg("detail '%s' lacks '%s'", told, detail);
    assert_non_null(json_string_value(client_member(answer->json, "title")));
    assert_true(strncmp(json_string_value(client_member(answer->json, "type")),
                        "urn:senetd:problem:", 19) == 0);
    const char *id = client_header(answer, "X-Request-Id");
    assert_non_null(id);
    assert_string_equal(json_string_value(client_member(answer->json, "instance")), id);
}

void client_check_error(const struct answer *answer, long status, const char *text)
{
    if (answer->status != status)
        fail_msg("status %ld, expected %ld: %s", answer->status, status,
                 answer->body != NULL ? answer->body : "");
    const char *type = client_header(answer, "Content-Type");
    assert_non_null(type);
    assert_string_equal(type, "application/json"); /* exactly: clients compare it */
    assert_non_null(answer->json);
    const char *told = json_string_value(client_member(answer->json, "error"));
    if (strstr(told, text) == NULL)
        fail_msg("error '%s' lacks '%s'", told, text);
}

json_t *client_member(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    if (value == NULL) {
        char *text = json_dumps(object, JSON_COMPACT);
        fail_msg("no member %s in %.300s", key, text != NULL ? text : "nothing");
    }
    return value;
}

int client_connect(const struct daemon *daemon)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)daemon->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}
