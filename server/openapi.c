/* openapi.c - see openapi.h. */
#include "openapi.h"

/* The document as it lies in the repository, without a generated source. */
__asm__(".section .rodata\n"
        "senetd_openapi_begin:\n"
        ".incbin \"server/openapi.json\"\n"
        "senetd_openapi_end:\n"
        ".previous\n");
extern const char document_begin[] __asm__("senetd_openapi_begin");
extern const char document_end[] __asm__("senetd_openapi_end");

unsigned openapi_answer(struct exchange *exchange)
{
    writer_raw(&exchange->out, document_begin, (size_t)(document_end - document_begin));
    exchange->out_type = "application/json";
    return 200;
}
