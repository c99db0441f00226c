#include "http_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What the environment says that libcurl does not look for: it reads http_proxy, https_proxy,
 * HTTPS_PROXY, all_proxy, ALL_PROXY, no_proxy and NO_PROXY by itself. */

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && *value != '\0' ? value : NULL;
}

/* A proxy would ask its own machine. */
static bool is_this_machine(const char *host)
{
    size_t len = strlen(host);
    const char *const local = ".localhost";
    size_t local_len = strlen(local);
    return strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
           strncmp(host, "127.", 4) == 0 ||
           (len > local_len && strcasecmp(host + len - local_len, local) == 0);
}

/* HTTP_PROXY in upper case, for http: URLs. libcurl passes over it, because a CGI program gets its
 * caller's "Proxy:" header under that name. We do so there, and for servers of this machine. */
static const char *upper_case_proxy(const CURLU *url)
{
    char *scheme = NULL;
    char *host = NULL;
    bool counts = variable("http_proxy") == NULL && getenv("REQUEST_METHOD") == NULL &&
                  curl_url_get((CURLU *)url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                  strcasecmp(scheme, "http") == 0 &&
                  curl_url_get((CURLU *)url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                  !is_this_machine(host);
    curl_free(scheme);
    curl_free(host);
    return counts ? variable("HTTP_PROXY") : NULL;
}

int ah_http_env_proxy(struct ah_http_request *request)
{
    /* NULL: libcurl looks by itself. no_proxy counts either way. */
    const char *proxy = upper_case_proxy(request->url);
    return curl_easy_setopt(request->easy, CURLOPT_PROXY, proxy) == CURLE_OK ? 0 : -1;
}

int ah_http_env_ca(struct ah_http_request *request, const char *ca_file)
{
    const char *file = ca_file != NULL ? ca_file : variable("SSL_CERT_FILE");
    if (file == NULL) {
        return 0;
    }
    return curl_easy_setopt(request->easy, CURLOPT_CAINFO, file) == CURLE_OK ? 0 : -1;
}
