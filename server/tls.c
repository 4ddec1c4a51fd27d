/* tls.c - see tls.h.
 *
 * Certificate and key are parsed once, when they are loaded, and handed to each handshake: parsing
 * takes many allocations, and the library below GnuTLS that does it (libtasn1 4.19) crashes where
 * one fails. A session points to what it was given for as long as it lives, so those that were
 * replaced are kept to the end: some kilobytes for each new certificate. Before libtasn1 is at work
 * its memory is asked for and freed again: the C library keeps it (main.c), and does not have to go
 * to the kernel, which may have none, while it crashes for want of it.
 */
#include "tls.h"
#include "bignum_memory.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MOST_BYTES   262144 /* of a file */
#define MOST_CHAIN   16     /* certificates in it */
#define DIGEST_BYTES 32
#define PARSE_BYTES  ((size_t)1 << 20)  /* of memory, to read certificates and a key */
#define SIGN_BYTES   ((size_t)64 << 10) /* to write the signature of a handshake */

struct pem {
    gnutls_datum_t certificate, key; /* owned; data is NULL where there is none */
};

struct pair {
    struct pair *older;
    gnutls_pcert_st chain[MOST_CHAIN];
    unsigned count;
    gnutls_privkey_t key;
    uint8_t digests[2 * DIGEST_BYTES]; /* of the files: unchanged ones are not parsed again */
};

static struct pair *present;                              /* the newest; a list */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards it */

static void wipe(struct pem *pem)
{
    if (pem->key.data != NULL)
        explicit_bzero(pem->key.data, pem->key.size);
    free(pem->key.data);
    free(pem->certificate.data);
    *pem = (struct pem){0};
}

/* ---- reading --------------------------------------------------------------------------------- */

