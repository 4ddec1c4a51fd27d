/* farewell.c - see farewell.h. */
#include "farewell.h"
#include "reply.h"
#include "writer.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>

void farewell_send(int fd, unsigned status, const char *name, const char *detail, const char *id)
{
    struct writer body = {0};
    char head[512];
    reply_problem(&body, status, name, detail, id);
    int size = snprintf(head, sizeof head,
                        "HTTP/1.1 %u %s\r\nConnection: close\r\nContent-Length: %zu\r\n"
                        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
                        "Content-Type: application/problem+json\r\n%s%.128s%s\r\n",
                        status, reply_title(status), body.size, id != NULL ? "X-Request-Id: " : "",
                        id != NULL ? id : "", id != NULL ? "\r\n" : "");
    struct iovec parts[] = {{head, (size_t)size}, {body.bytes, body.size}};
    const struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    if (!body.failed && size < (int)sizeof head)
        (void)!sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    writer_free(&body);
}