static enum error_code check_file(int fd, const char *path, bool secret, size_t *size,
                                  struct error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return error_set(err, ERROR_IO, "cannot read '%.200s': %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return error_set(err, ERROR_USAGE, "'%.200s' is no file", path);
    unsigned open_bits = info.st_mode & (S_IRWXO | S_IWGRP);
    if (secret && open_bits != 0)
        return error_set(err, ERROR_USAGE,
                         "the key '%.200s' is open to others (mode %04o): chmod 640 or less", path,
                         (unsigned)info.st_mode & 07777);
    if (info.st_size == 0 || info.st_size > MOST_BYTES)
        return error_set(err, ERROR_USAGE, "'%.200s' has %lld bytes, expected 1 to %d", path,
                         (long long)info.st_size, MOST_BYTES);
    *size = (size_t)info.st_size;
    return ERROR_NONE;
}

static enum error_code read_all(int fd, const char *path, size_t size, gnutls_datum_t *out,
                                struct error *err)
{
    out->data = malloc(size);
    if (out->data == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for '%.200s'", path);
    while (out->size < size) {
        ssize_t got = read(fd, out->data + out->size, size - out->size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return error_set(err, ERROR_IO, "cannot read '%.200s': %s", path,
                             got < 0 ? strerror(errno) : "it became shorter");
        out->size += (unsigned)got;
    }
    return ERROR_NONE;
}

static enum error_code read_file(const char *path, bool secret, gnutls_datum_t *out,
                                 struct error *err)
{
    size_t size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not hold us up */
    if (fd < 0)
        return error_set(err, ERROR_IO, "cannot read '%.200s': %s", path, strerror(errno));
    enum error_code code = check_file(fd, path, secret, &size, err);
    if (code == ERROR_NONE)
        code = read_all(fd, path, size, out, err);
    close(fd);
    return code;
}

/* ---- checking -------------------------------------------------------------------------------- */

static enum error_code gnutls_fault(struct error *err, const char *what, const char *path, int code)
{
    return error_set(err, code == GNUTLS_E_MEMORY_ERROR ? ERROR_MEMORY : ERROR_USAGE,
                     "%s '%.200s': %s", what, path, gnutls_strerror(code));
}

/* Told in the log: a certificate out of date is the clients' to judge. */
static void tell_dates(gnutls_x509_crt_t certificate, const char *path)
{
    char text[32] = "?";
    struct tm when;
    time_t until = gnutls_x509_crt_get_expiration_time(certificate), now = time(NULL);
    if (gmtime_r(&until, &when) != NULL)
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &when);
    if (until <= now)
        log_warn("tls", "the certificate '%s' expired on %s", path, text);
    else if (gnutls_x509_crt_get_activation_time(certificate) > now)
        log_warn("tls", "the certificate '%s' is not valid yet", path);
    else
        log_info("tls", "certificate '%s', valid until %s", path, text);
}

static enum error_code check_certificate(const gnutls_datum_t *pem, const char *path,
                                         struct error *err)
{
    gnutls_x509_crt_t *chain;
    unsigned count;
    int code = gnutls_x509_crt_list_import2(&chain, &count, pem, GNUTLS_X509_FMT_PEM,
                                            GNUTLS_X509_CRT_LIST_FAIL_IF_UNSORTED);
    if (code == GNUTLS_E_CERTIFICATE_LIST_UNSORTED)
        return error_set(err, ERROR_USAGE,
                         "'%.200s': expected the server's certificate first, then each issuer's",
                         path);
    if (code < 0)
        return gnutls_fault(err, "no certificate in PEM in", path, code);
    if (count <= MOST_CHAIN)
        tell_dates(chain[0], path);
    else
        error_set(err, ERROR_USAGE, "'%.200s' holds %u certificates, at most %d", path, count,
                  MOST_CHAIN);
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(chain[i]);
    gnutls_free(chain);
    return count <= MOST_CHAIN ? ERROR_NONE : ERROR_USAGE;
}

static enum error_code check_key(const gnutls_datum_t *pem, const char *path, struct error *err)
{
    gnutls_privkey_t key;
    int code = gnutls_privkey_init(&key);
    if (code < 0)
        return gnutls_fault(err, "no memory for the key", path, code);
    code = gnutls_privkey_import_x509_raw(key, pem, GNUTLS_X509_FMT_PEM, NULL, 0);
    gnutls_privkey_deinit(key);
    return code < 0 ? gnutls_fault(err, "no unencrypted key in PEM in", path, code) : ERROR_NONE;
}

static enum error_code check_match(const struct pem *pem, const char *certificate, const char *key,
                                   struct error *err)
{
    gnutls_certificate_credentials_t credentials;
    int code = gnutls_certificate_allocate_credentials(&credentials);
    if (code < 0)
        return gnutls_fault(err, "no memory for the certificate", certificate, code);
    code = gnutls_certificate_set_x509_key_mem2(credentials, &pem->certificate, &pem->key,
                                                GNUTLS_X509_FMT_PEM, NULL, 0);
    gnutls_certificate_free_credentials(credentials);
    if (code >= 0)
        return ERROR_NONE;
    return error_set(err, ERROR_USAGE, "the key '%.150s' does not go with '%.150s': %s", key,
                     certificate, gnutls_strerror(code));
}

/* ---- keeping --------------------------------------------------------------------------------- */

static void pair_free(struct pair *pair)
{
    for (unsigned i = 0; pair != NULL && i < pair->count; i++)
        gnutls_pcert_deinit(&pair->chain[i]);
    if (pair != NULL)
        gnutls_privkey_deinit(pair->key);
    free(pair);
}

static int parse(const struct pem *pem, struct pair *pair)
{
    unsigned count = MOST_CHAIN;
    int code = gnutls_privkey_init(&pair->key);
    if (code >= 0)
        code = gnutls_privkey_import_x509_raw(pair->key, &pem->key, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (code >= 0)
        code = gnutls_pcert_list_import_x509_raw(pair->chain, &count, &pem->certificate,
                                                 GNUTLS_X509_FMT_PEM, 0);
    pair->count = code >= 0 ? count : 0;
    return code;
}

static int digest(const struct pem *pem, uint8_t out[2 * DIGEST_BYTES])
{
    int code =
        gnutls_hash_fast(GNUTLS_DIG_SHA256, pem->certificate.data, pem->certificate.size, out);
    return code < 0 ? code
                    : gnutls_hash_fast(GNUTLS_DIG_SHA256, pem->key.data, pem->key.size,
                                       out + DIGEST_BYTES);
}

static enum error_code keep(const struct pem *pem, const uint8_t *digests, const char *certificate,
                            struct error *err)
{
    struct pair *pair = calloc(1, sizeof *pair);
    int code = pair != NULL ? parse(pem, pair) : GNUTLS_E_MEMORY_ERROR;
    if (code < 0) {
        pair_free(pair);
        return gnutls_fault(err, "cannot keep", certificate, code);
    }
    memcpy(pair->digests, digests, sizeof pair->digests);
    pthread_mutex_lock(&mutex);
    pair->older = present;
    present = pair;
    pthread_mutex_unlock(&mutex);
    return ERROR_NONE;
}

static bool is_present(const uint8_t *digests)
{
    pthread_mutex_lock(&mutex);
    bool same = present != NULL && memcmp(present->digests, digests, sizeof present->digests) == 0;
    pthread_mutex_unlock(&mutex);
    return same;
}

static enum error_code take(const struct pem *pem, const char *certificate, const char *key,
                            struct error *err)
{
    uint8_t digests[2 * DIGEST_BYTES];
    int code = digest(pem, digests);
    if (code < 0)
        return gnutls_fault(err, "cannot compare", certificate, code);
    if (is_present(digests))
        return ERROR_NONE;
    TRY(check_key(&pem->key, key, err));
    TRY(check_certificate(&pem->certificate, certificate, err));
    TRY(check_match(pem, certificate, key, err));
    return keep(pem, digests, certificate, err);
}

/* Whether this thread's heap has so much now. */
static bool provide(size_t bytes)
{
    volatile char *block = malloc(bytes);
    if (block == NULL)
        return false;
    *block = 0; /* or the compiler leaves both calls out */
    free((void *)(uintptr_t)block);
    return true;
}

enum error_code tls_load(const char *certificate, const char *key, struct error *err)
{
    struct pem pem = {0};
    bignum_memory_reserve();
    if (certificate == NULL || key == NULL)
        return error_set(err, ERROR_USAGE, "--tls-cert and --tls-key go together");
    enum error_code code = read_file(certificate, false, &pem.certificate, err);
    if (code == ERROR_NONE)
        code = read_file(key, true, &pem.key, err);
    if (code == ERROR_NONE && !provide(PARSE_BYTES))
        code = error_set(err, ERROR_MEMORY, "no memory to read '%.200s'", certificate);
    if (code == ERROR_NONE)
        code = take(&pem, certificate, key, err);
    wipe(&pem);
    return code;
}

void tls_unload(void)
{
    while (present != NULL) {
        struct pair *pair = present;
        present = pair->older;
        pair_free(pair);
    }
}

/* In GnuTLS's handshake, on the HTTP thread. */
static int retrieve(gnutls_session_t session, const struct gnutls_cert_retr_st *info,
                    gnutls_pcert_st **chain, unsigned *count, gnutls_ocsp_data_st **ocsp,
                    unsigned *ocsp_count, gnutls_privkey_t *key, unsigned *flags)
{
    (void)session;
    (void)info;
    if (!provide(SIGN_BYTES))
        return -1;
    pthread_mutex_lock(&mutex);
    struct pair *pair = present;
    pthread_mutex_unlock(&mutex);
    *chain = pair->chain;
    *count = pair->count;
    *key = pair->key;
    *ocsp = NULL;
    *ocsp_count = 0;
    *flags = 0; /* it stays ours */
    return 0;
}

void (*tls_retriever(void))(void)
{
    return (void (*)(void))retrieve;
}

/* ---- asking ---------------------------------------------------------------------------------- */

struct call {
    gnutls_session_t session;
    bool (*wait)(void *context, short events);
    void *context;
};

/* Whether to try again: it would have blocked, and the socket became ready in time. */
static bool is_to_repeat(const struct call *call, ssize_t code)
{
    return (code == GNUTLS_E_AGAIN || code == GNUTLS_E_INTERRUPTED) &&
           call->wait(call->context,
                      gnutls_record_get_direction(call->session) == 0 ? POLLIN : POLLOUT);
}

static enum error_code talk(const struct call *call, const char *request, char *answer, size_t room,
                            struct error *err)
{
    size_t used = 0;
    ssize_t code;
    answer[0] = '\0';
    do
        code = gnutls_handshake(call->session);
    while (is_to_repeat(call, code));
    if (code < 0)
        return error_set(err, ERROR_IO, "no TLS with the daemon: %s", gnutls_strerror((int)code));
    do /* so short a request leaves as a whole */
        code = gnutls_record_send(call->session, request, strlen(request));
    while (is_to_repeat(call, code));
    while (code > 0 && used + 1 < room) {
        do
            code = gnutls_record_recv(call->session, answer + used, room - 1 - used);
        while (is_to_repeat(call, code));
        used += code > 0 ? (size_t)code : 0;
        answer[used] = '\0';
    }
    if (code < 0 && (code != GNUTLS_E_PREMATURE_TERMINATION || used == 0))
        return error_set(err, ERROR_IO, "no answer in time, or the connection broke: %s",
                         gnutls_strerror((int)code));
    return ERROR_NONE;
}

enum error_code tls_ask(int fd, bool (*wait)(void *context, short events), void *context,
                        const char *request, char *answer, size_t room, struct error *err)
{
    struct call call = {.wait = wait, .context = context};
    gnutls_certificate_credentials_t credentials = NULL;
    enum error_code code = ERROR_MEMORY;
    if (gnutls_certificate_allocate_credentials(&credentials) < 0)
        return error_set(err, code, "no memory for TLS");
    if (gnutls_init(&call.session, GNUTLS_CLIENT | GNUTLS_NONBLOCK) < 0) {
        error_set(err, code, "no memory for TLS");
    } else {
        gnutls_transport_set_int(call.session, fd);
        if (gnutls_priority_set_direct(call.session, TLS_PRIORITIES, NULL) < 0 ||
            gnutls_credentials_set(call.session, GNUTLS_CRD_CERTIFICATE, credentials) < 0)
            error_set(err, code, "no memory for TLS");
        else
            code = talk(&call, request, answer, room, err);
        gnutls_deinit(call.session);
    }
    gnutls_certificate_free_credentials(credentials);
    return code;
}
